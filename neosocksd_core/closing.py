"""Closing a socket without losing what was written to it.

``close`` on a socket that still has unread input makes the system send a reset, which can overtake the last reply; a
reset on purpose throws away what was not yet sent. Sockets that need a moment are kept here until they have had it.
"""

import fcntl
import socket
import struct
import sys
import time
from collections.abc import Callable

from neosocksd_core.deadlines import DeadlineQueue
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Reactor
from neosocksd_core.sockets import reset

LINGER_SECONDS = 2.0
"""How long a client may take to read a last reply and close."""
DELIVERY_SECONDS = 1.0
"""How long bytes may take to be delivered before a reset is passed on."""
_DELIVERY_CHECK_SECONDS = 0.01
_MAX_DISCARD = 1 << 20

_SIOCOUTQ = 0x5411
_TCP_CLOSE = 7


class _Lingering:
    """A socket whose peer is given time to read our last reply and close; what it sends meanwhile is discarded."""

    def __init__(
        self, sock: socket.socket, reactor: Reactor, ended: Callable[["_Lingering"], None]
    ) -> None:
        self.sock = sock
        self._ended = ended
        self._discarded = 0
        self._watch = reactor.watch(sock.fileno(), READ, self._discard)

    def close(self) -> None:
        self._watch.close()
        self.sock.close()

    def _discard(self, events: int) -> None:
        try:
            got = len(self.sock.recv(65536))
        except BlockingIOError:
            return
        except OSError:
            got = 0
        self._discarded += got
        if not got or self._discarded > _MAX_DISCARD:
            self._ended(self)


class Closer:
    """Owns sockets on their way out."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._lingering: set[_Lingering] = set()
        self._delivering: dict[socket.socket, float] = {}
        self._deadlines: DeadlineQueue[_Lingering] = DeadlineQueue(
            reactor, LINGER_SECONDS, self._drop
        )

    def linger(self, sock: socket.socket) -> None:
        """Send our end, then discard what the peer sends until it ends too. *sock* is not watched by anybody."""
        try:
            sock.shutdown(socket.SHUT_WR)
            lingering = _Lingering(sock, self._reactor, self._drop)
        except OSError:
            sock.close()
            return
        self._lingering.add(lingering)
        self._deadlines.add(lingering)

    def reset(self, sock: socket.socket) -> None:
        """Reset *sock* once what was written to it has been delivered. It is not watched by anybody."""
        if unsent(sock) == 0:
            reset(sock)
            return
        self._delivering[sock] = time.monotonic() + DELIVERY_SECONDS
        if len(self._delivering) == 1:
            self._reactor.call_later(_DELIVERY_CHECK_SECONDS, self._check_deliveries)

    def close(self) -> None:
        """Close all that is left, at once."""
        for lingering in list(self._lingering):
            self._drop(lingering)
        for sock in self._delivering:
            reset(sock)
        self._delivering.clear()
        self._deadlines.close()

    def _drop(self, lingering: _Lingering) -> None:
        self._deadlines.discard(lingering)
        self._lingering.discard(lingering)
        lingering.close()

    def _check_deliveries(self) -> None:
        now = time.monotonic()
        for sock, deadline in list(self._delivering.items()):
            if now >= deadline or unsent(sock) == 0:
                del self._delivering[sock]
                reset(sock)
        if self._delivering:
            self._reactor.call_later(_DELIVERY_CHECK_SECONDS, self._check_deliveries)


def unsent(sock: socket.socket) -> int:
    """Bytes that were written to *sock* and that its peer has not acknowledged; 0 where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, bytes(4)))
        if count and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            return (
                0  # the peer has reset the connection: nothing of it will be acknowledged any more
            )
    except OSError:
        return 0
    return int(count)
