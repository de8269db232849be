"""Carries one forwarded exchange: a request to an upstream of its own, and the response back."""

from neosocksd_core import DialError, FilterState, NeosocksdError, ProtocolError, Reason
from neosocksd_http1 import (
    UNTIL_CLOSE,
    AbsoluteTarget,
    ClientConnection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    RemoteProtocolError,
    Request,
    Response,
    ServerConnection,
    State,
    Wait,
)
from neosocksd_http_connect.replies import BAD_GATEWAY, reply
from neosocksd_http_connect.rewriting import (
    WEBSOCKET,
    client_interim,
    client_response,
    upstream_request,
)

MAX_PIPELINED = 65536
"""Once so many bytes are here that a client has sent ahead of its next request's turn, the rest is left unread until then
(RFC 9112 section 9.3.2).
"""


class Forwarding:
    """The filter of one exchange, between the client's machine and one for the upstream.

    The client's outlives it. Where a message is cut short or malformed, the other side is never
    given an end of it: the client gets an error in place of a response that has not begun, else
    what came of it and no more; the upstream is left without the rest.
    """

    __slots__ = (
        "_client",
        "_failure",
        "_left",
        "_state",
        "_to_client",
        "_to_upstream",
        "_upstream",
    )

    def __init__(self, client: ServerConnection, request: Request, target: AbsoluteTarget) -> None:
        """Queue the request, and what has come of its body."""
        self._client = client
        self._upstream = ClientConnection()
        self._to_client: list[bytes] = []
        self._to_upstream: list[bytes] = []
        self._state = FilterState.RELAY
        self._failure: NeosocksdError | None = None
        self._left = False
        """The client sends nothing more."""
        head = upstream_request(request, target, client.framing)
        self._to_upstream.append(self._upstream.send(head))
        self._read_client()

    @property
    def state(self) -> FilterState:
        """What becomes of the two connections."""
        is_ahead = self._client.reading is State.DONE and self._client.buffered >= MAX_PIPELINED
        return FilterState.HOLD if is_ahead and self._state is FilterState.RELAY else self._state

    @property
    def failure(self) -> NeosocksdError | None:
        """Why the exchange was given up, if it was."""
        return self._failure

    @property
    def client_ended(self) -> bool:
        """False: the client's connection ends with the exchange, by its state, or not at all."""
        return False

    @property
    def upstream_ended(self) -> bool:
        """True of a tunnel whose client has ended. Before that servers take half a connection for an abandoned one."""
        return self._left and self._state is FilterState.TUNNEL

    def to_client(self) -> bytes:
        """Take the bytes queued for the client."""
        out = b"".join(self._to_client)
        self._to_client.clear()
        return out

    def to_upstream(self) -> bytes:
        """Take the bytes queued for the upstream."""
        out = b"".join(self._to_upstream)
        self._to_upstream.clear()
        return out

    def from_client(self, data: bytes) -> None:
        """Go on with the request's body; what follows it is kept for the next exchange."""
        if self._state is FilterState.TUNNEL:
            self._to_upstream.append(data)
        elif self._state is FilterState.RELAY:
            if data:
                self._client.feed(data)
            else:
                self._left = True
                self._client.feed_eof()
            self._read_client()

    def from_upstream(self, data: bytes) -> None:
        """Go on with the response."""
        if self._state is FilterState.TUNNEL:
            self._to_client.append(data)
        elif self._state is FilterState.RELAY:
            if data:
                self._upstream.feed(data)
            else:
                self._upstream.feed_eof()
            self._read_upstream()

    def upstream_failed(self) -> None:
        """Tell the client that the response will not come, or not to its end."""
        if self._state is FilterState.RELAY:
            self._give_up(_upstreams_fault("the upstream broke off"), BAD_GATEWAY)

    def _read_client(self) -> None:
        try:
            while not isinstance(event := self._client.next_event(), Wait):
                match event:
                    case Data():
                        self._to_upstream.append(self._upstream.send(event))
                    case EndOfMessage():  # trailers stay behind
                        self._to_upstream.append(self._upstream.send(EndOfMessage()))
                    case Request() | ConnectionClosed():
                        return
        except RemoteProtocolError as error:
            self._give_up(ProtocolError(error.message), error.status)

    def _read_upstream(self) -> None:
        try:
            while not isinstance(event := self._upstream.next_event(), Wait):
                match event:
                    case InformationalResponse(status=101):
                        self._switch(event)
                    case InformationalResponse():
                        self._to_client.append(self._client.send(client_interim(event)))
                    case Response():
                        last = self._is_last or self._client.reading is not State.DONE
                        answer = client_response(event, last)
                        self._to_client.append(self._client.send(answer))
                    case Data():
                        self._to_client.append(self._client.send(event))
                    case EndOfMessage():
                        self._to_client.append(self._client.send(EndOfMessage()))
                        self._finish()
                        return
                    case ConnectionClosed():
                        return
        except RemoteProtocolError as error:
            self._give_up(_upstreams_fault(f"broken answer: {error.message}"), BAD_GATEWAY)

    def _switch(self, response: InformationalResponse) -> None:
        """Make a tunnel of the connection, as the upstream agreed to."""
        if response.headers.tokens(b"upgrade") != (WEBSOCKET,):
            raise RemoteProtocolError("the upstream switches to another protocol")
        self._to_client.append(self._client.send(client_interim(response)))
        self._to_client.append(self._upstream.trailing_data())
        self._to_upstream.append(self._client.trailing_data())
        self._state = FilterState.TUNNEL

    def _finish(self) -> None:
        again = self._client.reusable and not self._is_last
        self._state = FilterState.NEXT if again else FilterState.CLOSE

    @property
    def _is_last(self) -> bool:
        """The client has left, and no further request of it is here."""
        return self._left and not self._client.buffered

    def _give_up(self, failure: NeosocksdError, status: int) -> None:
        self._failure = failure
        self._state = FilterState.CLOSE
        if self._client.writing is State.IDLE:
            self._to_client.append(reply(self._client, status))
        elif self._client.sent_framing == UNTIL_CLOSE:
            self._state = FilterState.ABORT  # a close would look like the end


def _upstreams_fault(message: str) -> DialError:
    return DialError(Reason.GENERAL_FAILURE, message)
