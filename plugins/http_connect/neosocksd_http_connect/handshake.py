"""Reads a client's requests and answers them; carrying an exchange is left to ``forward``."""

import enum

from neosocksd_core import (
    Address,
    AddressError,
    AddressType,
    Answered,
    Authenticate,
    Connect,
    Filter,
    HandshakeEvent,
    ProtocolError,
    Reason,
    SocketAddress,
)
from neosocksd_core.addresses import check_host
from neosocksd_http1 import (
    AbsoluteTarget,
    Authority,
    RemoteProtocolError,
    Request,
    Response,
    ServerConnection,
    State,
    parse_absolute,
    parse_authority,
    passed_through,
)
from neosocksd_http_connect.credentials import read_credentials
from neosocksd_http_connect.forward import Forwarding
from neosocksd_http_connect.max_forwards import answer_as_recipient, forwards_left
from neosocksd_http_connect.replies import (
    AUTHENTICATION_REQUIRED,
    BAD_REQUEST,
    EXPECTATION_FAILED,
    FORBIDDEN,
    REQUEST_TIMEOUT,
    reply,
    status_of,
)
from neosocksd_http_connect.rewriting import PSEUDONYM, meets_expectations

_ESTABLISHED = Response(200, reason=b"Connection established")


class _Stage(enum.Enum):
    """What the handshake waits for."""

    REQUEST = enum.auto()
    VERDICT = enum.auto()
    """The credentials' judgement."""
    ASKING = enum.auto()
    """To be asked for the Connect that the credentials held up."""
    GRANT = enum.auto()
    """The outcome of the dial."""
    EXCHANGE = enum.auto()
    """The end of a forwarded exchange."""
    NOTHING = enum.auto()
    """A tunnel stands, or the reply closes the connection."""


class HttpHandshake:
    """The server's side of one client's connection, from request to request."""

    __slots__ = ("_auth_required", "_client", "_connect", "_out", "_request", "_stage", "_target")

    def __init__(self, auth_required: bool) -> None:
        """Wait for the first request, which must bring credentials if *auth_required*."""
        self._auth_required = auth_required
        self._client = ServerConnection()
        self._out = b""
        self._stage = _Stage.REQUEST
        self._request: Request | None = None
        self._target: AbsoluteTarget | None = None
        self._connect: Connect | None = None

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the client."""
        self._client.feed(data)

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the client."""
        out, self._out = self._out, b""
        return out

    def next_event(self) -> HandshakeEvent | None:
        """What the client wants next.

        :raises ProtocolError: the request is malformed or can't be served; the reply is queued.
        """
        if self._stage is _Stage.EXCHANGE:
            self._client.start_next_cycle()
            self._stage = _Stage.REQUEST
        match self._stage:
            case _Stage.REQUEST:
                return self._read_request()
            case _Stage.ASKING:
                return self._ask()
            case _:
                return None

    def judge(self, accepted: bool) -> None:
        """Go on with the request, or refuse it with 407."""
        if accepted:
            self._stage = _Stage.ASKING
        else:
            self._refuse(AUTHENTICATION_REQUIRED)

    def grant(self, bound: SocketAddress) -> Filter | None:
        """Open the tunnel, or forward the request and return what carries the exchange."""
        del bound
        if self._target is not None and self._request is not None:
            self._stage = _Stage.EXCHANGE
            return Forwarding(self._client, self._request, self._target)
        self._stage = _Stage.NOTHING
        self._out += self._client.send(_ESTABLISHED)
        return None

    def trailing_data(self) -> bytes:
        """Take what followed a CONNECT; a forwarded exchange keeps what follows to itself."""
        return self._client.trailing_data() if self._stage is _Stage.NOTHING else b""

    def reject(self, reason: Reason) -> None:
        """Queue the reply that says why the request was not granted."""
        self._refuse(status_of(reason))

    def expire(self) -> None:
        """Queue 408, should a request be due."""
        self._refuse(REQUEST_TIMEOUT)

    def _read_request(self) -> HandshakeEvent | None:
        try:
            request = self._client.next_event()
            return self._take(request) if isinstance(request, Request) else None
        except RemoteProtocolError as error:
            self._refuse(error.status)
            raise ProtocolError(error.message) from None
        except AddressError:
            self._refuse(BAD_REQUEST)
            raise ProtocolError("the target is no host name") from None

    def _take(self, request: Request) -> HandshakeEvent | None:
        """Judge a request by its head; say what it wants, or whose credentials come first."""
        authority = self._read_target(request)
        target = Address(check_host(authority.host), authority.port)
        if passed_through(request.headers, PSEUDONYM):
            raise RemoteProtocolError("the request has come round in a loop", FORBIDDEN)
        if self._target is not None and not meets_expectations(request):
            raise RemoteProtocolError("unknown expectation", EXPECTATION_FAILED)
        credentials = read_credentials(request.headers)
        self._request = request
        awaits_reply = self._target is None and not self._client.buffered
        self._connect = Connect(target, AddressType.DOMAIN, credentials, "http", awaits_reply)
        if not self._auth_required:
            return self._ask()
        if credentials is None:
            raise RemoteProtocolError("no credentials", AUTHENTICATION_REQUIRED)
        self._stage = _Stage.VERDICT
        return Authenticate(credentials)

    def _ask(self) -> HandshakeEvent | None:
        """Ask for the connection to the target, unless the request ends here."""
        if self._request is not None and forwards_left(self._request) == 0:
            self._stage = _Stage.NOTHING
            self._out += answer_as_recipient(self._client, self._request)
            return Answered()
        self._stage = _Stage.GRANT
        return self._connect

    def _read_target(self, request: Request) -> Authority:
        if request.method == b"CONNECT":
            self._target = None
            return parse_authority(request.target)
        self._target = parse_absolute(request.target, request.method)
        return self._target.authority

    def _refuse(self, status: int) -> None:
        self._stage = _Stage.NOTHING
        if self._client.writing is State.IDLE:
            self._out += reply(self._client, status)
