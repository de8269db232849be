"""Reads the head of a message: the first line and the header fields (RFC 9112 sections 2 to 5).

A head that has come in whole, is in order and not larger than a line may be is read at one go. Any
other is judged line by line, and the first line while it comes in, so that a peer that speaks
something else is told at once.
"""

import re
from collections.abc import Sequence
from typing import Final

from .buffer import Buffer, LineTooLongError
from .errors import BAD_REQUEST, FIELDS_TOO_LARGE, URI_TOO_LONG, RemoteProtocolError
from .events import InformationalResponse, Request, Response
from .grammar import (
    FIELD_LINE,
    FIELD_NAME,
    MAX_METHOD,
    REQUEST_HEAD,
    REQUEST_LINE,
    RESPONSE_HEAD,
    STATUS_LINE,
    TOKEN,
    VISIBLE,
)
from .headers import Headers
from .limits import Limits

_SPACE: Final = 0x20
_VERSIONS: Final = (b"HTTP/1.1\r", b"HTTP/1.0\r")
_STATUS_START: Final = b"HTTP/1."
_BLANK: Final = b" \t"
_TOO_MANY: Final = "too many header fields"


def take_head(
    buffer: Buffer, head: re.Pattern[bytes], limits: Limits
) -> tuple[Sequence[bytes], Headers] | None:
    """Take what matches *head*; return its groups, and the fields in the last of them.

    None says that the head is incomplete, malformed or large: which of these is for others to find.

    :raises RemoteProtocolError: the fields are too many.
    """
    found = buffer.take_match(head, min(limits.line, limits.head))
    if found is None:
        return None
    groups = found.groups()
    fields = [(name, value.strip(_BLANK)) for name, value in FIELD_LINE.findall(groups[-1])]
    if len(fields) > limits.fields:
        raise RemoteProtocolError(_TOO_MANY, FIELDS_TOO_LARGE)
    return groups, Headers(fields)


