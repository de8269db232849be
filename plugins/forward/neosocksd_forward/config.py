"""The settings of the forward plugin, section ``[forward]``."""

from typing import Annotated

from pydantic import Field, field_validator

from neosocksd_core import Option, Section
from neosocksd_core.addresses import parse_address

ROUTED = ":"
"""The address that leaves the target to the router."""


class ForwardSettings(Section):
    """Where to. Empty means that nothing is forwarded."""

    address: Annotated[str, Option(("-f", "--forward"), flat="forward", metavar="ADDR")] = Field(
        default="",
        description="forward plain TCP to this address instead of serving SOCKS;"
        " `:` leaves the target to the router",
    )

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value not in ("", ROUTED) and parse_address(value).port == 0:
            raise ValueError("there is no port 0 to forward to")
        return value
