"""Writes heads and bodies, and refuses what a reader could take for something else."""

from http import HTTPStatus
from typing import Final

from .errors import LocalProtocolError
from .events import InformationalResponse, Request, Response
from .framing import Chunked, FixedLength, Framing, UntilClose
from .grammar import LINE_TEXT, TOKEN, VISIBLE
from .headers import NO_HEADERS, Headers

_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus} | {
    # as RFC 9110 has them; Python's own table does from 3.13 on
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
_FRAMING_FIELDS: Final = frozenset((b"content-length", b"transfer-encoding"))


def reason_phrase(status: int) -> bytes:
    """Return the registered reason phrase of *status*, empty if it has none."""
    return _REASONS.get(status, b"")


def request_head(request: Request) -> bytes:
    """Write the head of *request*, with HTTP/1.1 as our version (RFC 9110 section 2.5).

    :raises LocalProtocolError: a part of it would break its line.
    """
    if TOKEN.fullmatch(request.method) is None:
        raise LocalProtocolError("the method is no token")
    if not request.target or VISIBLE.fullmatch(request.target) is None:
        raise LocalProtocolError("the target is empty or has other than visible characters")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method, request.target, fields(request.headers))


def response_head(response: Response | InformationalResponse) -> bytes:
    """Write the head of *response*, with HTTP/1.1 as our version.

    Where it has no reason the registered one is written.

    :raises LocalProtocolError: a part of it would break its line.
    """
    status, reason = response.status, response.reason
    if LINE_TEXT.fullmatch(reason) is None:
        raise LocalProtocolError("the reason has control characters")
    if not 100 <= status <= 599:
        raise LocalProtocolError("the status is not between 100 and 599")
    reason = reason or reason_phrase(status)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, fields(response.headers))


def fields(headers: Headers) -> bytes:
    """Write header or trailer lines.

    :raises LocalProtocolError: a name is no token, or a value holds CR, LF, NUL or another control
        character.
    """
    if not headers:
        return b""
    # All names together are a token if each is one, and all values one line's text: two matches for
    # all fields cost less than two for each.
    names = [name for name, _ in headers]
    if not all(names) or TOKEN.fullmatch(b"".join(names)) is None:
        raise LocalProtocolError("a header name is no token")
    if LINE_TEXT.fullmatch(b"".join([value for _, value in headers])) is None:
        raise LocalProtocolError("a header value has control characters")
    return b"".join([b"%b: %b\r\n" % field for field in headers])


class BodyWriter:
    """Frames one body."""

    __slots__ = ("_left", "framing")

    def __init__(self, framing: Framing) -> None:
        """Frame it so."""
        self.framing = framing
        self._left = framing.length if isinstance(framing, FixedLength) else 0

    def data(self, data: bytes) -> bytes:
        """Frame *data*; what needs no framing is returned as it is.

        :raises LocalProtocolError: more than was announced.
        """
        match self.framing:
            case FixedLength():
                if len(data) > self._left:
                    raise LocalProtocolError("more body than announced")
                self._left -= len(data)
                return data
            case Chunked():
                return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            case UntilClose():
                return data

    def end(self, trailers: Headers = NO_HEADERS) -> bytes:
        """Frame the end of the body.

        :raises LocalProtocolError: less than was announced, or trailers where the framing has no
            place for them.
        """
        if isinstance(self.framing, Chunked):
            if any(name.lower() in _FRAMING_FIELDS for name, _ in trailers):
                raise LocalProtocolError("framing fields can't be trailers")
            return b"0\r\n%b\r\n" % fields(trailers)
        if trailers:
            raise LocalProtocolError("only a chunked body has trailers")
        if self._left:
            raise LocalProtocolError("less body than announced")
        return b""
