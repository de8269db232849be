"""The relay of datagrams between one client and whomever it sends to (UDP ASSOCIATE of RFC 1928 section 7).

::

    client ── inside ── codec ──┬── outside, IPv4 ── hosts
       └───── control           └── outside, IPv6 ── hosts

It lasts as long as the client's connection, over which nothing more is said. What cannot be relayed is dropped without a word, as
networks do: a datagram of somebody else than the client, one to a blocked address, one from a host to which the client has
sent nothing.
"""

import socket
from collections.abc import Callable
from functools import partial

from neosocksd_core.addresses import Address, SocketAddress, pack_ip
from neosocksd_core.containment import contained
from neosocksd_core.dial import Dialling
from neosocksd_core.errors import DialError
from neosocksd_core.policy import unmap
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Watch
from neosocksd_core.requests import Associate
from neosocksd_core.resolver import Lookup, LookupResult
from neosocksd_core.sockets import family_of, reset

DATAGRAMS_A_WAKE = 64
MAX_HOSTS = 1024
"""So many hosts that the client has sent to may answer; the one that was first sent to is forgotten first."""
MAX_LOOKUPS = 8
"""So many names are looked up at a time. Datagrams to others are dropped, for the threads that look names up serve all clients."""
MAX_WAITING = 32
"""So many datagrams wait for a name to be looked up; what comes beyond that is dropped."""
MAX_WAITING_BYTES = 65536
"""So many bytes they may have in all."""

_MAX_DATAGRAM = 65535
_CONTROL_SIZE = 4096


def open_inside(local: SocketAddress) -> socket.socket:
    """The socket that takes the datagrams of a client which has reached us at *local*, on a port of the system's choice.

    :raises OSError: if there is none.
    """
    host, _, *rest = local
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((host, 0, *rest))
    except OSError:
        sock.close()
        raise
    return sock


