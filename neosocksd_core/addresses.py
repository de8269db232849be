"""Addresses as people and protocols write them: host and port, proxy URIs, host name syntax.

An :class:`Address` names an end point in text; resolving it is :mod:`neosocksd_core.resolver`'s work, and
judging the result is :mod:`neosocksd_core.policy`'s.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""What ``accept`` and ``getsockname`` give: host and port first, for IPv6 flow label and scope behind them."""

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_DIGITS = re.compile(r"[0-9]{1,5}\Z")

MAX_HOST_LENGTH = 255


class AddressError(ValueError):
    """A text is not an address of the form that was asked for; the message says why.

    A host stands in the message as it came, which may be over the wire: whoever logs it escapes it.
    """


@dataclass(frozen=True, slots=True)
class Address:
    """An end point: a domain name or an IP literal (IPv6 without brackets), and a port from 0 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One proxy of a chain: its scheme, where it is reached, and the credentials it is given."""

    scheme: str
    address: Address
    username: bytes | None = None
    password: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URI, without the credentials, fit for a log."""
        return f"{self.scheme}://{self.address}"


Chain = tuple[Hop, ...]
"""Proxies between us and the target, the one that is dialled first at the front."""


def pack_ip(host: str) -> bytes | None:
    """The 4 or 16 bytes of an IP literal, or None where *host* is a name.

    Only the full dotted and colon forms of RFC 4291 count: ``127.1`` is no literal here, whatever
    ``inet_aton`` makes of it. A scope id (``fe80::1%eth0``) is left out of the result.
    """
    try:
        if ":" in host:
            return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        return socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return None


def check_host(host: str) -> str:
    """Return *host* if it is an IP literal or a syntactically valid host name, else raise.

    Names are LDH labels of RFC 1123 (and ``_``) of at most 63 characters, 255 in all. A name whose last label is a number
    (``127.1``, ``2130706433``, ``0x7f000001``) is refused: some resolvers read it as an IPv4 address.

    :raises AddressError: for anything else.
    """
    if pack_ip(host) is not None:
        scope = host.partition("%")[1:]
        if scope[0] and not _SCOPE.match(scope[1]):
            raise AddressError(f"not a scope id: {host}")
        return host
    if not host or len(host) > MAX_HOST_LENGTH:
        raise AddressError("host name is empty or too long")
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.match(label) for label in labels) or _NUMERIC_LABEL.match(labels[-1]):
        raise AddressError(f"not a host name: {host}")
    return host


def decode_host(raw: bytes) -> str:
    """A host as it came over the wire, checked as by :func:`check_host`.

    :raises AddressError: where it is no host name, holds a byte outside ASCII or a scope id, or is ``localhost.``,
        which no hosts file knows and some resolvers take for this machine.
    """
    host = raw.decode("latin-1")
    if not raw.isascii() or "%" in host or f".{host}".lower().endswith(".localhost."):
        raise AddressError(f"not a host name: {host}")
    return check_host(host)


def parse_port(text: str) -> int:
    """A port number, digits only, 0 to 65535.

    :raises AddressError: for anything else.
    """
    if not _DIGITS.match(text) or int(text) > 65535:
        raise AddressError(f"not a port number: {text!r}")
    return int(text)


def split_host_port(text: str) -> tuple[str, str]:
    """Split ``host:port`` or ``[host]:port`` into its two texts, either of which may be empty.

    :raises AddressError: where there is no port part, or brackets do not match.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise AddressError(f"no port in {text!r}, expected HOST:PORT")
    if host.startswith("["):
        if not host.endswith("]") or "[" in host[1:] or "]" in host[:-1]:
            raise AddressError(f"unmatched bracket in {text!r}")
        return host[1:-1], port
    if ":" in host:
        raise AddressError(f"IPv6 address without brackets in {text!r}, expected [ADDR]:PORT")
    return host, port


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Parse ``host:port``; IPv6 stands in brackets. The host is checked, an empty one refused.

    :raises AddressError: with a message that says what is wrong.
    """
    if default_port is not None and not re.search(r":[0-9]*\Z", text.rpartition("]")[2]):
        text = f"{text}:{default_port}"
    host, port = split_host_port(text)
    return Address(check_host(host), parse_port(port))


def parse_listen_address(text: str) -> Address:
    """Parse where to listen: ``host:port``, ``[ipv6]:port``; an empty host or ``*`` means all addresses of both families.

    :raises AddressError: with a message that says what is wrong.
    """
    host, port = split_host_port(text)
    return Address("" if host in ("", "*") else check_host(host), parse_port(port))


UNIX_PREFIX = "unix:"
"""Before the path of a Unix socket, where one may be listened on."""


def check_listen_address(text: str) -> None:
    """Refuse what is neither ``unix:PATH`` nor an address that :func:`parse_listen_address` takes.

    :raises AddressError: with a message that says what is wrong.
    """
    if not text.startswith(UNIX_PREFIX):
        parse_listen_address(text)
    elif text == UNIX_PREFIX or "\0" in text:  # the system would take what stands before it
        raise AddressError("a Unix socket needs a path")


def parse_hop(uri: str, default_ports: Mapping[str, int]) -> Hop:
    """Parse a proxy URI, ``scheme://[user:pass@]host[:port]``; user and password are percent-decoded.

    *default_ports* holds the known schemes.

    :raises AddressError: for an unknown scheme (the message lists the known ones) or a malformed URI.
    """
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme:
        raise AddressError(f"not a proxy URI: {_masked(uri)!r}, expected SCHEME://HOST:PORT")
    if scheme not in default_ports:
        known = ", ".join(sorted(default_ports)) or "none"
        raise AddressError(f"unknown proxy scheme {scheme!r} (known: {known})")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        raise AddressError(f"not a proxy URI: {_masked(uri)!r}") from None
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AddressError(f"a proxy URI has no path or query: {_masked(uri)!r}")
    userinfo, at, host_port = parts.netloc.rpartition("@")
    address = parse_address(host_port, default_ports[scheme])
    if address.port == 0:
        raise AddressError(f"a proxy has no port 0: {_masked(uri)!r}")
    if not at:
        return Hop(scheme, address)
    username, _, password = userinfo.partition(":")
    return Hop(scheme, address, unquote_to_bytes(username), unquote_to_bytes(password))


def parse_chain(text: str, default_ports: Mapping[str, int]) -> Chain:
    """Parse ``URI[,URI…]``, first proxy first; an empty text is the empty chain.

    :raises AddressError: as :func:`parse_hop`.
    """
    return (
        tuple(parse_hop(uri.strip(), default_ports) for uri in text.split(","))
        if text.strip()
        else ()
    )


def _masked(uri: str) -> str:
    """*uri* without what may be a password."""
    before, at, address = uri.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return f"{scheme if separator else ''}{separator}…@{address}" if at else uri
