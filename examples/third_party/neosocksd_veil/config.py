"""The settings of the plugin: section ``[veil]``, flags ``--veil-…``, variables ``NEOSOCKSD_VEIL_…``."""

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from neosocksd_core import Section
from neosocksd_core.addresses import parse_listen_address


class VeilSettings(Section):
    """Where to listen for the other side, and the key that both sides share."""

    key: SecretStr = Field(SecretStr(""), description="any text, the same on both sides")
    listen: tuple[str, ...] = Field((), description="listen for veil:// clients at these addresses")

    @field_validator("listen")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_listen_address(text)
        return value

    @model_validator(mode="after")
    def _listeners_need_a_key(self) -> Self:
        if self.listen and not self.key.get_secret_value():
            raise ValueError("listen needs a key")
        return self

    @property
    def secret(self) -> bytes:
        return self.key.get_secret_value().encode()
