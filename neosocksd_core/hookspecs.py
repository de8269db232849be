"""Every hook of the plugin system, in the order in which a server calls them.

Hooks are synchronous. They are called when a server is put together (and, for ``reload``, ``report_*`` and
``check_health``, now and then while it runs), never per connection: what happens per connection is a method of the typed object that a
hook returned. A hook function may leave out parameters that it does not need.

::

    config_model ─ load_config ─ register_commands ─ [settings are complete] ─ before_serving
        │
    register_dialers ─ register_frontends ─ register_control_listeners ─ create_resolver ─ create_authenticator ─ create_router
        │
    register_observers ─ register_services ─ register_guarded_addresses
        │
    [listeners accept]  … reload, register_endpoints, report_stats, report_runtime, report_metrics, check_health …
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from logging import Logger
    from pathlib import Path

    from neosocksd_core.addresses import Chain, SocketAddress
    from neosocksd_core.endpoints import Endpoint
    from neosocksd_core.plugin_info import PluginInfo
    from neosocksd_core.protocols import (
        Authenticator,
        Dialer,
        Frontend,
        Observer,
        Resolver,
        Router,
    )
    from neosocksd_core.requests import Forward, SessionInfo, Upstream
    from neosocksd_core.services import ControlListener, Service
    from neosocksd_core.settings import Section, Settings
    from neosocksd_core.statistics import Counters, Statistics

PROJECT = "neosocksd"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

SectionT = TypeVar("SectionT", bound="Section")


class Commands(Protocol):
    """Where subcommands are added: what :meth:`argparse.ArgumentParser.add_subparsers` gives."""

    def add_parser(
        self,
        name: str,
        *,
        help: str = ...,  # noqa: A002
        description: str = ...,
    ) -> argparse.ArgumentParser: ...


class ServerContext(Protocol):
    """The server, as far as plugins may lean on it. Every hook that takes ``server`` is given one of these."""

    @property
    def settings(self) -> Settings:
        """The settings in force; replaced as a whole by a reload."""
        ...

    @property
    def log(self) -> Logger: ...

    @property
    def chain(self) -> Chain:
        """The parsed chain of the setting ``proxy``."""
        ...

    @property
    def has_router(self) -> bool:
        """Whether anybody decides where requests go; known once all ``create_router`` hooks have been asked."""
        ...

    @property
    def addresses(self) -> Sequence[SocketAddress]:
        """Where the server listens; empty before it is bound."""
        ...

    def section(self, model: type[SectionT]) -> SectionT:
        """A plugin's own settings, by the model that its ``config_model`` returned."""
        ...

    def parse_chain(self, text: str) -> Chain:
        """Parse ``URI[,URI…]`` with the schemes of the registered dialers.

        :raises AddressError: for a malformed URI or an unknown scheme.
        """
        ...

    @property
    def counters(self) -> Counters:
        """The live counters: a control interface counts its calls there."""
        ...

    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        ...

    def sessions(self) -> Sequence[SessionInfo]:
        """A snapshot of the session table."""
        ...

    def session_counts(self) -> Mapping[int, tuple[int, int]]:
        """Bytes up and down of each session, by its id: for who looks often, since it costs less than :meth:`sessions`."""
        ...

    def close_session(self, session_id: int) -> bool:
        """Reset one session; False if there is none of that id."""
        ...

    def endpoints(self) -> Mapping[str, Endpoint]:
        """The control calls that the plugins offer, by path. One that fails is logged, with its plugin's name, and answers status 500."""
        ...

    def report_stats(self, interval: float, query: str) -> Sequence[str]:
        """The plugins' texts for a statistics page; see the hook of that name."""
        ...

    def report_runtime(self) -> Sequence[str]:
        """The plugins' texts about their own machinery; see the hook of that name."""
        ...

    def report_metrics(self) -> Sequence[str]:
        """The plugins' metrics; see the hook of that name."""
        ...

    def plugin_list(self) -> Sequence[PluginInfo]:
        """All known plugins, enabled or not."""
        ...

    def check_health(self) -> Sequence[str]:
        """A line for each thing that is wrong; empty while all is well."""
        ...

    async def dial(self, forward: Forward) -> Upstream:
        """Connect on the server's own behalf: no guard, no block list; the chain of the settings comes first.

        :raises DialError: when that fails or takes longer than ``dial_timeout``.
        """
        ...

    async def lookup(self, host: str) -> Sequence[str]:
        """Resolve a name by the server's resolver and cache.

        :raises DialError: with reason NAME_NOT_RESOLVED.
        """
        ...

    def reread(self) -> None:
        """Read the configuration again and put it into force, as SIGHUP does.

        :raises NeosocksdError: if it cannot be used; then the old one stays.
        """
        ...

    def stop(self, exit_status: int = 0) -> None:
        """Begin an orderly stop; the command ends with *exit_status*."""
        ...


