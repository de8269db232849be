"""Listeners: sockets bound before any event loop runs, and the loop that accepts from them.

Accepting survives everything: a connection that vanished again is passed over, and where descriptors or memory have run
out, accepting pauses and the connections that stand go on. It pauses before that, too, so that who was let in can be served.
"""

import errno
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from neosocksd_core.addresses import Address, SocketAddress
from neosocksd_core.connect import SocketOption, stream_options
from neosocksd_core.errors import ListenError
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Reactor, Timer
from neosocksd_core.settings import Settings
from neosocksd_core.sockets import EXHAUSTED, ListeningSocket, unmapped

BACKLOG = 4096
ACCEPTS_A_WAKE = 64
PAUSE_SECONDS = 0.1
"""How long accepting rests when a resource has run out."""
LOG_SECONDS = 1.0
"""How often that is logged at most."""
FASTOPEN_QUEUE = 256

PROBE_SECONDS = 120
PROBE_INTERVAL = 30
PROBES = 4
"""A client that has been silent for so many seconds is probed, and when so many probes at this interval stay without an answer it is
gone. One that has left in order, over a target that says nothing, is found out by the first probe: its system knows nothing of it then.
"""

_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
"""Of Linux; the standard library has no names for them."""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

OnAccept = Callable[[socket.socket, SocketAddress], None]


def bind(address: Address, settings: Settings, transparent: bool = False) -> list[socket.socket]:
    """Open listening sockets at *address*: one, or two where an empty host means all addresses of both families.

    *transparent* ones take connections to other addresses, too, that the system diverts to them.

    :raises ListenError: one line that names the address and the cause; nothing is left open.
    """
    if not address.host:
        first = _bind_one("0.0.0.0", address.port, settings, transparent, v6only=True)
        port = first.getsockname()[1]
        try:
            return [first, _bind_one("::", port, settings, transparent, v6only=True)]
        except ListenError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_IPV6:
                return [first]
            first.close()
            raise
    return [_bind_one(address.host, address.port, settings, transparent, v6only=False)]


def bind_unix(path: str) -> socket.socket:
    """Open a listening Unix socket that its owner alone may use. A socket file that nobody serves any more is replaced.

    :raises ListenError: one line that names the path and the cause.
    """
    sock = ListeningSocket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        sock.bind(path)
        # Nobody can connect before listen(), so there is no moment at which others may.
        Path(path).chmod(0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from error
    return sock


def _remove_stale(path: str) -> None:
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink()


def _probe_options(settings: Settings) -> Iterator[SocketOption]:
    """How soon a client that is silent is probed, where it is at all: the system waits two hours."""
    if settings.tcp_keepalive and sys.platform == "linux":
        yield socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_SECONDS
        yield socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_INTERVAL
        yield socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES


def set_transparent(sock: socket.socket, value: bool) -> None:
    """Have a listening socket take what the system diverts to it, or no longer (IP_TRANSPARENT of ip(7)).

    What is so already is left as it is, and needs no permission.

    :raises OSError: where the system has no such thing, or this process may not have it.
    """
    if sys.platform == "linux" and sock.family != socket.AF_UNIX:
        is_v6 = sock.family == socket.AF_INET6
        level, option = (
            (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
            if is_v6
            else (socket.IPPROTO_IP, _IP_TRANSPARENT)
        )
        is_transparent = False
        with suppress(OSError):  # a kernel that is none of Linux's own may not know it
            is_transparent = bool(sock.getsockopt(level, option))
        if value == is_transparent:
            return
        try:
            sock.setsockopt(level, option, value)
        except PermissionError as error:
            raise OSError(error.errno, "transparent takes the capability CAP_NET_ADMIN") from None
    elif value:
        raise OSError(errno.ENOTSUP, "transparent is there on Linux only")


def _bind_one(
    host: str, port: int, settings: Settings, transparent: bool, v6only: bool
) -> socket.socket:
    where = Address(host, port)
    sock = None
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, _, _, _, sockaddr = found[0]
        sock = ListeningSocket(family)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        for option in (*stream_options(settings), *_probe_options(settings)):
            sock.setsockopt(*option)
        if transparent:
            set_transparent(sock, True)
        sock.bind(sockaddr)
        if settings.tcp_fastopen and hasattr(socket, "TCP_FASTOPEN"):
            # Not having Fast Open is no reason not to listen.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, FASTOPEN_QUEUE)
        sock.listen(BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        cause = error.strerror or str(error)
        raise ListenError(f"cannot listen on {where}: {cause}") from error
    return sock


class Listener:
    """Accepts from one socket until it is stopped."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_accept: OnAccept,
        log: logging.Logger,
        needed: Callable[[], int] = lambda: 0,
    ) -> None:
        """*needed*: how many descriptors those that were accepted will yet want."""
        self._reactor = reactor
        self._needed = needed
        self._socket = sock
        self._is_v6 = sock.family == socket.AF_INET6
        self.on_accept = on_accept
        """Gets each accepted connection; may be replaced at any time."""
        self._log = log
        self._pause: Timer | None = None
        self._quiet_until = 0.0
        self._watch = reactor.watch(sock.fileno(), READ, self._on_readable)

    def stop(self) -> None:
        """Accept no more. The socket stays open: it is its owner's."""
        if self._pause is not None:
            self._pause.cancel()
        self._watch.close()

    def _on_readable(self, events: int) -> None:
        accept, on_accept = self._socket.accept, self.on_accept
        limit = _max_descriptors()
        many = limit // 2
        for _ in range(ACCEPTS_A_WAKE):
            try:
                sock, client = accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._rest(os.strerror(error.errno or 0))
                    return
                # The connection was gone before it was taken, or a firewall refused it (accept(2)): on to the next.
                self._log.debug("accept: %s", os.strerror(error.errno or 0))
                continue
            sock.setblocking(False)
            if self._is_v6:
                client = unmapped(client)
            descriptor = sock.fileno()
            on_accept(sock, client)
            # Numbers are given out from the lowest, so this one tells how many are in use.
            if descriptor > many and descriptor + self._needed() >= limit:
                self._rest("few descriptors are left")
                return

    def _rest(self, why: str) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            self._log.error("cannot accept, clients have to wait: %s", why)
        self._watch.want(0)
        self._pause = self._reactor.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._watch.want(READ)


def _max_descriptors() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
