"""The values that travel through the house: what a client asks for, what a router decides, what became of it."""

import enum
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from neosocksd_core.addresses import Address, Chain, SocketAddress
from neosocksd_core.datagrams import DatagramCodec
from neosocksd_core.filters import Filter
from neosocksd_core.reasons import Reason


class AddressType(enum.Enum):
    """How the client's protocol named the target (RFC 1928 section 4, ATYP). HTTP names everything as a domain."""

    DOMAIN = "domain"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client, or a hop's URI, offers to be known by: bytes as they were sent.

    ``password`` is None where the protocol has none (SOCKS4's user id).
    """

    username: bytes
    password: bytes | None = field(default=None, repr=False)


# What a frontend's handshake reports.


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The client has sent credentials that are to be judged before the handshake goes on."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Connect:
    """The client asks for a connection to ``target``. ``protocol`` is the dialect it spoke, as ``socks4a`` or ``http``.

    ``awaits_reply``: it has sent nothing beyond its request, and has nothing to say before it is answered; should it end its side
    by then, it has gone. Where this is false an end is a half-close, which is passed on.
    """

    target: Address
    address_type: AddressType
    credentials: Credentials | None
    protocol: str
    awaits_reply: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Bind:
    """The client asks us to listen for one connection, which ``target`` is to make (BIND of RFC 1928 section 4). Its port tells
    nothing: clients give that of another connection to the same host. An unspecified host (``0.0.0.0``, ``::``) is any.

    It is granted twice: with the address at which we listen, then with that of the peer that has connected.
    ``awaits_reply`` as for :class:`Connect`. ``ports`` are those that may be listened on; None leaves it to the system.
    """

    target: Address
    credentials: Credentials | None
    protocol: str
    awaits_reply: bool = field(default=False, compare=False)
    ports: range | None = None


@dataclass(frozen=True, slots=True)
class Associate:
    """The client asks for a relay of datagrams (UDP ASSOCIATE of RFC 1928 section 4), which lasts as long as its connection.

    ``source`` is where it means to send them from, as far as it knows: the host may be unspecified or empty, the port 0. It
    is granted with the address at which we take them; ``codec`` tells how they travel between client and us,
    ``ports`` on which of ours; None leaves that to the system.
    """

    source: Address
    credentials: Credentials | None
    protocol: str
    codec: DatagramCodec
    ports: range | None = None


ClientRequest = Connect | Bind | Associate
"""What a client can ask for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The client had a request that the handshake has answered by itself; the session closes when the reply is sent."""


HandshakeEvent = Authenticate | ClientRequest | Answered


# What a router answers.


@dataclass(frozen=True, slots=True)
class Forward:
    """Connect to ``address`` through ``chain``. The chain of the settings (``-x``) is dialled before it."""

    address: Address
    chain: Chain = ()

    def __str__(self) -> str:
        return " -> ".join([*map(str, self.chain), str(self.address)])


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the request. ``message`` is for the log only."""

    reason: Reason = Reason.NOT_ALLOWED
    message: str = ""


@dataclass(slots=True, eq=False)
class Upstream:
    """A connection that stands, to ``address`` through ``chain``.

    Whoever holds it owns the socket: hand it on (a router answers with it) or :meth:`close` it.
    ``bound`` is our own address of the connection. ``early_data`` came with the last hop's reply
    and is the tunnel's first, decoded already; ``filter`` is set where a dialer encodes the stream.
    """

    socket: socket.socket
    address: Address
    chain: Chain
    bound: SocketAddress
    early_data: bytes = b""
    filter: Filter | None = None

    def close(self) -> None:
        self.socket.close()


Decision = Forward | Reject | Upstream
"""What a router answers: connect there, refuse, or use this connection that it has dialled itself."""


@dataclass(slots=True, eq=False)
class Request:
    """A client's request, as a router sees it. Each is one of its own; changing it changes nothing of the session."""

    session_id: int
    client: SocketAddress
    frontend: str
    protocol: str
    target: Address
    address_type: AddressType
    credentials: Credentials | None
    dial: Callable[[Forward], Awaitable[Upstream]] = field(repr=False)
    """``await request.dial(Forward(…))`` connects now and returns an :class:`Upstream` to answer
    with, or raises :class:`~neosocksd_core.errors.DialError`, after which another way may be tried."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One row of the session table, as it was when it was asked for.

    ``user`` is the name the client gave, escaped for display; ``target`` what it asked for, None before that is known and for a relay
    of datagrams, which has many;
    ``age`` is in seconds; ``bytes_up`` went from client to upstream, ``bytes_down`` the other way. ``outcome`` is ``"handshake"``,
    ``"routing"``, ``"dialing"``, ``"listening"``, ``"relaying"`` while the session lives, and how it ended after that.
    """

    id: int
    client: SocketAddress
    frontend: str
    protocol: str
    user: str | None
    target: Address | None
    chain: Chain
    age: float
    bytes_up: int
    bytes_down: int
    outcome: str
