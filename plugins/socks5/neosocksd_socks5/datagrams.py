"""UDP datagrams between a client and us: the header of RFC 1928 section 7."""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from neosocksd_core.addresses import Address, AddressError, SocketAddress, decode_host
from neosocksd_socks5.protocol import Atyp

_IP_V4, _DOMAINNAME, _IP_V6 = int(Atyp.IP_V4), int(Atyp.DOMAINNAME), int(Atyp.IP_V6)

_RSV_FRAG = bytes(3)
"""Reserved, and the number of a fragment: none, since fragments are not reassembled."""

_V4_HEADER = _RSV_FRAG + bytes((Atyp.IP_V4,))
_V6_HEADER = _RSV_FRAG + bytes((Atyp.IP_V6,))


class SocksDatagrams:
    """RSV, FRAG, ATYP, DST.ADDR, DST.PORT, DATA. It keeps nothing from one datagram to the next."""

    __slots__ = ()

    def decode(self, datagram: bytes) -> tuple[Address, bytes] | None:
        """Where it is to go, and DATA; None for a fragment, and for what is malformed."""
        if len(datagram) < 5 or datagram[:3] != _RSV_FRAG:
            return None
        atyp = datagram[3]
        if atyp == _IP_V4:
            end = 8
        elif atyp == _IP_V6:
            end = 20
        elif atyp == _DOMAINNAME:
            end = 5 + datagram[4]
        else:
            return None
        if len(datagram) < end + 2:
            return None
        if atyp == _IP_V4:
            host = inet_ntop(AF_INET, datagram[4:8])
        elif atyp == _IP_V6:
            host = inet_ntop(AF_INET6, datagram[4:20])
        else:
            try:
                host = decode_host(datagram[5:end])
            except AddressError:
                return None
        return Address(host, datagram[end] << 8 | datagram[end + 1]), datagram[end + 2 :]

    def encode(self, source: SocketAddress, payload: bytes) -> bytes:
        """The same header with the address from which *payload* came."""
        port = source[1].to_bytes(2, "big")
        if ":" in source[0]:
            return _V6_HEADER + inet_pton(AF_INET6, source[0]) + port + payload
        return _V4_HEADER + inet_pton(AF_INET, source[0]) + port + payload
