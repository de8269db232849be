"""Reads message bodies (RFC 9112 sections 6 and 7): by length, in chunks, until close."""

from enum import Enum, auto
from typing import Literal, TypeAlias

from .buffer import Buffer, LineTooLongError
from .errors import BAD_REQUEST, CONTENT_TOO_LARGE, RemoteProtocolError
from .events import END_OF_MESSAGE, NEED_DATA, Data, EndOfMessage, Wait
from .framing import Chunked, FixedLength, Framing, UntilClose
from .grammar import CHUNK_EXTENSION, CHUNK_SIZE, MAX_INTEGER
from .heads import FieldsReader
from .limits import Limits

BodyEvent: TypeAlias = Data | EndOfMessage | Literal[Wait.NEED_DATA]

_CRLF = b"\r\n"


class FixedBody:
    """Reads a body of known length."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        """Expect *length* bytes."""
        self._left = length

    def next_event(self, buffer: Buffer, ended: bool) -> BodyEvent:
        """Take what *buffer* holds of the body; *ended* says that nothing will follow it.

        :raises RemoteProtocolError: the stream ended too early.
        """
        if not self._left:
            return END_OF_MESSAGE
        if not buffer:
            if ended:
                raise RemoteProtocolError("the body ended before its Content-Length")
            return NEED_DATA
        data = buffer.take(self._left)
        self._left -= len(data)
        return Data(data)


class UntilCloseBody:
    """Reads a body that the end of the stream ends."""

    __slots__ = ("_left",)

    def __init__(self, limits: Limits) -> None:
        """Bound what is read by *limits*."""
        self._left = MAX_INTEGER if limits.body is None else limits.body

    def next_event(self, buffer: Buffer, ended: bool) -> BodyEvent:
        """Take what *buffer* holds of the body; *ended* says that nothing will follow it.

        :raises RemoteProtocolError: the body is too large.
        """
        if not buffer:
            return END_OF_MESSAGE if ended else NEED_DATA
        self._left -= len(buffer)
        if self._left < 0:
            raise RemoteProtocolError("body too large", CONTENT_TOO_LARGE)
        return Data(buffer.take(len(buffer)))


class _Part(Enum):
    """Where in a chunked body the reader stands."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


class ChunkedBody:
    """Reads a chunked body (RFC 9112 section 7.1). Extensions are checked and dropped."""

    __slots__ = ("_budget", "_extensions", "_left", "_limits", "_part", "_trailers")

    def __init__(self, limits: Limits) -> None:
        """Bound what is read by *limits*."""
        self._limits = limits
        self._budget = MAX_INTEGER if limits.body is None else limits.body
        self._extensions = limits.extensions
        self._left = 0
        self._part = _Part.SIZE
        self._trailers = FieldsReader(limits, BAD_REQUEST)

    def next_event(self, buffer: Buffer, ended: bool) -> BodyEvent:
        """Take what *buffer* holds of the body; *ended* says that nothing will follow it.

        :raises RemoteProtocolError: the chunks are malformed or too large, or the stream ended
            before the last one.
        """
        event = self._advance(buffer)
        if event is NEED_DATA and ended:
            raise RemoteProtocolError("the body ended before its last chunk")
        return event

    def _advance(self, buffer: Buffer) -> BodyEvent:
        while True:
            match self._part:
                case _Part.SIZE:
                    if not self._read_size(buffer):
                        return NEED_DATA
                case _Part.DATA:
                    if not buffer:
                        return NEED_DATA
                    data = buffer.take(self._left)
                    self._left -= len(data)
                    if not self._left:
                        self._part = _Part.DATA_END
                    return Data(data)
                case _Part.DATA_END:
                    end = buffer.peek(0, 2)
                    if not _CRLF.startswith(end):
                        raise RemoteProtocolError("a chunk is longer than its size")
                    if end != _CRLF:
                        return NEED_DATA
                    buffer.take(2)
                    self._part = _Part.SIZE
                case _Part.TRAILERS:
                    trailers = self._trailers.read(buffer)
                    return NEED_DATA if trailers is None else EndOfMessage(trailers)

    def _read_size(self, buffer: Buffer) -> bool:
        try:
            line = buffer.take_line(self._limits.chunk_line)
        except LineTooLongError:
            raise RemoteProtocolError("chunk size line too long") from None
        if line is None:
            return False
        digits = CHUNK_SIZE.match(line)
        if digits is None:
            raise RemoteProtocolError("malformed chunk size")
        at = digits.end()
        self._extensions -= len(line) - at
        if self._extensions < 0:
            raise RemoteProtocolError("too many chunk extensions")
        while at < len(line):
            extension = CHUNK_EXTENSION.match(line, at)
            if extension is None:
                raise RemoteProtocolError("malformed chunk size or extension")
            at = extension.end()
        self._left = int(digits[0], 16)
        self._budget -= self._left
        if self._budget < 0:
            raise RemoteProtocolError("body too large", CONTENT_TOO_LARGE)
        self._part = _Part.DATA if self._left else _Part.TRAILERS
        return True


BodyReader: TypeAlias = FixedBody | ChunkedBody | UntilCloseBody


def body_reader(framing: Framing, limits: Limits) -> BodyReader:
    """Return a reader for a body of this *framing*.

    :raises RemoteProtocolError: its length is over ``limits.body``.
    """
    match framing:
        case FixedLength():
            if limits.body is not None and framing.length > limits.body:
                raise RemoteProtocolError("body too large", CONTENT_TOO_LARGE)
            return FixedBody(framing.length)
        case Chunked():
            return ChunkedBody(limits)
        case UntilClose():
            return UntilCloseBody(limits)
