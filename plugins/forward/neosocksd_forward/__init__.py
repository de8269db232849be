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
    from neosocksd_forward.frontend import ForwardFrontend

    return [ForwardFrontend(server)] if server.section(ForwardSettings).address else None


@hookimpl
def check_settings(server: ServerContext) -> None:
    """What ``-f`` does not go together with.

    :raises ConfigurationError: for ``auth_required``, since the client has no way to say who it is, and for ``:`` without a
        router, since nobody else names a target.
    """
    from neosocksd_core import ConfigurationError
    from neosocksd_forward.config import ROUTED, ForwardSettings

    address = server.section(ForwardSettings).address
    if address and server.settings.auth_required:
        raise ConfigurationError("forward: clients cannot authenticate, remove auth_required")
    if address == ROUTED and not server.has_router:
        raise ConfigurationError("forward: `:` leaves the target to a router, and there is none")
