"""SOCKS on the wire: the numbers, the replies and the address forms that frontend and dialers share.

Sources: RFC 1928 (SOCKS5), RFC 1929 (user name and password), and the notes "SOCKS: A protocol for TCP proxy across
firewalls" (SOCKS4) and "SOCKS 4A" by Ying-Da Lee, which have no RFC number.
"""

from enum import IntEnum
from socket import AF_INET, inet_pton

from neosocksd_core.addresses import SocketAddress, pack_ip
from neosocksd_core.reasons import Reason


class Version(IntEnum):
    """VN, VER: the first byte of everything but the sub-negotiation of RFC 1929."""

    SOCKS4 = 4
    SOCKS5 = 5


class Command(IntEnum):
    """CD of SOCKS4, CMD of RFC 1928 section 4."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Method(IntEnum):
    """METHOD of RFC 1928 section 3."""

    NO_AUTHENTICATION_REQUIRED = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    NO_ACCEPTABLE_METHODS = 0xFF


class AuthVersion(IntEnum):
    """VER of RFC 1929 section 2: the version of the sub-negotiation."""

    USERNAME_PASSWORD = 1


class AuthStatus(IntEnum):
    """STATUS of RFC 1929 section 2; any other value than SUCCESS is a failure."""

    SUCCESS = 0
    FAILURE = 1


class Atyp(IntEnum):
    """ATYP of RFC 1928 section 5."""

    IP_V4 = 1
    DOMAINNAME = 3
    IP_V6 = 4


class Rep(IntEnum):
    """REP of RFC 1928 section 6."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    CONNECTION_NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class Cd(IntEnum):
    """CD of a SOCKS4 reply."""

    GRANTED = 90
    REJECTED = 91
    IDENTD_UNREACHABLE = 92
    IDENTD_MISMATCH = 93


USER_ID_LIMIT = 255
"""Longest user id of SOCKS4 in bytes. The protocol sets no limit; this is what fits SOCKS5 too."""

NAME_LIMIT = 255
"""Longest host name of SOCKS4A in bytes, as much as the length byte of SOCKS5 can say."""

SOCKS4_GRANTED = bytes((0, Cd.GRANTED)) + bytes(6)
SOCKS4_REJECTED = bytes((0, Cd.REJECTED)) + bytes(6)

_V4_SUCCESS = bytes((Version.SOCKS5, Rep.SUCCEEDED, 0, Atyp.IP_V4))
_V6_SUCCESS = bytes((Version.SOCKS5, Rep.SUCCEEDED, 0, Atyp.IP_V6))

_REPS = {
    Reason.NOT_ALLOWED: Rep.CONNECTION_NOT_ALLOWED,
    Reason.NETWORK_UNREACHABLE: Rep.NETWORK_UNREACHABLE,
    Reason.HOST_UNREACHABLE: Rep.HOST_UNREACHABLE,
    Reason.NAME_NOT_RESOLVED: Rep.HOST_UNREACHABLE,
    Reason.CONNECTION_REFUSED: Rep.CONNECTION_REFUSED,
    Reason.TIMED_OUT: Rep.TTL_EXPIRED,
    Reason.GENERAL_FAILURE: Rep.GENERAL_FAILURE,
}


def socks5_failure(reply: Rep) -> bytes:
    """A reply of RFC 1928 section 6 that reports a failure; its address is all zeros."""
    return bytes((Version.SOCKS5, reply, 0, Atyp.IP_V4)) + bytes(6)


def socks5_rejection(reason: Reason) -> bytes:
    """The reply for a request that the core did not grant."""
    return socks5_failure(_REPS[reason])


def socks5_success(bound: SocketAddress) -> bytes:
    """The reply of RFC 1928 section 6 that grants a request; *bound* is its BND.ADDR and BND.PORT."""
    host = bound[0]
    port = bound[1].to_bytes(2, "big")
    try:
        return _V4_SUCCESS + inet_pton(AF_INET, host) + port
    except OSError:
        packed = pack_ip(host)
        return _V6_SUCCESS + packed + port if packed else _V4_SUCCESS + bytes(6)
