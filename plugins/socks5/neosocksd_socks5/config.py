"""The settings of the SOCKS plugin, section ``[socks5]``."""

from pydantic import Field, field_validator

from neosocksd_core import Section
from neosocksd_core.addresses import parse_listen_address


class Socks5Settings(Section):
    """SOCKS takes the core's ``listen`` anyway, unless another frontend asks for it; these addresses come beside it."""

    listen: tuple[str, ...] = Field(
        default=(),
        description="listen for SOCKS clients at these addresses too, whoever serves the core's `listen`",
    )

    @field_validator("listen", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("listen")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_listen_address(text)
        return value