class FieldsReader:
    """Collects header lines, or trailer lines, up to the empty one."""

    __slots__ = ("_fields", "_limits", "_size", "_too_large")

    def __init__(self, limits: Limits, too_large: int = FIELDS_TOO_LARGE) -> None:
        """Bound what is read by *limits*; *too_large* is the status for more than that."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._limits = limits
        self._size = 0
        self._too_large = too_large

    def read(self, buffer: Buffer) -> Headers | None:
        """Take lines from *buffer*; return the fields once the section is complete, else None.

        :raises RemoteProtocolError: a line is no header field (RFC 9112 section 5; a folded one is
            refused), or they are too many.
        """
        limits = self._limits
        while True:
            found = buffer.take_match(FIELD_LINE, limits.line + 2)
            if found is not None:
                self._add(found[1], found[2], found.end() - found.start())
                continue
            try:
                line = buffer.take_line(limits.line)
            except LineTooLongError:
                raise RemoteProtocolError("header line too long", self._too_large) from None
            if line is None:
                return None
            if not line:
                return Headers(self._fields)
            name = FIELD_NAME.match(line)
            if name is None:
                raise RemoteProtocolError("malformed header line")
            self._add(name[1], line[name.end() :], len(line) + 2)

    def _add(self, name: bytes, value: bytes, size: int) -> None:
        self._size += size
        if self._size > self._limits.head:
            raise RemoteProtocolError("header too large", self._too_large)
        if len(self._fields) == self._limits.fields:
            raise RemoteProtocolError(_TOO_MANY, self._too_large)
        self._fields.append((name, value.strip(_BLANK)))


class RequestReader:
    """Reads one request head."""

    __slots__ = (
        "_fields",
        "_first",
        "_limits",
        "_method_end",
        "_scanned",
        "_skipped",
        "_target_end",
    )

    def __init__(self, limits: Limits) -> None:
        """Start before the first line."""
        self._limits = limits
        self._fields = FieldsReader(limits)
        self._first: tuple[bytes, bytes, bytes] | None = None
        self._skipped = False
        self._method_end = 0
        self._target_end = 0
        self._scanned = 0

    @property
    def started(self) -> bool:
        """The first line has been read."""
        return self._first is not None

    def read(self, buffer: Buffer) -> Request | None:
        """Take the head from *buffer*, or return None while it is incomplete.

        :raises RemoteProtocolError: it is none, or too large.
        """
        if self._first is None:
            whole = take_head(buffer, REQUEST_HEAD, self._limits)
            if whole is not None:
                (method, target, version, _), headers = whole
                return Request(method, target, headers, version)
            self._first = self._read_line(buffer)
            if self._first is None:
                return None
        fields = self._fields.read(buffer)
        if fields is None:
            return None
        method, target, version = self._first
        return Request(method, target, fields, version)

    def _read_line(self, buffer: Buffer) -> tuple[bytes, bytes, bytes] | None:
        limit = self._limits.line
        try:
            line = buffer.take_line(limit)
            if line == b"" and not self._skipped:  # RFC 9112 section 2.2: one may come before
                self._skipped = True
                line = buffer.take_line(limit)
        except LineTooLongError:
            self._judge(buffer)
            raise RemoteProtocolError("request line too long", URI_TOO_LONG) from None
        if line is None:
            self._judge(buffer)
            return None
        found = REQUEST_LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError("malformed request line")
        return found[1], found[2], found[3]

    def _judge(self, buffer: Buffer) -> None:
        """Refuse an incomplete line that can't become a request line any more."""
        limit = self._limits.line
        if not self._method_end:
            start = buffer.peek(0, MAX_METHOD + 1)
            if start == b"\r" and not self._skipped:
                return
            found = TOKEN.match(start)
            end = found.end() if found else 0
            if end == len(start) <= MAX_METHOD:
                return
            if not end or end > MAX_METHOD or start[end] != _SPACE:
                raise RemoteProtocolError("not a request line")
            self._method_end, self._scanned = end, end + 1
        if not self._target_end:
            rest = buffer.peek(self._scanned, limit + 1)
            found = VISIBLE.match(rest)
            end = found.end() if found else 0
            self._scanned += end
            if end == len(rest):
                return
            if rest[end] != _SPACE or self._scanned == self._method_end + 1:
                raise RemoteProtocolError("not a request line")
            self._target_end = self._scanned
        rest = buffer.peek(self._target_end + 1, limit + 1)
        if not any(version.startswith(rest) for version in _VERSIONS):
            raise RemoteProtocolError("not a version of HTTP/1")


class ResponseReader:
    """Reads one response head."""

    __slots__ = ("_fields", "_first", "_limits")

    def __init__(self, limits: Limits) -> None:
        """Start before the first line."""
        self._limits = limits
        self._fields = FieldsReader(limits)
        self._first: tuple[bytes, bytes, bytes | None] | None = None

    def read(self, buffer: Buffer) -> InformationalResponse | Response | None:
        """Take the head from *buffer*, or return None while it is incomplete.

        :raises RemoteProtocolError: it is none, or too large.
        """
        if self._first is None:
            whole = take_head(buffer, RESPONSE_HEAD, self._limits)
            if whole is not None:
                (version, status, reason, _), headers = whole
                return _response(version, status, reason, headers)
            self._first = self._read_line(buffer)
            if self._first is None:
                return None
        fields = self._fields.read(buffer)
        return None if fields is None else _response(*self._first, fields)

    def _read_line(self, buffer: Buffer) -> tuple[bytes, bytes, bytes | None] | None:
        start = buffer.peek(0, len(_STATUS_START))
        if not _STATUS_START.startswith(start):
            raise RemoteProtocolError("not a status line", BAD_REQUEST)
        try:
            line = buffer.take_line(self._limits.line)
        except LineTooLongError:
            raise RemoteProtocolError("status line too long", FIELDS_TOO_LARGE) from None
        if line is None:
            return None
        found = STATUS_LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError("malformed status line")
        return found[1], found[2], found[3]


def _response(
    version: bytes, status: bytes, reason: bytes | None, headers: Headers
) -> InformationalResponse | Response:
    code = int(status)
    kind = InformationalResponse if code < 200 else Response
    return kind(code, headers, reason or b"", version)
