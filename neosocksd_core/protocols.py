"""The shapes that plugins and embedders fill: frontends and dialers as pure machines, routers, authenticators, resolvers.

Nothing here does I/O, and nothing that implements the machines should: the session and the dial own the sockets,
feed the machines bytes, and send what the machines queue.
"""

import enum
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from socket import AddressFamily
from typing import Protocol

from neosocksd_core.addresses import Address, Hop, SocketAddress
from neosocksd_core.filters import Filter
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Credentials, Decision, HandshakeEvent, Request, SessionInfo


class ClientConnection(Protocol):
    """What a frontend may know of the connection whose handshake it makes."""

    @property
    def client(self) -> SocketAddress:
        """The client's socket address."""
        ...

    @property
    def local(self) -> SocketAddress:
        """The address at which the client reached us."""
        ...


class Handshake(Protocol):
    """The server's side of one client's negotiation.

    The session feeds it, asks for events until there is none, and sends what is queued after each step. After a
    :class:`~neosocksd_core.requests.Connect` (or ``Bind``, or ``Associate``) it waits for :meth:`grant` or :meth:`reject`; no event is asked for in
    between, bytes that come early are kept by the session.
    """

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the client. Never raises: errors come from :meth:`next_event`."""

    def next_event(self) -> HandshakeEvent | None:
        """The next thing that the client wants, or None while more bytes are needed.

        :raises ProtocolError: the client broke the protocol; the reply to it, if any, is queued, and the session closes.
        """
        ...

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the client."""
        ...

    def trailing_data(self) -> bytes:
        """Take the bytes that the client sent beyond its request."""
        ...

    # After a filter's NEXT, events are asked for before anything more is fed: the next request may be here already.

    def judge(self, accepted: bool) -> None:
        """Answer :class:`~neosocksd_core.requests.Authenticate`. If refused, the reply is queued and the session closes."""

    def grant(self, bound: SocketAddress) -> Filter | None:
        """The upstream stands; queue the success reply. ``bound`` is our address towards the upstream. (What it is for a ``Bind``,
        which is granted twice, and for an ``Associate`` stands there; of these three grants only the last of a ``Bind`` can give a filter.)

        Returns None where the bytes that follow are relayed untouched, else the filter that interprets them. Where it returns a
        filter, bytes that the client sent early are fed to the filter, :meth:`trailing_data` first.
        """
        ...

    def reject(self, reason: Reason) -> None:
        """The request failed or was refused; queue the reply. The session sends it and closes."""

    def expire(self) -> None:
        """The client has not finished its request in time; queue a reply if the protocol has one. The session closes."""


class Claim(enum.IntEnum):
    """How much a frontend wants the listeners of the core's setting ``listen``."""

    NONE = 0
    DEFAULT = 1
    """Takes them unless another asks for them."""
    EXPLICIT = 2
    """The user asked for it; two of these are a configuration error."""


class Frontend(Protocol):
    """A protocol that clients speak to us. One object serves all its connections.

    ``listen`` are the addresses of its own listeners, ``claim`` what it wants of the core's. ``first_bytes`` are the values
    of a first byte by which its clients are told from others' on a shared port; empty where that is not possible. Where there
    are some, a handshake is asked for an event only once its client has sent something.
    """

    @property
    def name(self) -> str: ...
    @property
    def listen(self) -> Sequence[str]: ...
    @property
    def claim(self) -> Claim: ...
    @property
    def first_bytes(self) -> Collection[int]: ...

    def handshake(self, connection: ClientConnection) -> Handshake:
        """A new machine for a client that has just connected."""
        ...


class ClientHandshake(Protocol):
    """The client's side of the negotiation with one hop of a chain, over a connection that already stands."""

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the hop.

        :raises DialError: the hop refused or broke its protocol; the reason is passed on to the client.
        """

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the hop."""
        ...

    def trailing_data(self) -> bytes:
        """Take the bytes that followed the hop's last message; they belong to the tunnel (and to :attr:`filter`, if there is one)."""
        ...

    @property
    def done(self) -> bool:
        """True once the tunnel to the target stands."""
        ...

    @property
    def filter(self) -> Filter | None:
        """None where the tunnel passes bytes untouched; else what encodes and decodes all that follows."""
        ...


class Dialer(Protocol):
    """An outbound scheme: how to ask a proxy of that kind for a connection onwards."""

    @property
    def default_port(self) -> int:
        """The port of a URI that names none."""
        ...

    def handshake(self, hop: Hop, target: Address) -> ClientHandshake:
        """A new machine that asks *hop* to connect to *target*. For the setting ``proxy`` one is made and dropped at the start.

        :raises DialError: if that cannot be said in the protocol (a password that is too long, …).
        """
        ...


class Router(Protocol):
    """Decides where a request goes. Any object with this one method will do."""

    def route(self, request: Request) -> Decision | Awaitable[Decision]:
        """Answer with a decision, at once or later. What it raises rejects that request alone, and is logged."""
        ...


class Authenticator(Protocol):
    """Judges credentials by themselves, before the request is known."""

    def authenticate(
        self, credentials: Credentials, client: SocketAddress
    ) -> bool | Awaitable[bool]:
        """True if the credentials are good, at once or later."""
        ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name (IP addresses, as texts), in the order to try them, and for how many seconds that may be believed (None: unknown).

    Without addresses it says that the name has none, which is a lookup that failed too, but may be believed for a while (RFC 2308).
    """

    addresses: tuple[str, ...]
    ttl: float | None = None


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, host: str, family: AddressFamily) -> Resolution:
        """Look *host* up; *family* is AF_INET, AF_INET6 or AF_UNSPEC for both.

        :raises DialError: with reason NAME_NOT_RESOLVED.
        """
        ...


class Observer(Protocol):
    """Is told of sessions. Both methods are called on the event loop and must not block."""

    def session_opened(self, session: SessionInfo) -> None:
        """A session has been granted and begins to relay."""

    def session_closed(self, session: SessionInfo) -> None:
        """A session has ended, granted or not."""
