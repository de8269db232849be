"""The settings of the REST API, section ``[rest_api]``."""

import re
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, field_validator

from neosocksd_core import Option, Section
from neosocksd_core.addresses import check_listen_address

_NAME = re.compile(r"[!-9;-~]+")


class RestApiSettings(Section):
    """Where the API listens and who may use it. Without an address there is none."""

    model_config = ConfigDict(hide_input_in_errors=True)

    listen: Annotated[tuple[str, ...], Option(("--api",), flat="restapi", metavar="ADDR")] = Field(
        default=(),
        description="serve the REST API at ADDR, as 127.0.0.1:9080 or unix:PATH;"
        " an address that others can reach needs a token",
    )
    token: Annotated[SecretStr, Option(("--api-token",), flat="api_token", metavar="TOKEN")] = (
        Field(
            default=SecretStr(""),
            description="callers of the API must send this token, as `Authorization: Bearer TOKEN`",
        )
    )
    token_file: Annotated[
        str, Option(("--api-token-file",), flat="api_token_file", metavar="FILE")
    ] = Field(
        default="",
        description="file whose first line is the token, read again at a reload",
    )
    hosts: Annotated[tuple[str, ...], Option(("--api-host",), flat="api_hosts", metavar="NAME")] = (
        Field(
            default=(),
            description="further names that the API may be asked for by, beside localhost and IP addresses",
        )
    )
    via_proxy: Annotated[bool, Option(("--api-via-proxy",), flat="api_via_proxy")] = Field(
        default=False,
        description="let clients reach the API through the proxy; needs a token",
    )
    body_limit: int = Field(
        default=4 << 20,
        ge=1024,
        le=1 << 30,
        description="largest body of a request in bytes, as it comes",
    )
    inflated_limit: int = Field(
        default=16 << 20,
        ge=1024,
        le=1 << 30,
        description="largest body of a request in bytes once it is decompressed",
    )
    idle_timeout: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="seconds that a connection may wait for its next request, or not take what it is sent",
    )
    request_timeout: float = Field(
        default=30.0,
        gt=0,
        le=86400,
        description="seconds that a request may take to come in whole",
    )
    max_connections: int = Field(
        default=64,
        ge=1,
        le=65536,
        description="most connections at once, further ones are closed",
    )

    @field_validator("hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError("a name as clients send it: ASCII, and without a port")
        return value

    @field_validator("listen")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            check_listen_address(text)
        return value
