"""Bytes that arrived and are not yet understood."""

import re
from typing import Final

from .errors import RemoteProtocolError
from .grammar import LINE_TEXT

_CR: Final = 0x0D
_LF: Final = 0x0A


class LineTooLongError(Exception):
    """The line exceeds its bound; who asked for it knows which status that is."""


class Buffer:
    """A queue of bytes that can be taken as lines or as slices.

    No byte is scanned twice while a line is incomplete, and none is copied when all that is
    buffered is taken at once: the cost is linear in the input however it is cut.
    """

    __slots__ = ("_at", "_data", "_scanned")

    def __init__(self) -> None:
        """Start empty."""
        self._data: bytes | bytearray = b""
        self._at = 0
        self._scanned = 0

    def __len__(self) -> int:
        """Count the bytes that are left."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Append *data*."""
        if self._at == len(self._data):
            self._data, self._at, self._scanned = data, 0, 0
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(memoryview(self._data)[self._at :])
        elif self._at:
            del self._data[: self._at]  # moves a pointer, not the bytes
        self._scanned -= self._at
        self._at = 0
        self._data += data

    def peek(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* to *stop*, counted from the first left, and keep them."""
        return bytes(self._data[self._at + start : self._at + stop])

    def take(self, count: int) -> bytes:
        """Remove and return up to *count* bytes."""
        start, stop = self._at, min(self._at + count, len(self._data))
        self._at = self._scanned = stop
        if isinstance(self._data, bytearray):
            return bytes(memoryview(self._data)[start:stop])
        return self._data[start:stop]  # the object itself when it is wanted whole

    def take_match(self, pattern: re.Pattern[bytes], limit: int) -> re.Match[bytes] | None:
        """Remove and return what matches *pattern* and has at most *limit* bytes.

        None says nothing but that :meth:`take_line` has to look. Where that has looked already, it
        is not tried, so that the cost stays linear.
        """
        at = self._at
        if self._scanned != at:
            return None
        found = pattern.match(self._data, at, at + limit)
        if found is not None:
            self._at = self._scanned = found.end()
        return found

    def take_line(self, limit: int) -> bytes | None:
        """Remove a line and return it without its CRLF, or None while it is incomplete.

        :raises LineTooLongError: it has more than *limit* bytes, complete or not.
        :raises RemoteProtocolError: it holds a control character, or does not end in CRLF (RFC 9112
            section 2.2 would allow a bare LF to end it; two readers that differ on this are what
            smuggling lives on).
        """
        data, size = self._data, len(self._data)
        found = LINE_TEXT.match(data, self._scanned)
        end = found.end() if found else self._scanned
        self._scanned = end
        if end - self._at > limit:
            raise LineTooLongError
        if end == size:
            return None
        if data[end] != _CR:
            raise RemoteProtocolError("control character in a line, or a bare LF at its end")
        if end + 1 == size:
            return None
        if data[end + 1] != _LF:
            raise RemoteProtocolError("bare CR in a line")
        line = bytes(data[self._at : end])
        self._at = self._scanned = end + 2
        return line
