"""The client's machine: writes requests, reads responses."""

from typing import ClassVar, Literal

from .connection import BODY, DONE, IDLE, Connection, wants_close
from .errors import BAD_GATEWAY, LocalProtocolError, RemoteProtocolError
from .events import (
    NEED_DATA,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
    Wait,
)
from .framing import NO_BODY, UNTIL_CLOSE, declared_framing, is_tunnel, response_framing
from .heads import ResponseReader
from .limits import RESPONSE_LIMITS, Limits
from .writer import BodyWriter, request_head


class ClientConnection(Connection[InformationalResponse | Response]):
    """One connection to a server.

    Its errors of the server's name 502 as the status that a gateway answers. 2xx to CONNECT, and
    101 to a request that asked for an upgrade, end HTTP: there is no body and no end of message,
    what follows is trailing data.
    """

    _fault_status: ClassVar[int | None] = BAD_GATEWAY

    def __init__(self, limits: Limits = RESPONSE_LIMITS) -> None:
        """Wait for a request to send; responses are bounded by *limits*."""
        super().__init__(limits)
        self._reader = ResponseReader(limits)
        self._interim = 0
        self._method = b""
        self._upgrading = False

    def start_next_cycle(self) -> None:
        """Make ready for the next request.

        :raises LocalProtocolError: the machine is not :attr:`reusable`.
        """
        super().start_next_cycle()
        self._reader = ResponseReader(self._limits)
        self._interim = 0

    def send(self, event: Request | Data | EndOfMessage) -> bytes:
        """Write *event*; return the bytes for the server.

        A request has a body if it declares one, by Content-Length or ``Transfer-Encoding:
        chunked``; CONNECT has none.

        :raises LocalProtocolError: not now, or not so.
        """
        match event:
            case Request():
                return self._send_request(event)
            case Data() | EndOfMessage():
                return self._write_body(event)

    def _send_request(self, request: Request) -> bytes:
        if self._writing is not IDLE or self._reading is not IDLE:
            raise LocalProtocolError("no request is due")
        try:
            declared = declared_framing(request.headers)
        except RemoteProtocolError as error:
            raise LocalProtocolError(error.message) from None
        if request.method == b"CONNECT" and declared is not None:
            raise LocalProtocolError("CONNECT has no body")
        head = request_head(request)
        self._writer = BodyWriter(NO_BODY if declared is None else declared)
        self._writing = BODY
        self._method = request.method
        self._upgrading = b"upgrade" in request.headers.tokens(b"connection")
        self._keep_alive = not wants_close(request.headers)
        return head

    def _read_head(
        self,
    ) -> InformationalResponse | Response | ConnectionClosed | Literal[Wait.NEED_DATA]:
        if self._writing is IDLE:
            if self._buffer:
                raise RemoteProtocolError("bytes that answer no request")
            return self._close_at_end()
        response = self._reader.read(self._buffer)
        if response is None:
            if self._ended:
                raise RemoteProtocolError("the stream ended before the response")
            return NEED_DATA
        if isinstance(response, InformationalResponse):
            return self._take_interim(response)
        if is_tunnel(response.status, self._method):
            self._switch()
            return response
        framing = response_framing(response, self._method)
        self._begin_body(framing)
        self._keep_alive &= (
            response.version == b"1.1"
            and framing != UNTIL_CLOSE
            and self._method != b"CONNECT"
            and not wants_close(response.headers)
        )
        return response

    def _take_interim(self, response: InformationalResponse) -> InformationalResponse:
        self._interim += 1
        if self._interim > self._limits.informational:
            raise RemoteProtocolError("too many interim responses")
        if response.status == 101:
            if not self._upgrading or self._writing is not DONE:
                raise RemoteProtocolError("101 to a request that asked for no upgrade")
            self._switch()
        else:
            self._reader = ResponseReader(self._limits)
        return response
