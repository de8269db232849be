"""The server's side of SOCKS4, SOCKS4A and SOCKS5: one machine a connection, told apart by the first byte.

::

    version ─┬─ 4 ─ request4 ─┬────────── (Authenticate) ───────────────┬─ Connect ─ grant, reject
             │                └─────────────────────────────────────────┤
             └─ 5 ─ greeting ─┬─ password ─ (Authenticate) ─┬─ request5 ─┤
                              └─────────────────────────────┘            ├─ Bind ─ grant ─ grant, reject
                                                                         └─ Associate ─ grant, reject

Each state is a method that looks at the whole of what is buffered; "not enough bytes" is a bare return. What it leaves to others:
sockets, time, policy and the refusal of port 0, which are the core's. BIND and UDP ASSOCIATE are served where they are enabled,
and in SOCKS5 only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop

from neosocksd_core.addresses import Address, AddressError, SocketAddress, decode_host
from neosocksd_core.errors import ProtocolError
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import (
    AddressType,
    Associate,
    Authenticate,
    Bind,
    ClientRequest,
    Connect,
    Credentials,
    HandshakeEvent,
)
from neosocksd_socks5 import protocol
from neosocksd_socks5.datagrams import SocksDatagrams
from neosocksd_socks5.protocol import (
    Atyp,
    AuthStatus,
    AuthVersion,
    Command,
    Method,
    Rep,
    Version,
)

_State = Callable[["SocksHandshake"], HandshakeEvent | None]

# Plain numbers: an attribute of an enumeration costs time that each connection would pay.
_SOCKS4, _SOCKS5 = int(Version.SOCKS4), int(Version.SOCKS5)
_CONNECT, _BIND, _UDP_ASSOCIATE = map(int, Command)
_IP_V4, _DOMAINNAME, _IP_V6 = int(Atyp.IP_V4), int(Atyp.DOMAINNAME), int(Atyp.IP_V6)
_TYPE_V4, _TYPE_V6 = AddressType.IPV4, AddressType.IPV6

_OPEN_METHODS = bytes((Method.NO_AUTHENTICATION_REQUIRED, Method.USERNAME_PASSWORD))
_AUTH_METHODS = bytes((Method.USERNAME_PASSWORD,))
_NO_AUTHENTICATION_REPLY = bytes((Version.SOCKS5, Method.NO_AUTHENTICATION_REQUIRED))
_USERNAME_PASSWORD_REPLY = bytes((Version.SOCKS5, Method.USERNAME_PASSWORD))
_NO_ACCEPTABLE_REPLY = bytes((Version.SOCKS5, Method.NO_ACCEPTABLE_METHODS))
_AUTH_SUCCESS = bytes((AuthVersion.USERNAME_PASSWORD, AuthStatus.SUCCESS))
_AUTH_FAILURE = bytes((AuthVersion.USERNAME_PASSWORD, AuthStatus.FAILURE))
_BAD_NAME_REPLY = protocol.socks5_failure(Rep.HOST_UNREACHABLE)


@dataclass(frozen=True, slots=True)
class Extras:
    """What is served beside CONNECT: whether BIND and UDP ASSOCIATE are, the address that is told for them where it is not that at which
    we listen, and the ports that they may take, None where any.
    """

    bind: bool = False
    udp: bool = False
    announce: str = ""
    ports: range | None = None


NO_EXTRAS = Extras()


class SocksHandshake:
    """One client's negotiation, from its first byte to the reply.

    At most 520 bytes (a SOCKS4A request with user id and name at their limits) wait here for the rest of a message. What a
    feeding holds beyond the request is handed on as trailing data.
    """

    __slots__ = (
        "_announce",
        "_auth_required",
        "_buffer",
        "_credentials",
        "_extras",
        "_output",
        "_request",
        "_state",
    )

    def __init__(self, auth_required: bool = False, extras: Extras = NO_EXTRAS) -> None:
        self._auth_required = auth_required
        self._extras = extras
        self._announce = ""
        """The address that the next grant tells, where it is not the one that was granted."""
        self._buffer = b""
        self._output = b""
        self._credentials: Credentials | None = None
        self._request: ClientRequest | None = None
        self._state: _State = SocksHandshake._state_version

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the client."""
        self._buffer = self._buffer + data if self._buffer else data

    def next_event(self) -> HandshakeEvent | None:
        """The next thing that the client wants, or None while more bytes are needed.

        :raises ProtocolError: the client broke the protocol, or asked for what is not served.
        """
        return self._state(self)

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the client."""
        output = self._output
        self._output = b""
        return output

    def trailing_data(self) -> bytes:
        """Take the bytes that the client sent beyond its request."""
        buffer = self._buffer
        self._buffer = b""
        return buffer

    def judge(self, accepted: bool) -> None:
        """Answer the credentials: STATUS of RFC 1929 section 2; SOCKS4 has only its reply to the request."""
        if not accepted:
            self._end(_AUTH_FAILURE if self._request is None else protocol.SOCKS4_REJECTED)
        elif self._request is None:
            self._output += _AUTH_SUCCESS
            self._state = SocksHandshake._state_request5
        else:
            self._state = SocksHandshake._state_accepted

    def grant(self, bound: SocketAddress) -> None:
        """The upstream stands, or is listened for, or datagrams are taken: queue the success reply. What follows is relayed untouched."""
        if self._request is not None and self._request.protocol.startswith("socks5"):
            if self._announce:
                bound, self._announce = (self._announce, bound[1]), ""
            self._output += protocol.socks5_success(bound)
        else:
            self._output += protocol.SOCKS4_GRANTED

    def reject(self, reason: Reason) -> None:
        """The request failed or was refused: queue the reply. Before there is a request no version has one."""
        if self._request is None:
            self._end(b"")
        elif self._request.protocol.startswith("socks5"):
            self._end(protocol.socks5_rejection(reason))
        else:
            self._end(protocol.SOCKS4_REJECTED)

    def expire(self) -> None:
        """The client was too slow; no version of SOCKS has a reply to half a request."""
        self._end(b"")

    def _state_version(self) -> HandshakeEvent | None:
        if not self._buffer:
            return None
        version = self._buffer[0]
        if version == _SOCKS5:
            self._state = SocksHandshake._state_greeting
            return self._state_greeting()
        if version == _SOCKS4:
            self._state = SocksHandshake._state_request4
            return self._state_request4()
        raise self._error(f"version {version} is not SOCKS")

    def _state_request4(self) -> HandshakeEvent | None:
        """VN, CD, DSTPORT, DSTIP, USERID, NUL; SOCKS4A: DSTIP 0.0.0.x, x not 0, and the name and NUL after it."""
        buffer = self._buffer
        size = len(buffer)
        if size < 2:
            return None
        if buffer[1] != _CONNECT:
            raise self._error(f"command {buffer[1]} is not served", protocol.SOCKS4_REJECTED)
        if size < 8:
            return None
        end = self._find_nul(8, protocol.USER_ID_LIMIT)
        if end < 0:
            return None
        credentials = Credentials(buffer[8:end])
        if buffer[4:7] == b"\0\0\0" and buffer[7]:
            start = end + 1
            end = self._find_nul(start, protocol.NAME_LIMIT)
            if end < 0:
                return None
            host = self._decode_name(buffer[start:end], protocol.SOCKS4_REJECTED)
            address_type, dialect = AddressType.DOMAIN, "socks4a"
        else:
            host = inet_ntop(AF_INET, buffer[4:8])
            address_type, dialect = _TYPE_V4, "socks4"
        target = Address(host, buffer[2] << 8 | buffer[3])
        self._buffer = buffer[end + 1 :]
        self._request = Connect(target, address_type, credentials, dialect, not self._buffer)
        if self._auth_required:
            self._state = SocksHandshake._state_waiting
            return Authenticate(credentials)
        return self._state_accepted()

    def _state_accepted(self) -> HandshakeEvent | None:
        """SOCKS4 only: the user id is good, or nobody asked."""
        self._state = SocksHandshake._state_waiting
        return self._request

    def _state_greeting(self) -> HandshakeEvent | None:
        """VER, NMETHODS, METHODS: RFC 1928 section 3. The first acceptable one in the client's order is taken."""
        buffer = self._buffer
        size = len(buffer)
        if size < 2:
            return None
        end = 2 + buffer[1]
        if size < end:
            return None
        self._buffer = buffer[end:]
        acceptable = _AUTH_METHODS if self._auth_required else _OPEN_METHODS
        for method in buffer[2:end]:
            if method in acceptable:
                break
        else:
            raise self._error("no acceptable authentication method", _NO_ACCEPTABLE_REPLY)
        if method:
            self._output += _USERNAME_PASSWORD_REPLY
            self._state = SocksHandshake._state_password
            return self._state_password()
        self._output += _NO_AUTHENTICATION_REPLY
        self._state = SocksHandshake._state_request5
        return self._state_request5() if self._buffer else None

    def _state_password(self) -> HandshakeEvent | None:
        """VER, ULEN, UNAME, PLEN, PASSWD: RFC 1929 section 2; both lengths are 1 to 255."""
        buffer = self._buffer
        size = len(buffer)
        if not size:
            return None
        if buffer[0] != AuthVersion.USERNAME_PASSWORD:
            raise self._error(f"version {buffer[0]} of the sub-negotiation is not RFC 1929")
        if size < 2:
            return None
        if not buffer[1]:
            raise self._error("empty user name", _AUTH_FAILURE)
        name_end = 2 + buffer[1]
        if size < name_end + 1:
            return None
        if not buffer[name_end]:
            raise self._error("empty password", _AUTH_FAILURE)
        end = name_end + 1 + buffer[name_end]
        if size < end:
            return None
        self._buffer = buffer[end:]
        self._credentials = Credentials(buffer[2:name_end], buffer[name_end + 1 : end])
        self._state = SocksHandshake._state_waiting
        return Authenticate(self._credentials)

    def _state_request5(self) -> HandshakeEvent | None:
        """VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT: RFC 1928 section 4. RSV is not looked at."""
        buffer = self._buffer
        size = len(buffer)
        if not size:
            return None
        if buffer[0] != _SOCKS5:
            raise self._error(f"version {buffer[0]} in a SOCKS5 request")
        if size < 2:
            return None
        command = buffer[1]
        if command != _CONNECT and not self._serves(command):
            raise self._refusal(Rep.COMMAND_NOT_SUPPORTED, f"command {command} is not served")
        if size < 4:
            return None
        atyp = buffer[3]
        if atyp == _IP_V4:
            if size < 10:
                return None
            end = 10
            host = inet_ntop(AF_INET, buffer[4:8])
            address_type = _TYPE_V4
        elif atyp == _DOMAINNAME:
            if size < 5 or size < 5 + buffer[4]:
                return None
            end = 7 + buffer[4]
            # Where datagrams come from no name can tell; some clients send "0" there.
            is_source = command == _UDP_ASSOCIATE
            host = "" if is_source else self._decode_name(buffer[5 : end - 2], _BAD_NAME_REPLY)
            if size < end:
                return None
            address_type = AddressType.DOMAIN
        elif atyp == _IP_V6:
            if size < 22:
                return None
            end = 22
            host = inet_ntop(AF_INET6, buffer[4:20])
            address_type = _TYPE_V6
        else:
            raise self._refusal(
                Rep.ADDRESS_TYPE_NOT_SUPPORTED, f"address type {atyp} does not exist"
            )
        self._buffer = buffer[end:]
        self._state = SocksHandshake._state_waiting
        target = Address(host, buffer[end - 2] << 8 | buffer[end - 1])
        if command == _CONNECT:
            request: ClientRequest = Connect(
                target, address_type, self._credentials, "socks5", not self._buffer
            )
        else:
            request = self._extra_request(command, target)
        self._request = request
        return request

    def _serves(self, command: int) -> bool:
        """Whether a command other than CONNECT is served."""
        extras = self._extras
        return (command == _BIND and extras.bind) or (command == _UDP_ASSOCIATE and extras.udp)

    def _extra_request(self, command: int, target: Address) -> Bind | Associate:
        credentials, ports = self._credentials, self._extras.ports
        self._announce = self._extras.announce
        if command == _BIND:
            return Bind(target, credentials, "socks5-bind", not self._buffer, ports)
        return Associate(target, credentials, "socks5-udp", SocksDatagrams(), ports)

    def _state_waiting(self) -> HandshakeEvent | None:
        """For a verdict on the credentials or on the request."""
        return None

    def _state_closed(self) -> HandshakeEvent | None:
        self._buffer = b""
        return None

    def _find_nul(self, start: int, limit: int) -> int:
        """Where the text from *start* ends, -1 while that is not known; more than *limit* bytes are refused."""
        end = self._buffer.find(0, start, start + limit + 1)
        if end < 0 and len(self._buffer) > start + limit:
            raise self._error(f"text of more than {limit} bytes", protocol.SOCKS4_REJECTED)
        return end

    def _decode_name(self, raw: bytes, reply: bytes) -> str:
        try:
            return decode_host(raw)
        except AddressError as error:
            raise self._error(str(error), reply) from None

    def _refusal(self, reply: Rep, message: str) -> ProtocolError:
        return self._error(message, protocol.socks5_failure(reply))

    def _error(self, message: str, reply: bytes = b"") -> ProtocolError:
        self._end(reply)
        return ProtocolError(message)

    def _end(self, reply: bytes) -> None:
        self._output += reply
        self._buffer = b""
        self._state = SocksHandshake._state_closed
