"""What may be dialled: block lists by address class, and addresses that no client may reach.

Judged is always a numeric socket address, just before it is dialled, never a name: what is checked is what is connected to.
"""

import enum
import socket
from collections.abc import Iterable

from neosocksd_core.addresses import SocketAddress, pack_ip
from neosocksd_core.settings import Settings


class AddressClass(enum.Enum):
    """What kind of network an address belongs to."""

    UNSPECIFIED = "unspecified"
    LOOPBACK = "loopback"
    MULTICAST = "multicast"
    LOCAL = "local"
    GLOBAL = "global"


_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)
_LOOPBACK6 = bytes(15) + b"\x01"


def unmap(packed: bytes) -> bytes:
    """The IPv4 address that an IPv4-mapped IPv6 address (``::ffff:a.b.c.d``) stands for, else *packed* itself."""
    return packed[12:] if len(packed) == 16 and packed.startswith(_MAPPED) else packed


def classify(packed: bytes) -> AddressClass:
    """The class of an address of 4 or 16 bytes.

    IPv6 addresses that carry an IPv4 one (mapped, compatible, NAT64 of RFC 6052, 6to4 of RFC 3056) have the class of that,
    for that is where a packet may end up.
    """
    if len(packed) == 4:
        return _classify4(packed)
    if packed == _LOOPBACK6:
        return AddressClass.LOOPBACK
    if packed.startswith((_MAPPED, _NAT64)) or not any(packed[:12]):
        return _classify4(packed[12:])
    first = packed[0] << 8 | packed[1]
    if first == 0x2002:
        return _classify4(packed[2:6])
    if first >= 0xFF00:
        return AddressClass.MULTICAST
    if 0xFC00 <= first < 0xFE00 or 0xFE80 <= first < 0xFF00:
        return AddressClass.LOCAL
    return AddressClass.GLOBAL


def _classify4(packed: bytes) -> AddressClass:
    a, b = packed[0], packed[1]
    if a == 0:
        return AddressClass.UNSPECIFIED
    if a == 127:
        return AddressClass.LOOPBACK
    if 224 <= a < 240:
        return AddressClass.MULTICAST
    if (
        a == 10
        or (a == 172 and 16 <= b < 32)
        or (a == 192 and b == 168)
        or (a == 169 and b == 254)
        or packed.startswith(b"\xc0\x00\x00")
    ):
        return AddressClass.LOCAL
    return AddressClass.GLOBAL


class Policy:
    """The block list of the settings, and the guarded addresses of one server.

    An address is guarded together with its port. Where a guarded listener is bound to all addresses, every address
    of this machine reaches it.
    """

    def __init__(self, settings: Settings, guarded: Iterable[SocketAddress] = ()) -> None:
        blocked = [AddressClass.UNSPECIFIED]
        if settings.block_loopback:
            blocked.append(AddressClass.LOOPBACK)
        if settings.block_multicast:
            blocked.append(AddressClass.MULTICAST)
        if settings.block_local:
            blocked.append(AddressClass.LOCAL)
        if settings.block_global:
            blocked.append(AddressClass.GLOBAL)
        # A tuple, where the members of an enumeration are found by identity: hashing one costs a call.
        self._blocked = tuple(blocked)
        self._guarded: dict[int, set[bytes]] = {}
        for host, port, *_ in guarded:
            packed = pack_ip(host)
            if packed is not None:
                self._guarded.setdefault(port, set()).add(unmap(packed))

    def permits(self, packed: bytes) -> bool:
        """Whether the block list lets this address pass."""
        return classify(packed) not in self._blocked

    def guards_port(self, port: int) -> bool:
        """Whether any guarded address has this port."""
        return port in self._guarded

    def is_guarded(self, packed: bytes, port: int) -> bool:
        """Whether a client must not reach this address and port through the proxy.

        :raises OSError: when descriptors have run out, so that it cannot be told.
        """
        listeners = self._guarded.get(port)
        if listeners is None:
            return False
        packed = unmap(packed)
        if packed in listeners:
            return True
        wildcard = any(not any(listener) for listener in listeners)
        return (wildcard and _is_ours(packed)) or (not any(packed) and bool(listeners))


def _is_ours(packed: bytes) -> bool:
    """Whether an address is one of this machine's: then a socket can be bound to it."""
    if classify(packed) in (AddressClass.LOOPBACK, AddressClass.UNSPECIFIED):
        return True
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((socket.inet_ntop(family, packed), 0))
        except OSError:
            return False
    return True
