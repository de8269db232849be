"""Connections whose client says nothing of where to: forwarding to one target, and transparent proxying."""

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
def register_frontends(server: ServerContext) -> Sequence[Frontend]:
    from neosocksd_forward.config import ForwardSettings
    from neosocksd_forward.frontend import ForwardFrontend
    from neosocksd_forward.transparent import TransparentFrontend

    frontends: list[Frontend] = []
    if server.section(ForwardSettings).address:
        frontends.append(ForwardFrontend(server))
    if server.settings.transparent:
        frontends.append(TransparentFrontend())
    return frontends


@hookimpl
def check_settings(server: ServerContext) -> None:
    """What ``-f`` and ``--tproxy`` do not go together with.

    :raises ConfigurationError: for ``auth_required``, since the client has no way to say who it is, and for ``:`` without a
        router, since nobody else names a target.
    """
    from neosocksd_core import ConfigurationError
    from neosocksd_forward.config import ROUTED, ForwardSettings

    address, settings = server.section(ForwardSettings).address, server.settings
    name = "forward" if address else "transparent"
    if (address or settings.transparent) and settings.auth_required:
        raise ConfigurationError(f"{name}: clients cannot authenticate, remove auth_required")
    if address == ROUTED and not server.has_router:
        raise ConfigurationError("forward: `:` leaves the target to a router, and there is none")
