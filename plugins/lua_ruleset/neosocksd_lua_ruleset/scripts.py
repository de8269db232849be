"""Reading scripts from files: regular files of bounded size, plain or gzip-compressed."""

import os
import stat
import zlib
from pathlib import Path

from neosocksd_core import ConfigurationError

MAX_SCRIPT_SIZE = 64 << 20
"""The longest script in bytes, compressed or not."""

_GZIP = b"\x1f\x8b"


def read_script(path: Path) -> bytes:
    """The text of a script.

    :raises ConfigurationError: naming the path, if it is not a file, cannot be read, or is too long.
    """
    try:
        # Not blocking, since the path may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigurationError(f"{path}: not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_SCRIPT_SIZE + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise ConfigurationError(f"{path}: {why or 'not a usable path'}") from None
    if data.startswith(_GZIP):
        data = _gunzip(data, path)
    if len(data) > MAX_SCRIPT_SIZE:
        raise ConfigurationError(f"{path}: longer than {MAX_SCRIPT_SIZE} bytes")
    return data


def chunk_name(path: Path) -> bytes:
    """The name under which Lua's messages show a file."""
    return b"@" + os.fsencode(path)


def _gunzip(data: bytes, path: Path) -> bytes:
    found = b""
    try:
        while data:  # a gzip file may have several members
            machine = zlib.decompressobj(wbits=31)
            found += machine.decompress(data, MAX_SCRIPT_SIZE + 1 - len(found))
            if len(found) > MAX_SCRIPT_SIZE:
                return found
            if not machine.eof:
                raise ConfigurationError(f"{path}: the gzip data ends too early")
            data = machine.unused_data
    except zlib.error:
        raise ConfigurationError(f"{path}: malformed gzip data") from None
    return found
