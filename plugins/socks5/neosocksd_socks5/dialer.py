"""The client's side: how to ask a SOCKS4, SOCKS4A or SOCKS5 proxy for a connection onwards.

The machines are strict: a reply that no version of the protocol allows ends the attempt at its first wrong byte, so that
what waits for the rest of a message stays below 262 bytes. Bytes behind the last reply belong to the tunnel and are kept.

A refusal is passed on to our own client by its reason: SOCKS5 reply 2 as "not allowed", SOCKS5 reply 5 and SOCKS4's
0x5B as "connection refused", everything else as "general failure". Which hop it was is
for the dial to say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from neosocksd_core.addresses import Address, Hop, pack_ip
from neosocksd_core.errors import DialError
from neosocksd_core.reasons import Reason
from neosocksd_socks5.protocol import (
    NAME_LIMIT,
    Atyp,
    AuthStatus,
    AuthVersion,
    Cd,
    Command,
    Method,
    Rep,
    Version,
)


@dataclass(frozen=True, slots=True)
class Socks4aDialer:
    """``socks4a://[user@]host[:port]``. The user is the user id; a password cannot be said and is left out."""

    default_port: int = 1080

    def handshake(self, hop: Hop, target: Address) -> "Socks4aClient":
        """A new machine.

        :raises DialError: user id or target cannot be said in SOCKS4A (a NUL in it, not ASCII).
        """
        return Socks4aClient(hop, target)


@dataclass(frozen=True, slots=True)
class Socks5Dialer:
    """``socks5://[user:pass@]host[:port]``. With a user RFC 1929 is offered beside "no authentication"."""

    default_port: int = 1080

    def handshake(self, hop: Hop, target: Address) -> "Socks5Client":
        """A new machine.

        :raises DialError: user, password or target cannot be said in SOCKS5 (over 255 bytes, not ASCII).
        """
        return Socks5Client(hop, target)


class _Client:
    """What both machines have in common."""

    __slots__ = ("_buffer", "_done", "_output")

    def __init__(self) -> None:
        self._buffer = b""
        self._output = b""
        self._done = False

    @property
    def done(self) -> bool:
        """True once the tunnel to the target stands."""
        return self._done

    @property
    def filter(self) -> None:
        """None: a SOCKS tunnel passes bytes untouched."""
        return None

    def data_to_send(self) -> bytes:
        """Take the bytes queued for the hop."""
        output, self._output = self._output, b""
        return output

    def trailing_data(self) -> bytes:
        """Take the bytes that followed the hop's last message; they belong to the tunnel."""
        if not self._done:
            return b""
        buffer, self._buffer = self._buffer, b""
        return buffer

    def _fail(self, message: str, reason: Reason = Reason.GENERAL_FAILURE) -> NoReturn:
        self._buffer = b""
        raise DialError(reason, message)


class Socks4aClient(_Client):
    """One negotiation by SOCKS4 (where the target is an IPv4 literal) or SOCKS4A (everything else, as text)."""

    __slots__ = ()

    def __init__(self, hop: Hop, target: Address) -> None:
        super().__init__()
        ip = pack_ip(target.host)
        if ip is not None and len(ip) == 4:
            texts = [hop.username or b""]
        else:
            ip = bytes((0, 0, 0, 1))
            texts = [hop.username or b"", _encode_host(target)]
        if any(b"\0" in text for text in texts):
            self._fail("NUL in user id or target")
        self._output = (
            bytes((Version.SOCKS4, Command.CONNECT))
            + target.port.to_bytes(2, "big")
            + ip
            + b"".join(text + b"\0" for text in texts)
        )

    def receive_data(self, data: bytes) -> None:
        """VN (0 in a reply), CD, DSTPORT, DSTIP.

        :raises DialError: the hop refused or broke its protocol.
        """
        self._buffer += data
        if self._done or not self._buffer:
            return
        if self._buffer[0] != 0:
            self._fail(f"version {self._buffer[0]} in a SOCKS4 reply")
        if len(self._buffer) < 2:
            return
        code = self._buffer[1]
        if code == Cd.REJECTED:
            self._fail("request rejected", Reason.CONNECTION_REFUSED)
        if code != Cd.GRANTED:
            self._fail(f"reply {code} of SOCKS4")
        if len(self._buffer) >= 8:
            self._buffer = self._buffer[8:]
            self._done = True


_State = Callable[["Socks5Client"], bool]
"""A state: takes its message off the buffer and answers True, or False while the message is not complete."""


