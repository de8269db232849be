"""The settings of the nameserver plugin, section ``[nameserver]``."""

from typing import Annotated

from pydantic import Field, field_validator

from neosocksd_core import Address, AddressError, Option, Section
from neosocksd_core.addresses import pack_ip, parse_address

DEFAULT_PORT = 53


def parse_nameserver(text: str) -> Address:
    """An IP literal with or without a port, an IPv6 one without needs no brackets.

    :raises AddressError: for anything else; a name could not be looked up.
    """
    if pack_ip(text) is not None:
        return Address(text, DEFAULT_PORT)
    address = parse_address(text, DEFAULT_PORT)
    if pack_ip(address.host) is None:
        raise AddressError(f"the name server must be an IP address: {text!r}")
    if not address.port:
        raise AddressError(f"port 0 is no port of a name server: {text!r}")
    return address


class NameserverSettings(Section):
    """Which server is asked. Empty leaves name lookup to the system."""

    address: Annotated[str, Option(("--nameserver",), flat="nameserver", metavar="ADDR")] = Field(
        default="",
        description="ask this DNS server for names, as 192.0.2.53 or [2001:db8::53]:5353",
    )
    timeout: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="longest time in seconds that a lookup takes, all retries together",
    )

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            parse_nameserver(value)
        return value
