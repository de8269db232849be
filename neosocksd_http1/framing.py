"""How long a message body is (RFC 9112 section 6), read so that no two readers can differ on it.

Refused where the RFC leaves a choice: Content-Length beside Transfer-Encoding, two Content-Length
fields even if they agree, any transfer coding but ``chunked`` alone, a transfer coding in HTTP/1.0.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from .errors import RemoteProtocolError
from .events import Request, Response
from .grammar import CONTENT_LENGTH, MAX_INTEGER
from .headers import Headers


@dataclass(frozen=True, slots=True)
class FixedLength:
    """The body has *length* bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """The body comes in chunks and ends with the last one."""


@dataclass(frozen=True, slots=True)
class UntilClose:
    """The body ends with the connection. Only responses may."""


Framing: TypeAlias = FixedLength | Chunked | UntilClose

NO_BODY: Final = FixedLength(0)
CHUNKED: Final = Chunked()
UNTIL_CLOSE: Final = UntilClose()


def declared_framing(headers: Headers, version: bytes = b"1.1") -> Framing | None:
    """Return the framing that the header fields declare, None if they say nothing.

    :raises RemoteProtocolError: they contradict each other or themselves.
    """
    codings = headers.get_all(b"transfer-encoding")
    lengths = headers.get_all(b"content-length")
    if codings:
        if lengths:
            raise RemoteProtocolError("both Content-Length and Transfer-Encoding")
        if version == b"1.0":
            raise RemoteProtocolError("Transfer-Encoding in HTTP/1.0")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise RemoteProtocolError("a Transfer-Encoding other than chunked")
        return CHUNKED
    if not lengths:
        return None
    first, *more = lengths
    if more:
        raise RemoteProtocolError("more than one Content-Length")
    if CONTENT_LENGTH.fullmatch(first) is None:
        raise RemoteProtocolError("Content-Length is no number")
    length = int(first)
    if length > MAX_INTEGER:
        raise RemoteProtocolError("Content-Length is too large")
    return FixedLength(length)


def request_framing(request: Request) -> Framing:
    """Return the framing of a request's body.

    CONNECT has none, whatever it declares (RFC 9110 section 9.3.6).

    :raises RemoteProtocolError: as :func:`declared_framing`.
    """
    declared = declared_framing(request.headers, request.version)
    return NO_BODY if declared is None or request.method == b"CONNECT" else declared


def response_framing(response: Response, method: bytes) -> Framing:
    """Return the framing of the body of a response to a request of *method* (RFC 9112 section 6.3).

    :raises RemoteProtocolError: as :func:`declared_framing`.
    """
    if is_tunnel(response.status, method):
        return NO_BODY  # what is declared must be ignored
    declared = declared_framing(response.headers, response.version)
    if is_bodiless(response.status, method):
        return NO_BODY
    return UNTIL_CLOSE if declared is None else declared


def is_tunnel(status: int, method: bytes) -> bool:
    """Tell whether a response is 2xx to CONNECT, a tunnel's begin (RFC 9110 section 9.3.6)."""
    return method == b"CONNECT" and 200 <= status < 300


def is_bodiless(status: int, method: bytes) -> bool:
    """Tell whether a response has no body, whatever it declares (RFC 9112 section 6.3, rule 1)."""
    return method == b"HEAD" or status in (204, 304)
