"""Content codings: ``deflate`` (the zlib format, RFC 1950) and ``gzip`` (RFC 1952) of requests, ``deflate`` of answers.

Nothing is expanded beyond its limit, and data that is broken, cut short or followed by more is refused.
"""

import re
import zlib

import anyio.to_thread

SMALLEST = 256
"""Answers below this many bytes are sent as they are."""

IN_THREAD = 65536
"""Bodies from this many bytes on are packed and expanded in a thread."""

_WINDOWS = {"deflate": 15, "gzip": 31, "x-gzip": 31}
_STEP = 65536
_ACCEPTED = re.compile(r"[ \t]*(deflate|\*)[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*)?\Z")


class CodingError(Exception):
    """A body cannot be decoded: ``status`` is what to answer, the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """*body* without its ``Content-Encoding``, *limit* bytes at most.

    :raises CodingError: for an unknown coding (415), broken data (400), or too much of it (413).
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    window = _WINDOWS.get(coding)
    if window is None:
        raise CodingError(415, "the content coding is not supported")
    unpacker = zlib.decompressobj(window)
    expanded = bytearray()
    rest = body
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _STEP)
            rest = unpacker.unconsumed_tail
            expanded += piece
            if len(expanded) > limit:
                raise CodingError(413, "the body is too large")
            if not piece and not rest and not unpacker.eof:
                raise CodingError(400, "the compressed body is truncated")
    except zlib.error:
        raise CodingError(400, "the compressed body is malformed") from None
    if unpacker.unused_data:
        raise CodingError(400, "data follows the compressed body")
    return bytes(expanded)


def accepts_deflate(accept_encoding: str) -> bool:
    """Whether a client with this ``Accept-Encoding`` takes deflated answers."""
    if not accept_encoding:
        return False
    found: dict[str, bool] = {}
    for member in accept_encoding.lower().split(","):
        match = _ACCEPTED.match(member)
        if match is not None:
            found[match[1]] = float(match[2] or 1) > 0
    return found.get("deflate", found.get("*", False))


async def encode(body: bytes) -> bytes:
    """*body* in the zlib format."""
    if len(body) < IN_THREAD:
        return zlib.compress(body)
    return await anyio.to_thread.run_sync(zlib.compress, body)
