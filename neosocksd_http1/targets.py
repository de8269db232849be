"""Request targets that name a server: authority-form and absolute-form (RFC 9112 section 3.2).

Stricter than RFC 3986 where leniency lets two readers find two hosts: no user information, no
percent-encoding in a host, no empty port, no fragment.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from .errors import RemoteProtocolError

HTTP_PORT: Final = 80

_AUTHORITY: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z_.\-]{1,255}))(?::([0-9]{1,5}))?"
)
_SCHEME: Final = re.compile(rb"http://", re.IGNORECASE)
_AUTHORITY_END: Final = re.compile(rb"[^/?#\\]*")


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and a port.

    The host is a name, an IPv4 literal or an IPv6 literal without brackets, as it was sent.
    """

    host: str
    port: int

    def __bytes__(self) -> bytes:
        """Write ``host:port``, an IPv6 literal in brackets: the authority-form of CONNECT."""
        return b"%b:%d" % (self._uri_host(), self.port)

    def host_field(self) -> bytes:
        """Write the value of a ``Host`` field for an ``http`` URI: without the port if it is 80."""
        return self._uri_host() if self.port == HTTP_PORT else bytes(self)

    def _uri_host(self) -> bytes:
        host = self.host.encode("ascii")
        return b"[%b]" % host if b":" in host else host


@dataclass(frozen=True, slots=True)
class AbsoluteTarget:
    """An ``http`` URI taken apart: where to connect, and what to ask there."""

    authority: Authority
    origin: bytes
    """The origin-form, ``/path?query``; ``*`` for OPTIONS on the server as a whole."""


def parse_authority(text: bytes, default_port: int | None = None) -> Authority:
    """Read ``host:port``; the port may be absent if there is a *default_port*.

    :raises RemoteProtocolError: there is no host or no port, a port out of 1 to 65535, or anything
        else.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise RemoteProtocolError("the target is no host and port")
    literal, name, digits = found.groups()
    port = default_port if digits is None else int(digits)
    if port is None or not 0 < port < 65536:
        raise RemoteProtocolError("the target has no port between 1 and 65535")
    if literal is None:
        return Authority(name.decode("ascii"), port)
    host = literal.decode("ascii")
    try:
        IPv6Address(host)
    except AddressValueError:
        raise RemoteProtocolError("the target is no IPv6 address") from None
    return Authority(host, port)


def parse_absolute(target: bytes, method: bytes = b"GET") -> AbsoluteTarget:
    """Read the absolute-form of an ``http`` URI (RFC 9112 section 3.2.2).

    *method* matters for OPTIONS, whose URI without a path means the server as a whole (section
    3.2.4).

    :raises RemoteProtocolError: another form, another scheme, user information, a fragment, or a
        bad host or port.
    """
    scheme = _SCHEME.match(target)
    if scheme is None:
        raise RemoteProtocolError("the target is no absolute http URI")
    if b"#" in target:
        raise RemoteProtocolError("the target has a fragment")
    rest = _AUTHORITY_END.match(target, scheme.end())
    end = rest.end() if rest else scheme.end()
    authority = parse_authority(target[scheme.end() : end], HTTP_PORT)
    path = target[end:]
    if not path:
        return AbsoluteTarget(authority, b"*" if method == b"OPTIONS" else b"/")
    if path.startswith(b"?"):
        return AbsoluteTarget(authority, b"/" + path)
    if path.startswith(b"/"):
        return AbsoluteTarget(authority, path)
    raise RemoteProtocolError("the target's path does not begin with a slash")