@hookspec
def config_model() -> type[Section] | None:
    """The plugin's settings model: its section in the file, flags, environment variables and schema in one."""


@hookspec(firstresult=True)
def load_config(path: Path) -> Mapping[str, Any] | None:
    """Read a configuration file of the plugin's own format; None for any other. Stops at the first non-None result.

    The result has the shape of the TOML file: the core's fields at the top, a plugin's under its section or their flat names.
    """


@hookspec
def register_commands(commands: Commands) -> None:
    """Add subcommands to the command line: a parser whose default ``run`` takes the parsed arguments and returns an exit status."""


@hookspec(firstresult=True)
def before_serving(settings: Settings) -> int | None:
    """The settings are complete and nothing is open yet: the command's last chance to do something else.

    An exit status ends the command here (a flag that prints and exits). Stops at the first non-None result.
    """


@hookspec
def register_dialers(server: ServerContext) -> Mapping[str, Dialer] | None:
    """Outbound schemes, by the scheme of their URIs. A scheme of another plugin is an error naming both."""


@hookspec
def register_frontends(server: ServerContext) -> Sequence[Frontend] | None:
    """Protocols that clients speak to us. A name of another plugin's frontend is an error naming both."""


@hookspec(firstresult=True)
def create_resolver(server: ServerContext) -> Resolver | None:
    """What looks names up instead of the system's resolver. Stops at the first non-None result."""


@hookspec(firstresult=True)
def create_authenticator(server: ServerContext) -> Authenticator | None:
    """What judges clients' credentials by themselves. Stops at the first non-None result; if there was none, a reload asks again."""


@hookspec(firstresult=True)
def create_router(server: ServerContext) -> Router | None:
    """What decides where requests go. Stops at the first non-None result; an embedder's own router comes before all."""


@hookspec
def check_settings(server: ServerContext) -> None:
    """All is put together and nothing new is open yet: raise ConfigurationError for settings that cannot work, at the start and at each reload."""


@hookspec
def register_observers(server: ServerContext) -> Sequence[Observer] | None:
    """Objects that are told when a session opens and closes."""


@hookspec
def register_endpoints(server: ServerContext) -> Sequence[Endpoint] | None:
    """Control calls that a service such as a REST API publishes."""


@hookspec
def register_services(server: ServerContext) -> Sequence[Service] | None:
    """Long-running work in the server's task group."""


@hookspec
def register_control_listeners(server: ServerContext) -> Sequence[ControlListener] | None:
    """Listeners whose connections the plugin serves by itself. No client reaches them through the proxy."""


@hookspec
def register_guarded_addresses(server: ServerContext) -> Sequence[SocketAddress] | None:
    """Addresses that no client may reach through the proxy, as the listeners of a control interface."""


@hookspec
def reload(server: ServerContext) -> None:
    """The settings are replaced (SIGHUP): take over what has changed.

    What is raised refuses the reload, and the hooks are called once more with the old settings in force.
    """


@hookspec
def report_stats(server: ServerContext, interval: float, query: str) -> str | None:
    """Text for the statistics page. *interval* is the time in seconds since the last call, *query* the caller's argument."""


@hookspec
def report_runtime(server: ServerContext) -> str | None:
    """Text about the plugin's own machinery, for those who ask for it on the statistics page: a script engine's memory, say."""


@hookspec
def report_metrics(server: ServerContext) -> str | None:
    """Metrics in Prometheus' text format, appended to the server's own."""


@hookspec
def check_health(server: ServerContext) -> str | None:
    """None while all is well, else a line that says what is wrong."""
