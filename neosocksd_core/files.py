"""Reading a configuration file: TOML here, other formats by the hook ``load_config``.

Reading is bounded: only regular files, and no more than :data:`MAX_FILE_SIZE` bytes.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neosocksd_core.errors import ConfigurationError
from neosocksd_core.plugins import Plugins

MAX_FILE_SIZE = 1 << 20
"""The longest configuration file in bytes."""


def read_configuration(path: Path, plugins: Plugins) -> Mapping[str, Any]:
    """The values of a configuration file, shaped as TOML gives them.

    :raises ConfigurationError: naming the file, if it cannot be read or is malformed.
    :raises PluginError: if the plugin that reads this format fails.
    """
    if path.suffix != ".toml":
        check_regular(path)
        values = plugins.load_config(path)
        if values is None:
            suffix = path.suffix or "no suffix"
            raise ConfigurationError(f"{path}: unknown format ({suffix}); TOML files end in .toml")
        return values
    import tomllib  # here, since every start would pay for it

    data = read_bounded(path)
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # some editors put a mark at the front
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{path}: a number is too long, or values too deeply nested"
        ) from None


def check_regular(path: Path) -> None:
    """Refuse what is not a file: reading a FIFO or a device might never end.

    :raises ConfigurationError: naming the path.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {_why(error)}") from None
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"{path}: not a regular file")


def read_bounded(path: Path) -> bytes:
    """The content of a regular file of at most :data:`MAX_FILE_SIZE` bytes.

    :raises ConfigurationError: naming the path.
    """
    check_regular(path)
    try:
        # Not blocking, in case that the path has become a FIFO meanwhile.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {_why(error)}") from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigurationError(f"{path}: longer than {MAX_FILE_SIZE} bytes")
    return data


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
