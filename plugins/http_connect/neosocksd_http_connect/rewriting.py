"""What a forwarded message looks like, to the upstream and back (RFC 9110 section 7.6)."""

from neosocksd_http1 import (
    CHUNKED,
    AbsoluteTarget,
    FixedLength,
    Framing,
    Headers,
    InformationalResponse,
    Request,
    Response,
    end_to_end,
    upgrade_protocols,
    with_via,
)
from neosocksd_http_connect.max_forwards import forwards_left

PSEUDONYM = b"neosocksd"
"""Our name in ``Via``."""

WEBSOCKET = b"websocket"
"""The one protocol that a client may upgrade to through us (RFC 6455)."""

_REWRITTEN = (b"host", b"content-length", b"http2-settings")
_SWITCH = ((b"Connection", b"Upgrade"), (b"Upgrade", WEBSOCKET))
_CLOSE = ((b"Connection", b"close"),)


def meets_expectations(request: Request) -> bool:
    """Whether all that the client expects can be passed on (RFC 9110 section 10.1.1).

    That is ``100-continue`` alone; HTTP/1.0 has no expectations.
    """
    expected = request.headers.tokens(b"expect")
    return request.version == b"1.0" or all(member == b"100-continue" for member in expected)


def asks_for_websocket(request: Request) -> bool:
    """Whether the request is a WebSocket handshake (RFC 6455 section 4.1)."""
    if request.method != b"GET" or request.version == b"1.0":
        return False
    return WEBSOCKET in upgrade_protocols(request.headers)


def upstream_request(request: Request, target: AbsoluteTarget, framing: Framing) -> Request:
    """The request as the upstream is to get it: origin form, ``Host`` from the URI, framed anew."""
    old = request.version == b"1.0"
    left = forwards_left(request)
    unwanted = [*_REWRITTEN]
    if old:
        unwanted.append(b"expect")
    if left is not None:
        unwanted.append(b"max-forwards")
    kept = end_to_end(request.headers, unwanted)
    fields = [(b"Host", target.authority.host_field()), *with_via(kept, PSEUDONYM)]
    if left is not None:
        fields.append((b"Max-Forwards", b"%d" % (left - 1)))
    if framing == CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif isinstance(framing, FixedLength) and b"content-length" in request.headers:
        fields.append((b"Content-Length", b"%d" % framing.length))
    fields.extend(_SWITCH if asks_for_websocket(request) else _CLOSE)
    return Request(request.method, target.origin, Headers(fields))


def client_response(response: Response, last: bool = False) -> Response:
    """The final response as the client is to get it; *last* on this connection.

    Its framing is left to the machine that writes it.
    """
    headers = with_via(end_to_end(response.headers), PSEUDONYM)
    if last:
        headers = headers.plus(*_CLOSE)
    return Response(response.status, headers, response.reason)


def client_interim(response: InformationalResponse) -> InformationalResponse:
    """An interim response as the client is to get it."""
    headers = end_to_end(response.headers, (b"content-length",))
    if response.status == 101:
        headers = headers.plus(*_SWITCH)
    return InformationalResponse(response.status, headers, response.reason)
