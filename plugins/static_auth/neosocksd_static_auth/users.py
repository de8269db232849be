"""The table of users, as the settings and the users file give it: names in bytes, as clients send them."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path

from neosocksd_core import ConfigurationError
from neosocksd_static_auth.config import StaticAuthSettings
from neosocksd_static_auth.hashing import PasswordHash, parse_hash

Users = Mapping[bytes, PasswordHash]


def load_users(settings: StaticAuthSettings) -> Users:
    """All users. A name in the settings stands for its UTF-8 bytes.

    :raises ConfigurationError: the file cannot be read or is malformed, or a user is named in both places.
    """
    users = {
        name.encode(): parse_hash(secret.get_secret_value())
        for name, secret in settings.users.items()
    }
    if settings.users_file:
        for name, password_hash in read_users_file(Path(settings.users_file)).items():
            if name in users:
                raise ConfigurationError(
                    f"static_auth.users: user {_shown(name)} stands in {settings.users_file} too"
                )
            users[name] = password_hash
    return users


def read_users_file(path: Path) -> Users:
    """Read lines ``NAME:HASH``; empty lines and lines that begin with ``#`` are skipped. Names may be any bytes.

    :raises ConfigurationError: with file and line, never with a hash.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"static_auth.users_file: {path}: not a regular file")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigurationError(f"static_auth.users_file: {path}: {reason}") from None
    users: dict[bytes, PasswordHash] = {}
    # Some editors put a byte order mark before the first line.
    for number, line in enumerate(content.removeprefix(BOM_UTF8).split(b"\n"), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        name, colon, password_hash = text.partition(b":")
        where = f"static_auth.users_file: {path}, line {number}"
        if not name or not colon:
            raise ConfigurationError(f"{where}: expected NAME:HASH")
        if name in users:
            raise ConfigurationError(
                f"{where}: user {_shown(name)} stands here for the second time"
            )
        try:
            users[name] = parse_hash(password_hash.decode("ascii", "replace"))
        except ValueError as error:
            raise ConfigurationError(f"{where}: user {_shown(name)}: {error}") from None
    return users


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
