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

from neosocksd_core.addresses import Address, SocketAddress, pack_ip
from neosocksd_core.containment import contained
from neosocksd_core.dial import Dialling
from neosocksd_core.outside import Outside, receive_datagrams
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Watch
from neosocksd_core.requests import Associate
from neosocksd_core.sockets import bind_to_port, family_of, reset

_CONTROL_SIZE = 4096


def open_inside(local: SocketAddress, ports: range | None) -> socket.socket:
    """The socket that takes the datagrams of a client which has reached us at *local*, on one of *ports*, where there are some.

    :raises OSError: if there is none.
    """
    sock = socket.socket(family_of(local[0]), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        bind_to_port(sock, local, ports)
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
        "_down",
        "_finish",
        "_inside",
        "_inside_watch",
        "_outside",
        "_report",
        "_source",
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
        self._control = control
        self._inside = inside
        self._outside = Outside(dialling, self._relay_down, self.crash)
        self._codec = associate.codec
        self._source = _source(client, associate.source)
        self._client: SocketAddress | None = None
        """Where the client sends from, once it has."""
        self._down = 0
        self._finish: Callable[[bool], None] | None = finish
        self._report = report
        self._inside_watch = dialling().reactor.watch(inside.fileno(), READ, self._relay_up)
        self._control_watch = watch
        watch.callback = self._on_control
        watch.want(READ)

    def counts(self) -> tuple[int, int]:
        """Bytes of payload relayed so far, up and down."""
        return self._outside.sent, self._down

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
        self._inside_watch.close()
        self._inside.close()
        self._outside.close()
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

    @contained
    def _relay_up(self, events: int) -> None:
        for datagram, sender in receive_datagrams(self._inside):
            decoded = self._codec.decode(datagram) if self._is_client(sender) else None
            if decoded is not None:
                target, payload = decoded
                if target.port:
                    self._outside.send(target.host, target.port, payload)

    def _is_client(self, sender: SocketAddress) -> bool:
        """Its datagrams come from the host of its connection, and all from one port: the one that it has named, or that of the first."""
        if self._client is None:
            host, port = self._source
            if sender[0] != host or port not in (0, sender[1]):
                return False
            self._client = sender
        return sender == self._client

    @contained
    def _relay_down(self, received: tuple[bytes, SocketAddress]) -> None:
        payload, source = received
        assert self._client is not None  # hosts answer what it has sent
        datagram = self._codec.encode(source, payload)
        try:
            self._inside.sendto(datagram, self._client)
        except OSError:
            return  # too large with what is put around it, or no room
        self._down += len(payload)


def _source(client: SocketAddress, named: Address) -> tuple[str, int]:
    """The host that datagrams come from, and the port, 0 where that is not known. A client behind an address translator does not know
    it, and one that leaves the host unspecified may be behind one.
    """
    packed = pack_ip(named.host)
    is_known = packed is not None and packed == pack_ip(client[0])
    return client[0], named.port if is_known else 0