class Association:
    """One client's relay of datagrams. Calls *finish* once, with True where the client has ended it in order.

    After that all its sockets are closed, the client's connection included.
    """

    __slots__ = (
        "_client",
        "_codec",
        "_control",
        "_control_watch",
        "_dialling",
        "_down",
        "_finish",
        "_hosts",
        "_inside",
        "_lookups",
        "_outside",
        "_report",
        "_source",
        "_up",
        "_waiting",
        "_waiting_bytes",
        "_watches",
    )

    def __init__(
        self,
        dialling: Callable[[], Dialling],
        control: socket.socket,
        watch: Watch,
        inside: socket.socket,
        client: SocketAddress,
        associate: Associate,
        finish: Callable[[bool], None],
        report: Callable[[BaseException], None],
    ) -> None:
        """*dialling* gives what is in force, for an association outlives reloads. *watch* is that of *control*, the client's
        connection, and *client* its other end. *report* is told what the codec raised, before that ends the association.
        """
        self._dialling = dialling
        self._control = control
        self._inside = inside
        self._codec = associate.codec
        self._source = _source(client, associate.source)
        self._client: SocketAddress | None = None
        """Where the client sends from, once it has."""
        self._finish: Callable[[bool], None] | None = finish
        self._report = report
        self._outside: dict[socket.AddressFamily, socket.socket] = {}
        self._hosts: dict[str, None] = {}
        """The hosts that may answer, in the order in which they were first sent to."""
        self._lookups: dict[str, tuple[Lookup, list[tuple[int, bytes]]]] = {}
        """By name: the look-up, and what is to be sent then, with its port."""
        self._waiting = 0
        self._waiting_bytes = 0
        self._up = 0
        self._down = 0
        self._watches = [dialling().reactor.watch(inside.fileno(), READ, self._on_client)]
        self._control_watch = watch
        watch.callback = self._on_control
        watch.want(READ)

    def counts(self) -> tuple[int, int]:
        """Bytes of payload relayed so far, up and down."""
        return self._up, self._down

    def abort(self) -> None:
        """End it, with a reset of the client's connection."""
        self._end(orderly=False)

    def crash(self, error: BaseException) -> None:
        """The codec raised what it should not."""
        self._report(error)
        self._end(orderly=False)

    def _end(self, orderly: bool) -> None:
        finish, self._finish = self._finish, None
        if finish is None:
            return
        self._control_watch.close()
        for watch in self._watches:
            watch.close()
        for lookup, _ in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()
        self._inside.close()
        for sock in self._outside.values():
            sock.close()
        if orderly:
            self._control.close()
        else:
            reset(self._control)
        finish(orderly)

    def _on_control(self, events: int) -> None:
        """Nothing more is said on the client's connection but that it ends."""
        try:
            data = self._control.recv(_CONTROL_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._end(orderly=False)
            return
        if not data:
            self._end(orderly=True)

    # up

    @contained
    def _on_client(self, events: int) -> None:
        for _ in range(DATAGRAMS_A_WAKE):
            received = _receive(self._inside)
            if received is None:
                return
            datagram, sender = received
            if not self._is_client(sender):
                continue
            decoded = self._codec.decode(datagram)
            if decoded is not None:
                self._relay_up(*decoded)

    def _is_client(self, sender: SocketAddress) -> bool:
        """Its datagrams come from the host of its connection, and all from one port: the one that it has named, or that of the first."""
        if self._client is None:
            host, port = self._source
            if sender[0] != host or port not in (0, sender[1]):
                return False
            self._client = sender
        return sender == self._client

    def _relay_up(self, target: Address, payload: bytes) -> None:
        host, port = target.host, target.port
        if not port:
            return
        known = self._dialling().names.known(host)
        if known is not None:
            self._send(known, port, payload)
        else:
            self._keep(host, port, payload)

    def _keep(self, host: str, port: int, payload: bytes) -> None:
        """Keep it until the name is looked up, if there is room."""
        size = self._waiting_bytes + len(payload)
        if self._waiting >= MAX_WAITING or size > MAX_WAITING_BYTES:
            return
        if host not in self._lookups:
            if len(self._lookups) >= MAX_LOOKUPS:
                return
            lookup = self._dialling().names.look_up(host, partial(self._on_resolved, host))
            self._lookups[host] = (lookup, [])
        self._lookups[host][1].append((port, payload))
        self._waiting += 1
        self._waiting_bytes = size

    def _on_resolved(self, host: str, result: LookupResult) -> None:
        _, waiting = self._lookups.pop(host)
        self._waiting -= len(waiting)
        self._waiting_bytes -= sum(len(payload) for _, payload in waiting)
        for port, payload in waiting:
            self._send(result, port, payload)

    def _send(self, addresses: LookupResult, port: int, payload: bytes) -> None:
        """Send to the first address that can be sent to: the one that was sent to before, where a name is answered in another order
        now. What has one guarded address is not reached at another.
        """
        if isinstance(addresses, DialError):
            return
        policy = self._dialling().policy
        hosts = [unmap(packed) for host in addresses if (packed := pack_ip(host)) is not None]
        try:
            if policy.guards_port(port) and any(
                policy.is_guarded(packed, port) for packed in hosts
            ):
                return
        except OSError:
            return  # it cannot be told
        for packed in sorted(filter(policy.permits, hosts), key=self._is_new):
            try:
                self._send_to(packed, port, payload)
            except OSError:
                continue  # no way there, or no room
            self._up += len(payload)
            return

    def _is_new(self, packed: bytes) -> bool:
        return _text_of(packed) not in self._hosts

    def _send_to(self, packed: bytes, port: int, payload: bytes) -> None:
        host = _text_of(packed)
        family = family_of(host)
        sock = self._outside.get(family) or self._open_outside(family)
        sock.sendto(payload, (host, port))
        if host not in self._hosts:
            self._hosts[host] = None
            if len(self._hosts) > MAX_HOSTS:
                del self._hosts[next(iter(self._hosts))]

    def _open_outside(self, family: socket.AddressFamily) -> socket.socket:
        shared = self._dialling()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for option in shared.datagram_options:
                sock.setsockopt(*option)
            callback = partial(self._on_outside, sock)
            self._watches.append(shared.reactor.watch(sock.fileno(), READ, callback))
        except OSError:
            sock.close()
            raise
        self._outside[family] = sock
        return sock

    # down

    def _on_outside(self, sock: socket.socket, events: int) -> None:
        self._relay_down(sock)

    @contained
    def _relay_down(self, sock: socket.socket) -> None:
        for _ in range(DATAGRAMS_A_WAKE):
            received = _receive(sock)
            if received is None:
                return
            payload, sender = received
            if sender[0] not in self._hosts or self._client is None:
                continue
            datagram = self._codec.encode(sender, payload)
            try:
                self._inside.sendto(datagram, self._client)
            except OSError:
                continue  # too large with what is put around it, or no room
            self._down += len(payload)


def _source(client: SocketAddress, named: Address) -> tuple[str, int]:
    """The host that datagrams come from, and the port, 0 where that is not known: a client behind an address translator does not know it."""
    packed = pack_ip(named.host)
    is_known = packed is not None and (not any(packed) or packed == pack_ip(client[0]))
    return client[0], named.port if is_known else 0


def _text_of(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _receive(sock: socket.socket) -> tuple[bytes, SocketAddress] | None:
    """The next datagram, None if there is none for now."""
    try:
        received: tuple[bytes, SocketAddress] = sock.recvfrom(_MAX_DATAGRAM)
    except OSError:
        return None  # nothing there, or the news that an earlier one did not arrive
    return received
