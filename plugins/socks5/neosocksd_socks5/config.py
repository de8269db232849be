"""The settings of the SOCKS plugin, section ``[socks5]``."""

from typing import Annotated

from pydantic import Field

from neosocksd_core import Option, Section
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
