"""Blocking connections with deadlines: the client in a test, and the other end at a scripted peer."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.sockets import reset
from neosocksd_core.testing.closing import Closing
from neosocksd_core.testing.deliveries import Delivery, in_one_write

DEADLINE = 10.0
"""Seconds that anything may take before a test fails; far more than it takes when all is well."""

_SHOWN = 200


class Connection(Closing):
    """One end of a TCP connection. Expectations that are not met are AssertionErrors."""

    def __init__(self, sock: socket.socket, deadline: float = DEADLINE) -> None:
        """Take over *sock*; *deadline* is the time in seconds that each operation may take."""
        self.socket = sock
        self._deadline = deadline
        self.socket.settimeout(deadline)
        with suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def local(self) -> SocketAddress:
        """Our address."""
        address: SocketAddress = self.socket.getsockname()
        return address

    @property
    def peer(self) -> SocketAddress:
        """The address of the other end."""
        address: SocketAddress = self.socket.getpeername()
        return address

    def send(
        self,
        data: bytes,
        delivery: Delivery = in_one_write,
        between: Callable[[], object] | None = None,
    ) -> None:
        """Send *data* in the pieces of *delivery*; *between* is called after each but the last.

        A peer that closes in the middle is no failure here: what it has answered is for ``expect`` to see.
        """
        pieces = delivery(data)
        try:
            for number, piece in enumerate(pieces):
                if number and between is not None:
                    between()
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return
        except TimeoutError:
            raise AssertionError("the peer does not read") from None

    def receive(self, size: int) -> bytes:
        """Exactly *size* bytes."""
        received = bytearray()
        while len(received) < size:
            try:
                data = self.socket.recv(min(size - len(received), 1 << 18))
            except TimeoutError:
                raise AssertionError(
                    f"{size} bytes expected, timed out after {_show(received)}"
                ) from None
            except OSError as error:
                raise AssertionError(
                    f"{size} bytes expected, got {_show(received)} and then {error}"
                ) from None
            if not data:
                raise AssertionError(f"{size} bytes expected, got {_show(received)} and the end")
            received += data
        return bytes(received)

    def expect(self, data: bytes) -> None:
        """The next bytes are *data*. What follows them stays for the next call."""
        received = bytearray()
        while len(received) < len(data):
            try:
                piece = self.socket.recv(len(data) - len(received))
            except TimeoutError:
                piece, end = b"", "and then nothing"
            except OSError as error:
                piece, end = b"", f"and then {error}"
            else:
                end = "and the end"
            if not piece:
                raise AssertionError(f"{_show(data)} expected, got {_show(received)} {end}")
            received += piece
            if not data.startswith(received):
                raise AssertionError(f"{_show(data)} expected, got {_show(received)}")

    def expect_eof(self) -> None:
        """The peer has nothing more to say and ends in order."""
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            raise AssertionError("the end expected, nothing came") from None
        except OSError as error:
            raise AssertionError(f"the end expected, got {error}") from None
        if data:
            raise AssertionError(f"the end expected, got {_show(data)}")

    def expect_reset(self) -> None:
        """The peer resets the connection; nothing comes before that."""
        try:
            data = self.socket.recv(4096)
        except ConnectionResetError:
            return
        except TimeoutError:
            raise AssertionError("a reset expected, nothing came") from None
        if data:
            raise AssertionError(f"a reset expected, got {_show(data)}")
        raise AssertionError("a reset expected, got an orderly end")

    def expect_closed(self) -> None:
        """The connection ends without another byte, in order or by a reset."""
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            raise AssertionError("the end expected, nothing came") from None
        except OSError:
            return
        if data:
            raise AssertionError(f"the end expected, got {_show(data)}")

    def receive_all(self) -> bytes:
        """All bytes up to an orderly end."""
        received = bytearray()
        try:
            self._receive_rest(received)
        except OSError as error:
            raise AssertionError(
                f"an orderly end expected, got {_show(received)} and then {error}"
            ) from None
        return bytes(received)

    def receive_until(self, end: bytes) -> bytes:
        """All bytes up to and with the first *end*."""
        received = b""
        while not received.endswith(end):
            received += self.receive(1)
        return received

    def receive_until_closed(self) -> bytes:
        """All bytes up to an end of either kind, orderly or a reset."""
        received = bytearray()
        try:
            self._receive_rest(received)
        except TimeoutError:
            raise AssertionError(f"an end expected, timed out after {_show(received)}") from None
        except OSError:
            pass
        return bytes(received)

    def _receive_rest(self, received: bytearray) -> None:
        end = time.monotonic() + self._deadline
        while data := self.socket.recv(1 << 18):
            received += data
            if time.monotonic() > end:
                raise TimeoutError("there is no end to it")

    def send_what_is_taken(self, data: bytes) -> None:
        """Send *data* to a peer that may close before it has taken all."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def finish(self) -> None:
        """Say that nothing more will be sent (a half-close)."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the peer sees a reset."""
        reset(self.socket)

    def close(self) -> None:
        """Close, in order where everything that came has been read."""
        self.socket.close()


class Client(Connection):
    """A connection that we open."""

    def __init__(
        self,
        address: SocketAddress,
        *,
        deadline: float = DEADLINE,
        source: str = "",
        receive_buffer: int = 0,
    ) -> None:
        """Connect to *address*.

        *source* is our own address, *receive_buffer* the size of the socket's buffer in bytes; empty and 0 leave
        them to the system.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        super().__init__(sock, deadline)


def _show(data: bytes | bytearray) -> str:
    text = repr(bytes(data[:_SHOWN]))
    return text if len(data) <= _SHOWN else f"{text}… ({len(data)} bytes)"
