"""What is done to sockets in more than one place."""

import socket
import struct
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
