"""The HTTP proxy: a frontend for CONNECT and absolute URIs, and the dialer ``http://``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from neosocksd_core import Dialer, Frontend, Section, ServerContext


@hookimpl
def config_model() -> type[Section]:
    """The section ``[http_connect]``."""
    from neosocksd_http_connect.config import HttpSettings

    return HttpSettings


@hookimpl
def register_dialers() -> Mapping[str, Dialer]:
    """The scheme ``http``."""
    from neosocksd_http_connect.dialer import HttpDialer

    return {"http": HttpDialer()}


@hookimpl
def register_frontends(server: ServerContext) -> Sequence[Frontend]:
    """The frontend ``http``."""
    from neosocksd_http_connect.frontend import HttpFrontend

    return [HttpFrontend(server)]
