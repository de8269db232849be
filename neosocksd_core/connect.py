"""Opening a TCP connection to one of several addresses: non-blocking, happy eyeballs (RFC 8305), policy judged per address."""

import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence

from neosocksd_core.addresses import Address, SocketAddress, pack_ip
from neosocksd_core.errors import DialError
from neosocksd_core.policy import Policy, unmap
from neosocksd_core.poller import WRITE
from neosocksd_core.reactor import Reactor, Timer
from neosocksd_core.reasons import Reason
from neosocksd_core.settings import Settings

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried beside the ones still pending (RFC 8305 section 5)."""

_TCP_FASTOPEN_CONNECT = 30
_SOCK_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)

_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ENETUNREACH: Reason.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Reason.NETWORK_UNREACHABLE,
    errno.EADDRNOTAVAIL: Reason.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Reason.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Reason.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Reason.TIMED_OUT,
}

SocketOption = tuple[int, int, int | bytes]


def outgoing_options(settings: Settings) -> tuple[SocketOption, ...]:
    """The socket options that the settings ask for on every outgoing connection."""
    return stream_options(settings) + datagram_options(settings)


def proxy_options(settings: Settings) -> tuple[SocketOption, ...]:
    """The options of a connection to a chain's first proxy, where we speak first and Fast Open can save a round trip."""
    options = outgoing_options(settings)
    if settings.tcp_fastopen_connect and sys.platform == "linux":
        options += ((socket.IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1),)
    return options


def datagram_options(settings: Settings) -> tuple[SocketOption, ...]:
    """The socket options that the settings ask for on the sockets that datagrams leave by."""
    device = settings.netdev.encode()
    return ((socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device),) if device else ()


