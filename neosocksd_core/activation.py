"""Listening sockets that a service manager has opened for us and hands over at the start (sd_listen_fds(3), "socket activation")."""

import os
import socket
from collections.abc import Iterable, MutableMapping

from neosocksd_core.addresses import UNIX_PREFIX, pack_ip, parse_listen_address
from neosocksd_core.errors import ListenError
from neosocksd_core.policy import unmap

_FIRST = 3
"""The number of the first descriptor that is handed over; the others follow it."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def take_sockets(
    environ: MutableMapping[str, str], addresses: Iterable[str]
) -> dict[str, socket.socket]:
    """What was handed over to this process, by the one of *addresses*, as the settings write them, that each socket listens at.

    The variables are removed: they are not meant for our children.

    :raises ListenError: for a socket that listens at none of them, for what is no socket, and for a host that cannot be looked up.
    """
    pid, count, _ = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    left = list(addresses)
    taken: dict[str, socket.socket] = {}
    for descriptor in range(_FIRST, _FIRST + int(count)):
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ListenError(f"cannot take descriptor {descriptor}: {error.strerror}") from None
        address = next((text for text in left if _is_at(sock, text)), None)
        if address is None:
            name = sock.getsockname()
            sock.close()
            raise ListenError(f"cannot take the socket that listens at {name}: no setting names it")
        left.remove(address)
        taken[address] = sock
    return taken


def _is_at(sock: socket.socket, address: str) -> bool:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX or address.startswith(UNIX_PREFIX):
        return bool(f"{UNIX_PREFIX}{name}" == address)
    wanted = parse_listen_address(address)
    if name[1] != wanted.port:
        return False
    here = unmap(pack_ip(name[0]) or b"")
    return not any(here) if not wanted.host else here in _hosts(wanted.host)


def _hosts(host: str) -> list[bytes]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}") from None
    return [unmap(pack_ip(str(sockaddr[0])) or b"") for *_, sockaddr in found]
