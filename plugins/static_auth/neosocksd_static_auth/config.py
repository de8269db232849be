"""The settings of the static_auth plugin, section ``[static_auth]``."""

from pydantic import ConfigDict, Field, SecretStr, field_validator

from neosocksd_core import Section


class StaticAuthSettings(Section):
    """Who may use the proxy. With neither users nor a file nobody is judged by this plugin."""

    model_config = ConfigDict(hide_input_in_errors=True)

    users: dict[str, SecretStr] = Field(
        default_factory=dict[str, SecretStr],
        description="password hashes by user name, as `neosocksd hash-password` makes them",
    )
    users_file: str = Field(
        default="",
        description="file with a line NAME:HASH for each user, read again at a reload",
    )

    @field_validator("users")
    @classmethod
    def _are_hashes(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if not value:
            return value
        from neosocksd_static_auth.hashing import parse_hash

        for name, secret in value.items():
            try:
                parse_hash(secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"user {name!r}: {error}") from None
        return value
