"""The settings of the SOCKS plugin, section ``[socks5]``."""

from pydantic import Field

from neosocksd_core import Section
from neosocksd_core.settings import ListenAddresses


class Socks5Settings(Section):
    """SOCKS takes the core's ``listen`` anyway, unless another frontend asks for it; these addresses come beside it."""

    listen: ListenAddresses = Field(
        default=(),
        description="listen for SOCKS clients at these addresses too, whoever serves the core's `listen`",
    )
