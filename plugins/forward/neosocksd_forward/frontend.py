"""The frontend ``forward``: a handshake that asks for its target before the client has said a word."""

from neosocksd_core import (
    Address,
    AddressType,
    Claim,
    ClientConnection,
    Connect,
    HandshakeEvent,
    Reason,
    ServerContext,
    SocketAddress,
)
from neosocksd_core.addresses import pack_ip, parse_address
from neosocksd_forward.config import ROUTED, ForwardSettings

_SIZE_OF_IPV4 = 4


def parse_target(text: str) -> Connect:
    """The request that stands for *text*: a fixed address by its type, or ``:0`` as a name for the router to replace.

    :raises AddressError: where it is no address.
    """
    if text == ROUTED:
        return Connect(Address("", 0), AddressType.DOMAIN, None, "forward")
    return request_for(parse_address(text), "forward")


def request_for(target: Address, protocol: str) -> Connect:
    """The request for *target*, by the type of its address."""
    match pack_ip(target.host):
        case None:
            address_type = AddressType.DOMAIN
        case packed if len(packed) == _SIZE_OF_IPV4:
            address_type = AddressType.IPV4
        case _:
            address_type = AddressType.IPV6
    return Connect(target, address_type, None, protocol)


class ForwardFrontend:
    """Takes the core's ``listen`` explicitly. The target is that of the settings in force, so a reload changes it."""

    name = "forward"
    claim = Claim.EXPLICIT
    listen = ()
    first_bytes = ()

    __slots__ = ("_request", "_server", "_text")

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._text = server.section(ForwardSettings).address
        self._request = parse_target(self._text)

    def handshake(self, connection: ClientConnection) -> "ForwardHandshake":
        """A new machine. Where a reload has left no address, the one before stays: the listeners are still ours."""
        text = self._server.section(ForwardSettings).address
        if text and text != self._text:
            self._text, self._request = text, parse_target(text)
        return ForwardHandshake(self._request)


class ForwardHandshake:
    """The machine that needs no client: its first event is the request, whatever came before belongs to the target."""

    __slots__ = ("_buffer", "_request")

    def __init__(self, request: Connect) -> None:
        self._request: Connect | None = request
        self._buffer = b""

    def receive_data(self, data: bytes) -> None:
        """Keep what the client sent; it is all for the target."""
        self._buffer += data

    def next_event(self) -> HandshakeEvent | None:
        """The request, at the first call."""
        request, self._request = self._request, None
        return request

    def data_to_send(self) -> bytes:
        """Nothing, ever: the protocol has no replies."""
        return b""

    def trailing_data(self) -> bytes:
        """Take what the client sent."""
        buffer, self._buffer = self._buffer, b""
        return buffer

    def judge(self, accepted: bool) -> None:
        """Never asked for: there are no credentials."""

    def grant(self, bound: SocketAddress) -> None:
        """Bytes pass untouched from here on."""

    def reject(self, reason: Reason) -> None:
        """The connection closes, which is all that a client can be told."""

    def expire(self) -> None:
        """The connection closes."""
