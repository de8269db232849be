"""The settings of the SOCKS plugin, section ``[socks5]``."""

from typing import Annotated

from pydantic import Field, field_validator

from neosocksd_core import Option, Section
from neosocksd_core.addresses import pack_ip
from neosocksd_core.settings import ListenAddresses


class Socks5Settings(Section):
    """SOCKS takes the core's ``listen`` anyway, unless another frontend asks for it; these addresses come beside it."""

    listen: ListenAddresses = Field(
        default=(),
        description="listen for SOCKS clients at these addresses too, whoever serves the core's `listen`",
    )
    bind: Annotated[bool, Option(("--enable-socks5-bind",), flat="socks5_bind")] = Field(
        default=False,
        description="serve BIND of SOCKS5: listen for a connection that a client expects from its peer",
    )
    udp: Annotated[bool, Option(("--enable-socks5-udp",), flat="socks5_udp")] = Field(
        default=False,
        description="serve UDP ASSOCIATE of SOCKS5: relay datagrams of a client",
    )
    announce: str = Field(
        default="",
        description="the IP address that clients and peers are told for BIND and UDP ASSOCIATE, where the server is behind an address"
        " translator and they do not reach it at its own",
    )
    ports: str = Field(
        default="",
        description="ports for BIND and UDP ASSOCIATE, as 40000-40099, for a firewall that lets these through; empty leaves it to the system",
    )

    @field_validator("announce")
    @classmethod
    def _is_ip(cls, value: str) -> str:
        if value and pack_ip(value) is None:
            raise ValueError(f"not an IP address: {value!r}")
        return value

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, value: str) -> str:
        parse_ports(value)
        return value


def parse_ports(text: str) -> range | None:
    """The ports of ``LOW-HIGH``; None for an empty text.

    :raises ValueError: for anything else.
    """
    if not text:
        return None
    low, dash, high = text.partition("-")
    digits = text.isascii() and low.isdecimal() and high.isdecimal()
    if not (dash and digits and 0 < int(low) <= int(high) < 65536):
        raise ValueError(f"not a range of ports: {text!r}, expected LOW-HIGH")
    return range(int(low), int(high) + 1)
