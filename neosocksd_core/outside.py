"""The outer side of a relay of datagrams: the sockets that they leave by, the hosts that may answer, and what waits for a name."""

import socket
from collections.abc import Callable, Iterator
from functools import partial

from neosocksd_core.addresses import SocketAddress, pack_ip
from neosocksd_core.containment import contained
from neosocksd_core.dial import Dialling
from neosocksd_core.errors import DialError
from neosocksd_core.policy import unmap
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Watch
from neosocksd_core.resolver import Lookup, LookupResult
from neosocksd_core.sockets import family_of

DATAGRAMS_A_WAKE = 64
MAX_HOSTS = 1024
"""So many hosts that a client has sent to may answer; the one that was first sent to is forgotten first."""
MAX_LOOKUPS = 8
"""So many names are looked up at a time. Datagrams to others are dropped, for the threads that look names up serve all clients."""
MAX_WAITING = 32
"""So many datagrams wait for a name to be looked up; what comes beyond that is dropped."""
MAX_WAITING_BYTES = 65536
"""So many bytes they may have in all."""

_MAX_DATAGRAM = 65535


class Unresolved:
    """Datagrams to names that are being looked up. Calls *send* with the answer, the port and the payload, in the order in which they came."""

    __slots__ = ("_count", "_lookups", "_send", "_size")

    def __init__(self, send: Callable[[tuple[LookupResult, int, bytes]], None]) -> None:
        self._send = send
        self._lookups: dict[str, tuple[Lookup, list[tuple[int, bytes]]]] = {}
        """By name: the look-up, and what waits for it, with its port."""
        self._count = 0
        self._size = 0

    def keep(self, dialling: Dialling, host: str, port: int, payload: bytes) -> None:
        """Keep one until *host* is looked up, if there is room."""
        size = self._size + len(payload)
        if self._count >= MAX_WAITING or size > MAX_WAITING_BYTES:
            return
        if host not in self._lookups:
            if len(self._lookups) >= MAX_LOOKUPS:
                return
            lookup = dialling.names.look_up(host, partial(self._on_resolved, host))
            self._lookups[host] = (lookup, [])
        self._lookups[host][1].append((port, payload))
        self._count += 1
        self._size = size

    def close(self) -> None:
        """Give up the look-ups, and what waits for them."""
        for lookup, _ in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()

    def _on_resolved(self, host: str, result: LookupResult) -> None:
        _, waiting = self._lookups.pop(host)
        self._count -= len(waiting)
        self._size -= sum(len(payload) for _, payload in waiting)
        for port, payload in waiting:
            self._send((result, port, payload))


class Outside:
    """A socket for each address family that is sent to. Calls *receive* with each datagram of a host that was sent to, and its source."""

    __slots__ = (
        "_crash",
        "_dialling",
        "_hosts",
        "_is_closed",
        "_receive",
        "_sockets",
        "_unresolved",
        "_watches",
        "sent",
    )

    def __init__(
        self,
        dialling: Callable[[], Dialling],
        receive: Callable[[tuple[bytes, SocketAddress]], None],
        crash: Callable[[BaseException], None],
    ) -> None:
        """*dialling* gives what is in force: a relay of datagrams outlives reloads. *crash* is told of what has waited for a name and
        is no datagram; what does not wait raises in :meth:`send`.
        """
        self._dialling = dialling
        self._receive = receive
        self._crash = crash
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._watches: list[Watch] = []
        self._hosts: dict[str, None] = {}
        """The hosts that may answer, in the order in which they were first sent to."""
        self._unresolved = Unresolved(self._send_waiting)
        self._is_closed = False
        self.sent = 0
        """Bytes of payload that were sent so far."""

    def send(self, host: str, port: int, payload: bytes) -> None:
        """Send *payload* there, at once or when the name is looked up; what cannot be sent is dropped, and all once this is closed."""
        if self._is_closed:
            return
        dialling = self._dialling()
        known = dialling.names.known(host)
        if known is not None:
            self._send(known, port, payload)
        else:
            self._unresolved.keep(dialling, host, port, payload)

    def crash(self, error: BaseException) -> None:
        """What has waited for a name is no datagram."""
        self._crash(error)

    def close(self) -> None:
        """Close the sockets, and give up what waits."""
        self._is_closed = True
        self._unresolved.close()
        for watch in self._watches:
            watch.close()
        for sock in self._sockets.values():
            sock.close()

    @contained
    def _send_waiting(self, waiting: tuple[LookupResult, int, bytes]) -> None:
        if not self._is_closed:
            self._send(*waiting)

    def _send(self, addresses: LookupResult, port: int, payload: bytes) -> None:
        """Send to the first address that can be sent to: the one that was sent to before, where a name is answered in another order
        now. What has one guarded address is not reached at another.
        """
        if isinstance(addresses, DialError):
            return
        policy = self._dialling().policy
        hosts = [unmap(packed) for host in addresses if (packed := pack_ip(host)) is not None]
        try:
            if policy.guards_port(port) and any(policy.is_guarded(ip, port) for ip in hosts):
                return
        except OSError:
            return  # it cannot be told
        for packed in sorted(filter(policy.permits, hosts), key=self._is_new):
            try:
                self._send_to(_text_of(packed), port, payload)
            except BlockingIOError:
                return
            except OSError:
                continue  # no way there
            self.sent += len(payload)
            return

    def _is_new(self, packed: bytes) -> bool:
        return _text_of(packed) not in self._hosts

    def _send_to(self, host: str, port: int, payload: bytes) -> None:
        family = family_of(host)
        sock = self._sockets.get(family) or self._open(family)
        sock.sendto(payload, (host, port))
        if host not in self._hosts:
            self._hosts[host] = None
            if len(self._hosts) > MAX_HOSTS:
                del self._hosts[next(iter(self._hosts))]

    def _open(self, family: socket.AddressFamily) -> socket.socket:
        dialling = self._dialling()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for option in dialling.datagram_options:
                sock.setsockopt(*option)
            callback = partial(self._on_readable, sock)
            self._watches.append(dialling.reactor.watch(sock.fileno(), READ, callback))
        except OSError:
            sock.close()
            raise
        self._sockets[family] = sock
        return sock

    def _on_readable(self, sock: socket.socket, events: int) -> None:
        for received in receive_datagrams(sock):
            if received[1][0] in self._hosts:
                self._receive(received)


def receive_datagrams(sock: socket.socket) -> Iterator[tuple[bytes, SocketAddress]]:
    """What has come, each datagram with its source, for a bounded while."""
    for _ in range(DATAGRAMS_A_WAKE):
        try:
            received = sock.recvfrom(_MAX_DATAGRAM)
        except OSError:
            return  # nothing there, or the news that an earlier one did not arrive
        yield received


def _text_of(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
