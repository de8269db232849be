"""The settings of the HTTP plugin, section ``[http_connect]``."""

from typing import Annotated

from pydantic import Field, field_validator

from neosocksd_core import Option, Section
from neosocksd_core.settings import check_listen_addresses

TAKE_OVER = ""
"""In place of an address: the listeners of the core's ``listen``."""


class HttpSettings(Section):
    """Where the HTTP proxy listens."""

    listen: Annotated[
        tuple[str, ...],
        Option(("--http",), flat="http_listen", metavar="ADDR", bare=TAKE_OVER),
    ] = Field(
        default=(),
        description="listen for HTTP clients at ADDR; an empty one, or the flag without one, takes over `listen`",
    )

    @field_validator("listen")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_listen_addresses(tuple(text for text in value if text != TAKE_OVER))
        return value
