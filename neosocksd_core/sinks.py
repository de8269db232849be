"""Where lines of the log go: a descriptor, or the system's log. Used by one writer thread, which may block."""

import errno
import logging
import os
import socket
from collections.abc import Sequence
from typing import Protocol

Line = tuple[int, str]
"""A level of :mod:`logging`, and the text."""

SYSLOG_SOCKET = "/dev/log"

_FACILITY_DAEMON = 3 << 3
_SEND_SECONDS = 1.0
_LONGEST_DATAGRAM = 8192


class Sink(Protocol):
    """A destination for lines."""

    def write(self, lines: Sequence[Line]) -> int:
        """Write lines; returns how many of them are lost. Never raises."""
        ...

    def close(self) -> None: ...


class DescriptorSink:
    """Writes lines to a descriptor that it does not own, standard output or standard error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, lines: Sequence[Line]) -> int:
        text = "".join([f"{line}\n" for _, line in lines])
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # closed, disk full, pipe without a reader: lines are lost, not the server
            return bytes(data).count(b"\n")
        return 0

    def close(self) -> None:
        pass


class SyslogSink:
    """Sends lines to the system's log as RFC 3164 datagrams; connects again when that has failed."""

    def __init__(self, path: str = SYSLOG_SOCKET, tag: str = "neosocksd") -> None:
        self._path = path
        self._tag = tag
        self._socket: socket.socket | None = None
        self._stream = False

    def write(self, lines: Sequence[Line]) -> int:
        return sum(not self._send(level, line) for level, line in lines)

    def _send(self, level: int, line: str) -> bool:
        priority = _FACILITY_DAEMON | _severity(level)
        text = f"<{priority}>{self._tag}[{os.getpid()}]: {line}"
        data = text.encode("utf-8", "backslashreplace")[:_LONGEST_DATAGRAM]
        for _ in range(2):  # once more, on a new connection, where the daemon has been restarted
            try:
                connection = self._socket or self._connect()
                connection.sendall(data + b"\0" if self._stream else data)
            except OSError:
                self.close()
            else:
                return True
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            connection = socket.socket(socket.AF_UNIX, kind)
            connection.settimeout(_SEND_SECONDS)
            try:
                connection.connect(self._path)
            except OSError as error:
                connection.close()
                if error.errno != errno.EPROTOTYPE or kind == socket.SOCK_STREAM:
                    raise
            else:
                self._socket, self._stream = connection, kind == socket.SOCK_STREAM
                return connection
        raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))


def _severity(level: int) -> int:
    """The severity of RFC 3164 section 4.1.1 for a level of :mod:`logging`."""
    for bound, severity in (
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (25, 5),
        (logging.INFO, 6),
    ):
        if level >= bound:
            return severity
    return 7