def stream_options(settings: Settings) -> tuple[SocketOption, ...]:
    """The socket options for connections in either direction; those of a listener pass to what it accepts."""
    options: list[SocketOption] = []
    if settings.tcp_nodelay:
        options.append((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    if settings.tcp_keepalive:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    if settings.tcp_sndbuf:
        options.append((socket.SOL_SOCKET, socket.SO_SNDBUF, settings.tcp_sndbuf))
    if settings.tcp_rcvbuf:
        options.append((socket.SOL_SOCKET, socket.SO_RCVBUF, settings.tcp_rcvbuf))
    return tuple(options)


def error_of(code: int, where: str) -> DialError:
    """What an errno of a connection attempt means."""
    return DialError(_REASONS.get(code, Reason.GENERAL_FAILURE), f"{where}: {os.strerror(code)}")


Connection = tuple[socket.socket, SocketAddress]
"""A socket that is connected, and our own address of the connection."""


class _Attempt:
    """A connection to one address that is under way."""

    __slots__ = ("_connector", "host", "sock", "watch")

    def __init__(
        self, connector: "Connector", host: str, sock: socket.socket, reactor: Reactor
    ) -> None:
        self._connector = connector
        self.host = host
        self.sock = sock
        self.watch = reactor.watch(sock.fileno(), WRITE, self._on_writable)

    def close(self) -> None:
        self.watch.close()
        self.sock.close()

    def _on_writable(self, events: int) -> None:
        self.watch.close()
        self._connector.attempted(self)


class Connector:
    """Tries addresses until one connects, and hands it over exactly once.

    A connection attempt that is not done after :data:`ATTEMPT_DELAY` gets company by the next address; the first to stand wins,
    the sockets of the others are closed.
    """

    __slots__ = (
        "_addresses",
        "_attempts",
        "_error",
        "_finish",
        "_guarded",
        "_judged",
        "_options",
        "_policy",
        "_port",
        "_reactor",
        "_timer",
    )

    def __init__(
        self,
        reactor: Reactor,
        options: Sequence[SocketOption],
        policy: Policy,
        judged: bool,
        guarded: bool,
        finish: Callable[[Connection | DialError], None],
    ) -> None:
        """*judged*: the block list of *policy* counts; *guarded*: its guarded addresses count."""
        self._reactor = reactor
        self._options = options
        self._policy = policy
        self._judged = judged
        self._guarded = guarded
        self._finish = finish
        self._port = 0
        self._addresses: list[str] = []
        """Still to be tried, the next one last."""
        self._attempts: list[_Attempt] = []
        self._timer: Timer | None = None
        self._error: DialError | None = None

    def start(self, addresses: Sequence[str], port: int) -> None:
        """Begin; *addresses* are numeric, in the order to try them."""
        self._port = port
        self._addresses = [*reversed(addresses)]
        self._try_next()

    def cancel(self) -> None:
        """Give up: nothing is handed over any more, and nothing stays open."""
        self._addresses = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for attempt in self._attempts:
            attempt.close()
        self._attempts = []

    def attempted(self, attempt: _Attempt) -> None:
        """*attempt* has come to its end, well or not."""
        self._attempts.remove(attempt)
        sock = attempt.sock
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            sock.close()
            self._error = error_of(code, self._name(attempt.host))
        elif self._connected(sock, attempt.host):
            return
        self._try_next()

    def _try_next(self) -> None:
        """Start attempts until one is under way; report the last failure when there is nothing left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._addresses:
            host = self._addresses.pop()
            if self._attempt(host):
                if self._addresses and self._attempts:
                    self._timer = self._reactor.call_later(ATTEMPT_DELAY, self._try_next)
                return
        if not self._attempts:
            self._finish(
                self._error or DialError(Reason.GENERAL_FAILURE, "no address to connect to")
            )

    def _attempt(self, host: str) -> bool:
        """Start one attempt; False where it failed at once."""
        packed = pack_ip(host)
        if packed is None:
            self._error = DialError(Reason.GENERAL_FAILURE, f"not a numeric address: {host}")
            return False
        if self._judged and not self._policy.permits(packed):
            self._error = DialError(Reason.NOT_ALLOWED, f"{self._name(host)} is blocked")
            return False
        if len(packed) == 4:
            family, numeric = socket.AF_INET, host
        elif len(plain := unmap(packed)) == 4:
            family, numeric = socket.AF_INET, socket.inet_ntoa(plain)
        else:
            family, numeric = socket.AF_INET6, host
        try:
            if self._guarded and self._policy.is_guarded(packed, self._port):
                self._addresses.clear()  # what has one guarded address is not reached at another
                self._error = DialError(Reason.NOT_ALLOWED, f"{self._name(host)} is guarded")
                return False
            sock = socket.socket(family, socket.SOCK_STREAM | _SOCK_NONBLOCK)
        except OSError as error:
            self._error = error_of(error.errno or 0, self._name(host))
            return False
        try:
            if not _SOCK_NONBLOCK:
                sock.setblocking(False)
            for option in self._options:
                sock.setsockopt(*option)
            code = sock.connect_ex((numeric, self._port))
            if code == errno.EINPROGRESS:
                self._attempts.append(_Attempt(self, host, sock, self._reactor))
                return True
        except OSError as error:
            code = error.errno or 0
        if code == 0:
            return self._connected(sock, host)
        sock.close()
        self._error = error_of(code, self._name(host))
        return False

    def _connected(self, sock: socket.socket, host: str) -> bool:
        try:
            bound = sock.getsockname()
        except OSError as error:
            sock.close()
            self._error = error_of(error.errno or 0, self._name(host))
            return False
        if bound[1] == self._port and pack_ip(bound[0]) == unmap(pack_ip(host) or b""):
            # A connection to a free ephemeral port of this machine can meet itself (RFC 9293 section 3.5, simultaneous open).
            sock.close()
            self._error = DialError(
                Reason.CONNECTION_REFUSED, f"{self._name(host)}: connected to itself"
            )
            return False
        self.cancel()
        self._finish((sock, bound))
        return True

    def _name(self, host: str) -> str:
        """What an error calls the address."""
        return str(Address(host, self._port))
