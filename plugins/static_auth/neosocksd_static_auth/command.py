"""``neosocksd hash-password``: reads a password, prints its hash."""

import getpass
import os
import sys

from neosocksd_static_auth.hashing import make_hash


def hash_password(user: str | None) -> int:
    """Print the hash, or for *user* the line ``NAME:HASH``, and return the exit status."""
    try:
        name = None if user is None else _check_name(os.fsencode(user))
        password = _read_password()
    except ValueError as error:
        print(f"neosocksd hash-password: {error}", file=sys.stderr)
        return 2
    except (EOFError, KeyboardInterrupt):
        print("neosocksd hash-password: no password given", file=sys.stderr)
        return 1
    text = str(make_hash(password)).encode("ascii")
    line = text if name is None else name + b":" + text
    sys.stdout.buffer.write(line + b"\n")
    return 0


def _check_name(name: bytes) -> bytes:
    if not name or name != name.strip() or name.startswith(b"#") or b":" in name or b"\n" in name:
        raise ValueError(
            "a user name is not empty, has no `:`, no blank at either end, no leading `#`"
        )
    return name


def _read_password() -> bytes:
    if sys.stdin.isatty():
        text = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != text:
            raise ValueError("the passwords differ")
        password = text.encode("utf-8", "surrogateescape")
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        raise ValueError("the password is empty")
    return password
