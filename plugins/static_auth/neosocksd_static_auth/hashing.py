"""Password hashes: made, read and checked, in the PHC string format.

``$scrypt$ln=14,r=8,p=1$SALT$KEY`` (RFC 7914) or, where Python was built without scrypt, ``$pbkdf2-sha256$i=600000$SALT$KEY``
(RFC 8018 section 5.2). Salt and key are base64 without padding. The hash carries its own parameters, so that old ones stay
good when the defaults grow.

Both schemes give the password to HMAC as its key, which is padded with zeros (RFC 2104): a password and the same with NULs
behind it are one.
"""

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, replace
from typing import Literal

_SCRYPT_FORM = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,3}),p=([0-9]{1,3})\$([^$]{1,100})\$([^$]{1,100})"
)
_PBKDF2_FORM = re.compile(r"\$pbkdf2-sha256\$i=([0-9]{1,8})\$([^$]{1,100})\$([^$]{1,100})")

_SCRYPT_COST = (14, 8, 1)
_PBKDF2_COST = (600_000,)
_SALT_SIZE = 16
_KEY_SIZE = 32
_SMALLEST_SALT = 8
_MEMORY_LIMIT = 256 << 20
_WORK_LIMIT = 10_000_000
"""Of :attr:`PasswordHash.work`: about five seconds, which a client waits for."""

HAS_SCRYPT = hasattr(hashlib, "scrypt")
"""False where Python was built against a library without it."""


class HashError(ValueError):
    """A text is not a password hash that can be checked here; the message does not show it."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One password, hashed.

    ``cost`` is scrypt's ln, r and p, or PBKDF2's number of rounds.
    """

    scheme: Literal["scrypt", "pbkdf2-sha256"]
    cost: tuple[int, ...]
    salt: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"<PasswordHash {self.scheme}>"

    def __str__(self) -> str:
        """The text that :func:`parse_hash` reads."""
        names = ("ln", "r", "p") if self.scheme == "scrypt" else ("i",)
        cost = ",".join(f"{name}={value}" for name, value in zip(names, self.cost, strict=True))
        return f"${self.scheme}${cost}${_encode(self.salt)}${_encode(self.key)}"

    @property
    def work(self) -> int:
        """What a check costs, in units of about half a microsecond for either scheme."""
        if self.scheme == "scrypt":
            log2_n, r, p = self.cost
            return (1 << log2_n) * r * p
        return self.cost[0]

    def verify(self, password: bytes) -> bool:
        """True if *password* is the one. Takes tens of milliseconds, without holding the interpreter's lock."""
        return hmac.compare_digest(_derive(self.scheme, self.cost, self.salt, password), self.key)


def make_hash(
    password: bytes, *, scrypt: bool = HAS_SCRYPT, cost: tuple[int, ...] | None = None
) -> PasswordHash:
    """Hash a password with a fresh salt: by scrypt with N = 2**14, r = 8, p = 1 (16 MiB), or 600 000 rounds of PBKDF2.

    *cost* replaces these parameters, as in :class:`PasswordHash`.
    """
    decoy = make_decoy(scrypt=scrypt)
    if cost is not None:
        decoy = replace(decoy, cost=cost)
    return replace(decoy, key=_derive(decoy.scheme, decoy.cost, decoy.salt, password))


def make_decoy(model: PasswordHash | None = None, *, scrypt: bool = HAS_SCRYPT) -> PasswordHash:
    """A hash that no password has, as costly to check as *model*, or as a new one."""
    salt, key = os.urandom(_SALT_SIZE), os.urandom(_KEY_SIZE)
    if model is not None:
        return replace(model, salt=salt, key=key)
    if scrypt:
        return PasswordHash("scrypt", _SCRYPT_COST, salt, key)
    return PasswordHash("pbkdf2-sha256", _PBKDF2_COST, salt, key)


def parse_hash(text: str) -> PasswordHash:
    """Read what :func:`make_hash` made.

    :raises HashError: for anything else, and for parameters out of all proportion.
    """
    if form := _SCRYPT_FORM.fullmatch(text):
        log2_n, r, p = map(int, form.groups()[:3])
        if min(log2_n, r, p) < 1 or _memory(log2_n, r) > _MEMORY_LIMIT:
            raise HashError("the parameters of a password hash are out of range")
        if not HAS_SCRYPT:
            raise HashError("a password hash needs scrypt, which this Python lacks")
        return _affordable(PasswordHash("scrypt", (log2_n, r, p), *_decode_pair(form[4], form[5])))
    if form := _PBKDF2_FORM.fullmatch(text):
        return _affordable(
            PasswordHash("pbkdf2-sha256", (int(form[1]),), *_decode_pair(form[2], form[3]))
        )
    raise HashError("not a password hash, make one with `neosocksd hash-password`")


def _affordable(found: PasswordHash) -> PasswordHash:
    if not found.work:
        raise HashError("the parameters of a password hash are out of range")
    if found.work > _WORK_LIMIT:
        raise HashError("a password hash would take too long to check, make one that costs less")
    return found


def _derive(scheme: str, cost: tuple[int, ...], salt: bytes, password: bytes) -> bytes:
    if scheme == "scrypt":
        log2_n, r, p = cost
        limit = 2 * _memory(log2_n, r) + 256 * r * p + (1 << 20)
        return hashlib.scrypt(
            password, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=limit, dklen=_KEY_SIZE
        )
    return hashlib.pbkdf2_hmac("sha256", password, salt, cost[0], _KEY_SIZE)


def _memory(log2_n: int, r: int) -> int:
    return 128 * r << log2_n


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")


def _decode_pair(salt_text: str, key_text: str) -> tuple[bytes, bytes]:
    try:
        salt, key = (
            base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
            for text in (salt_text, key_text)
        )
    except ValueError:
        raise HashError("the base64 in a password hash is damaged") from None
    if len(salt) < _SMALLEST_SALT or len(key) != _KEY_SIZE:
        raise HashError("salt or key of a password hash is of the wrong length")
    return salt, key
