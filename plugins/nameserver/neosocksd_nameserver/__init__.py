"""Looks names up at a DNS server of the user's choice instead of the system's resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    from neosocksd_core import Resolver, Section, ServerContext


@hookimpl
def config_model() -> type[Section]:
    from neosocksd_nameserver.config import NameserverSettings

    return NameserverSettings


@hookimpl
def create_resolver(server: ServerContext) -> Resolver | None:
    from neosocksd_nameserver.config import NameserverSettings

    if not server.section(NameserverSettings).address:
        return None
    from neosocksd_nameserver.resolver import DnsResolver

    return DnsResolver(lambda: server.section(NameserverSettings))
