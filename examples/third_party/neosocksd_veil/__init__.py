"""A hop that looks like noise: a frontend, and the outbound scheme ``veil://`` that speaks to it."""

from collections.abc import Mapping, Sequence

from neosocksd_core import Dialer, Frontend, Section, ServerContext, hookimpl


@hookimpl
def config_model() -> type[Section]:
    from neosocksd_veil.config import VeilSettings

    return VeilSettings


@hookimpl
def register_dialers(server: ServerContext) -> Mapping[str, Dialer]:
    from neosocksd_veil.dialer import VeilDialer

    return {"veil": VeilDialer(server)}


@hookimpl
def register_frontends(server: ServerContext) -> Sequence[Frontend]:
    from neosocksd_veil.frontend import VeilFrontend

    return [VeilFrontend(server)]
