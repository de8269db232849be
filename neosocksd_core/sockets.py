"""What is done to sockets in more than one place."""

import socket
import struct
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)


class ListeningSocket(socket.socket):
    """A listening stream socket whose ``accept`` costs little more than the system call.

    ``accept`` looks at :attr:`family` and :attr:`type`, which the standard library makes anew at each look.
    """

    def __init__(self, family: int, fileno: int | None = None) -> None:
        """A new one, or one that stands already as *fileno*."""
        super().__init__(family, socket.SOCK_STREAM, fileno=fileno)
        self._family = super().family
        self.owns_path = fileno is None
        """Whether the file of a Unix socket goes with it."""

    @property
    def family(self) -> socket.AddressFamily:
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