class Socks5Client(_Client):
    """One negotiation by SOCKS5: RFC 1928, with a user name RFC 1929."""

    __slots__ = ("_credentials", "_methods", "_request", "_state")

    def __init__(self, hop: Hop, target: Address) -> None:
        super().__init__()
        self._request = (
            bytes((Version.SOCKS5, Command.CONNECT, 0))
            + _encode_target(target)
            + target.port.to_bytes(2, "big")
        )
        if hop.username is None:
            self._credentials = b""
            self._methods = bytes((Method.NO_AUTHENTICATION_REQUIRED,))
        else:
            if max(len(hop.username), len(hop.password or b"")) > 255:
                self._fail("user name or password of more than 255 bytes")
            self._credentials = (
                bytes((AuthVersion.USERNAME_PASSWORD,))
                + _prefixed(hop.username)
                + _prefixed(hop.password or b"")
            )
            self._methods = bytes((Method.NO_AUTHENTICATION_REQUIRED, Method.USERNAME_PASSWORD))
        self._output = bytes((Version.SOCKS5,)) + _prefixed(self._methods)
        self._state: _State = Socks5Client._state_method

    def receive_data(self, data: bytes) -> None:
        """Feed bytes from the hop.

        :raises DialError: the hop refused or broke its protocol.
        """
        self._buffer += data
        while not self._done and self._buffer and self._state(self):
            pass

    def _state_method(self) -> bool:
        """VER, METHOD: RFC 1928 section 3."""
        self._check_version()
        if len(self._buffer) < 2:
            return False
        method = self._buffer[1]
        if method == Method.NO_ACCEPTABLE_METHODS:
            self._fail("no acceptable authentication method")
        if method not in self._methods:
            self._fail(f"chose method {method}, which was not offered")
        self._buffer = self._buffer[2:]
        if method == Method.USERNAME_PASSWORD:
            self._output += self._credentials
            self._state = Socks5Client._state_status
        else:
            self._output += self._request
            self._state = Socks5Client._state_reply
        return True

    def _state_status(self) -> bool:
        """VER, STATUS: RFC 1929 section 2."""
        if self._buffer[0] != AuthVersion.USERNAME_PASSWORD:
            self._fail(f"version {self._buffer[0]} in a reply to credentials")
        if len(self._buffer) < 2:
            return False
        if self._buffer[1] != AuthStatus.SUCCESS:
            self._fail("user name or password refused")
        self._buffer = self._buffer[2:]
        self._output += self._request
        self._state = Socks5Client._state_reply
        return True

    def _state_reply(self) -> bool:
        """VER, REP, RSV, ATYP, BND.ADDR, BND.PORT: RFC 1928 section 6. Of the bound address only the length matters."""
        self._check_version()
        size = len(self._buffer)
        if size < 2:
            return False
        reply = self._buffer[1]
        if reply != Rep.SUCCEEDED:
            self._fail(_describe(reply), _REASONS.get(reply, Reason.GENERAL_FAILURE))
        if size < 4:
            return False
        atyp = self._buffer[3]
        if atyp == Atyp.DOMAINNAME:
            if size < 5:
                return False
            if not self._buffer[4]:
                self._fail("empty name in a reply")
            end = 7 + self._buffer[4]
        elif atyp in _ADDRESS_SIZES:
            end = 6 + _ADDRESS_SIZES[atyp]
        else:
            self._fail(f"address type {atyp} in a reply")
        if size < end:
            return False
        self._buffer = self._buffer[end:]
        self._done = True
        return True

    def _check_version(self) -> None:
        if self._buffer[0] != Version.SOCKS5:
            self._fail(f"version {self._buffer[0]} in a SOCKS5 reply")


_REASONS: dict[int, Reason] = {
    Rep.CONNECTION_NOT_ALLOWED: Reason.NOT_ALLOWED,
    Rep.CONNECTION_REFUSED: Reason.CONNECTION_REFUSED,
}
_ADDRESS_SIZES: dict[int, int] = {Atyp.IP_V4: 4, Atyp.IP_V6: 16}


def _describe(reply: int) -> str:
    try:
        return f"reply {reply}, {Rep(reply).name.lower().replace('_', ' ')}"
    except ValueError:
        return f"reply {reply}, which does not exist"


def _prefixed(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _encode_target(target: Address) -> bytes:
    """ATYP and DST.ADDR: RFC 1928 section 5."""
    ip = pack_ip(target.host)
    if ip is None:
        return bytes((Atyp.DOMAINNAME,)) + _prefixed(_encode_host(target))
    return bytes((Atyp.IP_V4 if len(ip) == 4 else Atyp.IP_V6,)) + ip


def _encode_host(target: Address) -> bytes:
    if target.host and target.host.isascii() and len(target.host) <= NAME_LIMIT:
        return target.host.encode("ascii")
    raise DialError(Reason.GENERAL_FAILURE, f"cannot ask for the host {target.host}")
