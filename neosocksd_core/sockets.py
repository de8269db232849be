"""What is done to sockets in more than one place."""

import errno
import os
import random
import socket
import struct
from contextlib import suppress

from neosocksd_core.addresses import SocketAddress

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why a connection could not be accepted for want of descriptors or memory: it still waits (accept(2))."""

_RESET = struct.pack("ii", 1, 0)
_TRIES = 256
_MAPPED = "::ffff:"


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def unmapped(address: SocketAddress) -> SocketAddress:
    """The address of an IPv4 peer as such, also where a socket for both families has it as ``::ffff:a.b.c.d``."""
    host = address[0]
    # The dot tells it from the translated addresses of RFC 2765, which begin alike: ``::ffff:0:a.b.c.d`` is written without one.
    if host.startswith(_MAPPED) and "." in host:
        return host.removeprefix(_MAPPED), address[1]
    return address


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


def bind_to_port(sock: socket.socket, local: SocketAddress, ports: range | None) -> None:
    """Bind *sock* to the host of *local*, on one of *ports* that is free, or, where these are None, on one of the system's choice.

    :raises OSError: if none is free. Where there are many, it is enough that so many are not.
    """
    host, _, *rest = local
    if ports is None:
        sock.bind((host, 0, *rest))
        return
    for port in random.sample(ports, min(len(ports), _TRIES)):
        try:
            sock.bind((host, port, *rest))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
