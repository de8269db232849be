"""Peers for a server under test: one that a test plays by hand, one that follows a script, an echo, a black hole.

What a peer does is said with :class:`~neosocksd_core.testing.connection.Connection`: ``send``, ``expect``, ``finish``, ``close``,
``reset``; one that stalls simply does nothing, and one that refuses is :func:`closed_address`.
"""

import select
import selectors
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from neosocksd_core.testing.closing import Closing
from neosocksd_core.testing.connection import DEADLINE, Connection

Script = Callable[[Connection], object]
"""What a peer does with one connection; it is closed afterwards, unless the script has done so."""


class Peer(Closing):
    """A listening socket whose connections the test itself takes, and speaks on, in its own thread."""

    def __init__(
        self, host: str = "127.0.0.1", *, port: int = 0, backlog: int = 128, receive_buffer: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.bind((host, port))
        self._socket.listen(backlog)
        self._socket.settimeout(DEADLINE)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        """Where it listens."""

    @property
    def port(self) -> int:
        return self.address[1]

    def accept(self) -> Connection:
        """Take the next connection."""
        try:
            sock, _ = self._socket.accept()
        except TimeoutError:
            raise AssertionError("a connection expected, none came") from None
        return Connection(sock)

    def expect_no_connection(self) -> None:
        """Nobody has connected so far."""
        if select.select([self._socket], [], [], 0)[0]:
            sock, client = self._socket.accept()
            sock.close()
            raise AssertionError(f"no connection expected, one came from {client}")

    def close(self) -> None:
        self._socket.close()


class ScriptedPeer(Peer):
    """A peer that follows a script with each connection, one after the other, in a thread of its own.

    What the script raises is raised again by :meth:`close`.
    """

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._script = script
        self._closing = False
        self._current: Connection | None = None
        self._failure: BaseException | None = None
        self.served = 0
        """How many connections the script has been through."""
        self._thread = threading.Thread(target=self._serve, name="scripted peer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        # A shutdown wakes whoever waits in accept or recv.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        current = self._current
        if current is not None:
            with suppress(OSError):
                current.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        super().close()
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        while not self._closing:
            try:
                connection = self.accept()
            except (OSError, AssertionError):
                continue
            with connection:
                self._current = connection
                try:
                    if not self._closing:
                        self._script(connection)
                        self.served += 1
                except BaseException as error:
                    if not self._closing:
                        self._failure = error
                finally:
                    self._current = None


class EchoServer(Peer):
    """Sends back what it gets, on any number of connections; an end is answered by an end once all is sent."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._socket.setblocking(False)
        self._wake, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._unsent: dict[socket.socket, bytes] = {}
        self._thread = threading.Thread(target=self._serve, name="echo server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waker.close()
        self._thread.join(DEADLINE)
        self._selector.close()
        self._wake.close()
        for sock in self._unsent:
            sock.close()
        super().close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                if sock is self._wake:
                    return
                if sock is self._socket:
                    self._take()
                elif isinstance(sock, socket.socket):
                    self._echo(sock)

    def _take(self) -> None:
        with suppress(OSError):
            sock, _ = self._socket.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._unsent[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)

    def _echo(self, sock: socket.socket) -> None:
        unsent = self._unsent[sock]
        try:
            if not unsent:
                unsent = sock.recv(1 << 18)
                if not unsent:
                    self._drop(sock)
                    return
            with suppress(BlockingIOError):
                unsent = unsent[sock.send(unsent) :]
        except OSError:
            self._drop(sock)
            return
        if bool(unsent) != bool(self._unsent[sock]):
            event = selectors.EVENT_WRITE if unsent else selectors.EVENT_READ
            self._selector.modify(sock, event)
        self._unsent[sock] = unsent

    def _drop(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self._unsent[sock]
        sock.close()


class BlackHole(Peer):
    """An address where connecting hangs: the backlog of the listener is full, and nobody accepts."""

    def __init__(self, host: str = "127.0.0.1", *, port: int = 0) -> None:
        super().__init__(host, port=port, backlog=0)
        self._fillers: list[socket.socket] = []
        for _ in range(4):
            filler = socket.socket(self._socket.family, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._fillers.append(filler)

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        super().close()


@contextmanager
def closed_address(host: str = "127.0.0.1") -> Generator[tuple[str, int]]:
    """An address where every connection is refused; nobody else can take it meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.bind((host, 0))
        address: tuple[str, int] = sock.getsockname()[:2]
        yield address
