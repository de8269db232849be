"""Plain TCP forwarding: every connection goes to one target, and the client says nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neosocksd_core import Frontend, Section, ServerContext


@hookimpl
def config_model() -> type[Section]:
    from neosocksd_forward.config import ForwardSettings

    return ForwardSettings


@hookimpl
def register_frontends(server: ServerContext) -> Sequence[Frontend] | None:
    from neosocksd_forward.config import ForwardSettings
    from neosocksd_forward.frontend import ForwardFrontend, check_settings

    if not server.section(ForwardSettings).address:
        return None
    check_settings(server)
    return [ForwardFrontend(server)]
