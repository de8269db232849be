"""The server's machine: reads requests, writes responses."""

from typing import Final, Literal

from .connection import BODY, DONE, IDLE, Connection, wants_close
from .errors import LocalProtocolError, RemoteProtocolError
from .events import (
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
    Wait,
)
from .framing import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    FixedLength,
    Framing,
    declared_framing,
    is_bodiless,
    is_tunnel,
    request_framing,
)
from .grammar import HOST_FIELD
from .headers import NO_HEADERS, Headers
from .heads import RequestReader
from .limits import REQUEST_LIMITS, Limits
from .writer import BodyWriter, response_head

FRAMING_FIELDS: Final = frozenset((b"content-length", b"transfer-encoding"))
_CLOSE: Final = (b"Connection", b"close")


class ServerConnection(Connection[Request]):
    """One client's connection.

    A request without ``Host`` is let pass, two of them are not (RFC 9112 section 3.2); who needs
    one looks for it. After an error of the client's, one response may be sent, with the status that
    the error names. HTTP/1.0 connections and those of a CONNECT that was not granted are never kept
    alive.
    """

    def __init__(self, limits: Limits = REQUEST_LIMITS) -> None:
        """Wait for the first request, bounded by *limits*."""
        super().__init__(limits)
        self._reader = RequestReader(limits)
        self._request: Request | None = None

    @property
    def request(self) -> Request | None:
        """The request of this cycle, None until its head has been read."""
        return self._request

    def start_next_cycle(self) -> None:
        """Make ready for the next request. Pipelined bytes are kept.

        :raises LocalProtocolError: the machine is not :attr:`reusable`.
        """
        super().start_next_cycle()
        self._reader = RequestReader(self._limits)
        self._request = None

    def send(self, event: InformationalResponse | Response | Data | EndOfMessage) -> bytes:
        """Write *event*; return the bytes for the client.

        The machine sees to the framing: a body whose length the response does not declare is sent
        in chunks, to HTTP/1.0 until close; what may have no body gets none; ``Connection: close``
        is added where the connection can't go on. Interim responses to HTTP/1.0 are dropped.

        :raises LocalProtocolError: not now, or not so.
        """
        match event:
            case Response():
                return self._send_response(event)
            case InformationalResponse():
                return self._send_interim(event)
            case Data() | EndOfMessage():
                return self._write_body(event)

    def respond(self, status: int, body: bytes = b"", headers: Headers | None = None) -> bytes:
        """Write a whole response, with its length; to HEAD without the body."""
        method = self._request.method if self._request else b"GET"
        length = (b"Content-Length", b"%d" % len(body))
        head = self.send(Response(status, (headers or NO_HEADERS).plus(length)))
        if is_tunnel(status, method):
            return head
        return head + self.finish(b"" if is_bodiless(status, method) else body)

    def _read_head(self) -> Request | ConnectionClosed | Literal[Wait.NEED_DATA]:
        request = self._reader.read(self._buffer)
        if request is None:
            if self._ended and (self._buffer or self._reader.started):
                raise RemoteProtocolError("the stream ended within a request")
            return self._close_at_end()
        self._request = request
        self._keep_alive = False
        hosts = request.headers.get_all(b"host")
        if len(hosts) > 1:
            raise RemoteProtocolError("more than one Host")
        if hosts and HOST_FIELD.fullmatch(hosts[0]) is None:
            raise RemoteProtocolError("malformed Host")
        self._begin_body(request_framing(request))
        self._keep_alive = (
            request.version == b"1.1"
            and request.method != b"CONNECT"
            and not wants_close(request.headers)
        )
        return request

    def _send_interim(self, response: InformationalResponse) -> bytes:
        request = self._request
        if request is None or self._writing is not IDLE or self._fault is not None:
            raise LocalProtocolError("no interim response is due")
        if not 100 <= response.status < 200:
            raise LocalProtocolError("the status of an interim response is 1xx")
        if response.status == 101:
            asked = b"upgrade" in request.headers.tokens(b"connection")
            if not asked or request.version == b"1.0" or self._reading is not DONE:
                raise LocalProtocolError("the request asks for no upgrade, or is incomplete")
        elif request.version == b"1.0":
            return b""
        head = response_head(response)
        if response.status == 101:
            self._switch()
        return head

    def _send_response(self, response: Response) -> bytes:
        if self._writing is not IDLE:
            raise LocalProtocolError("no response is due")
        if not 200 <= response.status <= 599:
            raise LocalProtocolError("the status of a final response is 200 to 599")
        request = self._request
        method = request.method if request else b"GET"
        if is_tunnel(response.status, method):
            if self._fault is not None:
                raise LocalProtocolError("no tunnel can be granted after an error")
            head = response_head(_with(response, response.headers.without(FRAMING_FIELDS)))
            self._switch()
            return head
        framing, headers = self._framed(response, method)
        closing = wants_close(headers)
        self._keep_alive &= not closing and framing is not UNTIL_CLOSE
        self._keep_alive &= request is not None and self._fault is None
        if not (closing or self._keep_alive):
            headers = headers.plus(_CLOSE)
        head = response_head(_with(response, headers))
        self._writer = BodyWriter(framing)
        self._writing = BODY
        return head

    def _framed(self, response: Response, method: bytes) -> tuple[Framing, Headers]:
        """Decide on the framing of the body, and on the fields with the one that announces it."""
        headers = response.headers
        try:
            declared = declared_framing(headers)
        except RemoteProtocolError as error:
            raise LocalProtocolError(error.message) from None
        if isinstance(declared, FixedLength):
            length = b"%d" % declared.length
            if headers.get(b"content-length") != length:  # leading zeros
                headers = headers.without(FRAMING_FIELDS).plus((b"Content-Length", length))
            if not is_bodiless(response.status, method):
                return declared, headers
            if response.status != 204:
                return NO_BODY, headers
        headers = headers.without(FRAMING_FIELDS)
        if is_bodiless(response.status, method):
            return NO_BODY, headers
        if self._request is not None and self._request.version == b"1.0":
            return UNTIL_CLOSE, headers
        return CHUNKED, headers.plus((b"Transfer-Encoding", b"chunked"))


def _with(response: Response, headers: Headers) -> Response:
    if headers is response.headers:
        return response
    return Response(response.status, headers, response.reason)
