"""The SOCKS family: a frontend for SOCKS4, 4A and 5 on one port, and the dialers ``socks4a://`` and ``socks5://``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from neosocksd_core import Dialer, Frontend, Section, ServerContext


@hookimpl
def config_model() -> type[Section]:
    from neosocksd_socks5.config import Socks5Settings

    return Socks5Settings


@hookimpl
def register_dialers() -> Mapping[str, Dialer]:
    from neosocksd_socks5.dialer import Socks4aDialer, Socks5Dialer

    return {"socks4a": Socks4aDialer(), "socks5": Socks5Dialer()}


@hookimpl
def register_frontends(server: ServerContext) -> Sequence[Frontend]:
    from neosocksd_socks5.frontend import make_frontend

    return [make_frontend(server)]


@hookimpl
def check_settings(server: ServerContext) -> None:
    """What BIND and UDP ASSOCIATE do not go together with.

    :raises ConfigurationError: where there is a router or a chain, which would know nothing of what goes past them.
    """
    from neosocksd_core import ConfigurationError
    from neosocksd_socks5.config import Socks5Settings

    settings = server.section(Socks5Settings)
    for name, is_enabled in (("socks5_bind", settings.bind), ("socks5_udp", settings.udp)):
        if is_enabled and (server.has_router or server.chain):
            what = "a router (a ruleset)" if server.has_router else "a chain (proxy)"
            raise ConfigurationError(f"{name}: it would lead past {what}, remove one of them")
