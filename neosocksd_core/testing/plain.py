"""A protocol as plain as can be, for testing what is not a protocol: routers, authenticators, observers, chains, the core.

::

    client  [USER:PASSWORD@]HOST:PORT LF
    server  "ok" LF                         and then bytes pass
            "no" SPACE REASON LF            and then the end

It comes as a plugin, :class:`PlainPlugin`, with a frontend ``plain`` and a dialer ``plain://``.
"""

from collections.abc import Collection, Mapping, Sequence

from neosocksd_core.addresses import (
    Address,
    AddressError,
    Hop,
    SocketAddress,
    pack_ip,
    parse_address,
)
from neosocksd_core.errors import DialError, ProtocolError
from neosocksd_core.filters import Filter
from neosocksd_core.hookspecs import ServerContext, hookimpl
from neosocksd_core.protocols import Claim, ClientConnection, Dialer, Frontend, Handshake
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import AddressType, Authenticate, Connect, Credentials, HandshakeEvent

MAX_LINE = 1024
"""Bytes that a line may have."""

_REASONS = {reason.value: reason for reason in Reason}
_TYPES = {None: AddressType.DOMAIN, 4: AddressType.IPV4, 16: AddressType.IPV6}


def plain_request(target: SocketAddress | Address, username: str = "", password: str = "") -> bytes:
    """The line that asks for *target*."""
    if not isinstance(target, Address):
        target = Address(target[0], target[1])
    user = f"{username}:{password}@" if username else ""
    return f"{user}{target}\n".encode()


class PlainHandshake:
    """The server's side."""

    def __init__(self, auth_required: bool = False) -> None:
        self._auth_required = auth_required
        self._buffer = b""
        self._output = b""
        self._request: Connect | None = None
        self._is_judged = False

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the client."""
        self._buffer += data

    def next_event(self) -> HandshakeEvent | None:
        """The credentials, if there are any, then the request.

        :raises ProtocolError: for a line that is too long or no address.
        """
        if self._request is None:
            line, newline, rest = self._buffer.partition(b"\n")
            if len(line) > MAX_LINE:
                raise self._error("line too long")
            if not newline:
                return None
            self._buffer = rest
            self._request = self._parse(line)
            if self._request.credentials is not None:
                return Authenticate(self._request.credentials)
        elif self._is_judged or self._request.credentials is None:
            return None
        self._is_judged = True
        return self._request

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the client."""
        output, self._output = self._output, b""
        return output

    def trailing_data(self) -> bytes:
        """Take the bytes that followed the request."""
        buffer, self._buffer = self._buffer, b""
        return buffer

    def judge(self, accepted: bool) -> None:
        """Answer the credentials."""
        if not accepted:
            self.reject(Reason.NOT_ALLOWED)

    def grant(self, bound: SocketAddress) -> Filter | None:
        """The upstream stands."""
        self._output += b"ok\n"
        return None

    def reject(self, reason: Reason) -> None:
        """The request failed or was refused."""
        self._output += f"no {reason.value}\n".encode()

    def expire(self) -> None:
        """The client was too slow."""
        self._output += b"no request\n"

    def _parse(self, line: bytes) -> Connect:
        user, at, address = line.rpartition(b"@")
        try:
            target = parse_address(address.decode("ascii"))
        except (AddressError, UnicodeDecodeError):
            raise self._error("not an address") from None
        credentials = None
        if at:
            username, _, password = user.partition(b":")
            credentials = Credentials(username, password)
        elif self._auth_required:
            raise self._error("credentials are required")
        packed = pack_ip(target.host)
        return Connect(target, _TYPES[len(packed) if packed else None], credentials, "plain")

    def _error(self, message: str) -> ProtocolError:
        self._output += f"no, {message}\n".encode()
        return ProtocolError(message)


class PlainClientHandshake:
    """The client's side."""

    filter: Filter | None = None

    def __init__(self, hop: Hop, target: Address) -> None:
        username, password = hop.username or b"", hop.password or b""
        self._output = plain_request(target, username.decode(), password.decode())
        self._buffer = b""
        self.done = False
        """The tunnel stands."""

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the hop.

        :raises DialError: the hop refused, or said something else.
        """
        self._buffer += data
        line, newline, rest = self._buffer.partition(b"\n")
        if newline and line == b"ok":
            self._buffer = rest
            self.done = True
        elif newline or len(line) > MAX_LINE:
            text = line.removeprefix(b"no ").decode("ascii", "replace")
            raise DialError(_REASONS.get(text, Reason.GENERAL_FAILURE), text)

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the hop."""
        output, self._output = self._output, b""
        return output

    def trailing_data(self) -> bytes:
        """Take the bytes that followed the reply."""
        buffer, self._buffer = self._buffer, b""
        return buffer


class PlainDialer:
    """The outbound scheme ``plain``."""

    default_port = 1090

    def handshake(self, hop: Hop, target: Address) -> PlainClientHandshake:
        """A new machine."""
        return PlainClientHandshake(hop, target)


class PlainFrontend:
    """Takes the core's ``listen`` if nobody else does; on a shared port it is told by a digit or a bracket."""

    name = "plain"
    claim = Claim.EXPLICIT
    listen: Sequence[str] = ()
    first_bytes: Collection[int] = frozenset(b"0123456789[")

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def handshake(self, connection: ClientConnection) -> Handshake:
        """A new machine."""
        return PlainHandshake(self._server.settings.auth_required)


class PlainPlugin:
    """The plugin: give the class, or an object of it, to a server's ``plugins``."""

    @hookimpl
    def register_frontends(self, server: ServerContext) -> Sequence[Frontend]:
        """The frontend ``plain``."""
        return [PlainFrontend(server)]

    @hookimpl
    def register_dialers(self) -> Mapping[str, Dialer]:
        """The scheme ``plain``."""
        return {"plain": PlainDialer()}
