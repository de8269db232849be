"""The settings of the plugin: section ``[veil]``, flags ``--veil-…``, variables ``NEOSOCKSD_VEIL_…``."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from neosocksd_core import Section
from neosocksd_core.settings import ListenAddresses


class VeilSettings(Section):
    """Where to listen for the other side, and the key that both sides share."""

    key: SecretStr = Field(SecretStr(""), description="any text, the same on both sides")
    listen: ListenAddresses = Field((), description="listen for veil:// clients at these addresses")

    @model_validator(mode="after")
    def _listeners_need_a_key(self) -> Self:
        if self.listen and not self.key.get_secret_value():
            raise ValueError("listen needs a key")
        return self

    @property
    def secret(self) -> bytes:
        return self.key.get_secret_value().encode()
