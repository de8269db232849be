"""The dialer ``http://``: asks an HTTP proxy for a tunnel (CONNECT, RFC 9110 section 9.3.6)."""

from dataclasses import dataclass

from neosocksd_core import Address, AddressError, DialError, Hop, Reason
from neosocksd_core.addresses import check_host
from neosocksd_http1 import (
    ClientConnection,
    EndOfMessage,
    Headers,
    InformationalResponse,
    RemoteProtocolError,
    Request,
    Response,
)
from neosocksd_http_connect.credentials import write_credentials

_REASONS = {
    403: Reason.NOT_ALLOWED,
    407: Reason.NOT_ALLOWED,
    502: Reason.CONNECTION_REFUSED,
    503: Reason.CONNECTION_REFUSED,
}


class HttpClientHandshake:
    """The client's side of one CONNECT."""

    __slots__ = ("_done", "_machine", "_out")

    filter = None

    def __init__(self, hop: Hop, target: Address) -> None:
        """Queue the request for *target*, with the credentials of *hop* if it has any.

        :raises DialError: the target's host is no name or address that a proxy could be told, or the credentials cannot be.
        """
        self._machine = ClientConnection()
        self._done = False
        authority = _authority(target)
        fields = [(b"Host", authority)]
        if hop.username is not None:
            try:
                fields.append(write_credentials(hop.username, hop.password))
            except ValueError as error:
                raise DialError(Reason.GENERAL_FAILURE, str(error)) from None
        self._out = self._machine.send(Request(b"CONNECT", authority, Headers(fields)))
        self._machine.send(EndOfMessage())

    @property
    def done(self) -> bool:
        """True once the proxy has answered 2xx."""
        return self._done

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the proxy."""
        out, self._out = self._out, b""
        return out

    def trailing_data(self) -> bytes:
        """Take the bytes that followed the head of the answer: all of them are the tunnel's."""
        return self._machine.trailing_data()

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the proxy.

        :raises DialError: it refused, or its answer is no HTTP.
        """
        self._machine.feed(data)
        if self._done:
            return
        try:
            while isinstance(event := self._machine.next_event(), InformationalResponse):
                pass
        except RemoteProtocolError as error:
            raise DialError(Reason.GENERAL_FAILURE, f"malformed answer: {error}") from None
        if isinstance(event, Response):
            if not 200 <= event.status < 300:
                reason = _REASONS.get(event.status, Reason.GENERAL_FAILURE)
                raise DialError(reason, f"answered {event.status} to CONNECT")
            self._done = True


def _authority(target: Address) -> bytes:
    host = target.host
    if ":" in host:
        host = host.partition("%")[0]  # a scope id means nothing to the proxy
    try:
        return str(Address(check_host(host), target.port)).encode("ascii")
    except (AddressError, UnicodeEncodeError):
        raise DialError(Reason.GENERAL_FAILURE, "the target is no host name") from None


@dataclass(frozen=True, slots=True)
class HttpDialer:
    """Makes tunnels through ``http://[user:pass@]host[:port]``."""

    default_port: int = 80

    def handshake(self, hop: Hop, target: Address) -> HttpClientHandshake:
        """A new machine that asks *hop* to connect to *target*.

        :raises DialError: the target's host is no name or address that a proxy could be told, or the credentials cannot be.
        """
        return HttpClientHandshake(hop, target)
