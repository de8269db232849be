"""The plugins of one server, with one typed method for each hook.

Each method checks what the hooks answer: a thing of the wrong shape, or one that another plugin has claimed already, is an
error that names the plugins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from neosocksd_core.discovery import one_line
from neosocksd_core.errors import NeosocksdError, PluginError
from neosocksd_core.hook_checks import (
    check_addresses,
    check_dialer,
    check_name,
    is_socket_address,
    require,
    require_attributes,
    require_plain,
    wrong,
)
from neosocksd_core.hookspecs import Commands, ServerContext
from neosocksd_core.plugin_info import PluginInfo
from neosocksd_core.registry import Registry
from neosocksd_core.schema import Schema
from neosocksd_core.settings import Section, Settings

if TYPE_CHECKING:
    from neosocksd_core.addresses import SocketAddress
    from neosocksd_core.endpoints import Endpoint
    from neosocksd_core.protocols import (
        Authenticator,
        Dialer,
        Frontend,
        Observer,
        Resolver,
        Router,
    )
    from neosocksd_core.services import ControlListener, Service

__all__ = ["PluginInfo", "Plugins"]

_FRONTEND = ("name", "listen", "claim", "first_bytes", "handshake")


class Plugins(Registry):
    """The plugins of one server. Two of these share nothing, but what a plugin keeps in its module."""

    _schema: Schema | None = None

    def __init__(self, extra: Iterable[object] = (), *, defaults: bool = True) -> None:
        """As :class:`~neosocksd_core.registry.Registry`."""
        self._given: dict[str, list[tuple[object, str]]] = {}
        """What each hook gave when it was called last, with the plugin's name."""
        super().__init__(extra, defaults=defaults)

    def giver_of(self, thing: object) -> str | None:
        """The plugin that an object is from: one that a hook has answered with, or that such an answer holds."""
        for given in self._given.values():
            for item, name in given:
                if item is thing:
                    return name
        return None

    # Before the settings are complete: all known plugins are asked, so that a setting can enable its plugin.

    @property
    def schema(self) -> Schema:
        """All settings of the core and of the known plugins, enabled or not.

        :raises PluginError: if their names, flags or variables collide.
        """
        if self._schema is None or set(self._schema.known) != set(self._origins):
            models: dict[str, type[Section]] = {}
            for name, answer in self.call("config_model", known=True):
                model = answer
                if not (isinstance(model, type) and issubclass(model, Section)):
                    raise wrong(name, "config_model", answer, "a Section subclass")
                models[name] = model
            order = [name for name in self._origins if name in models]
            self._schema = Schema({name: models[name] for name in order}, frozenset(self._origins))
        return self._schema

    def load_config(self, path: Path) -> Mapping[str, Any] | None:
        """What the first plugin that knows the format of a configuration file reads from it. That enables the plugin."""
        for name, values in self.call("load_config", known=True, path=path):
            require(isinstance(values, Mapping), name, "load_config", values, "a mapping")
            self.want(name)
            return cast("Mapping[str, Any]", values)
        return None

    def register_commands(self, commands: Commands) -> None:
        """Let the plugins add their subcommands."""
        for _ in self.call("register_commands", known=True, commands=commands):
            pass

    def provides(self, server: ServerContext) -> dict[str, list[str]]:
        """The frontends and URI schemes of each enabled plugin, as a person would call them."""
        found: dict[str, list[str]] = {}
        for name, item in self._items("register_frontends", server):
            found.setdefault(name, []).append(f"frontend {cast('Frontend', item).name}")
        for name, result in self.call("register_dialers", server=server):
            schemes = cast("Mapping[str, Dialer]", result)
            found.setdefault(name, []).extend(f"{scheme}://" for scheme in schemes)
        return found

    def before_serving(self, settings: Settings) -> int | None:
        """The exit status of a plugin that wants the command to end before it serves.

        :raises OSError: what a plugin prints finds no taker, which is not its fault.
        """
        try:
            for name, result in self.call("before_serving", settings=settings):
                require(isinstance(result, int), name, "before_serving", result, "an exit status")
                return cast("int", result)
        except PluginError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.filename is None:
                raise cause from None
            raise
        return None

    # While a server is put together.

    def dialers(self, server: ServerContext) -> dict[str, Dialer]:
        """The outbound schemes, in lower case."""
        dialers: dict[str, Dialer] = {}
        owners: dict[str, str] = {}
        given: list[tuple[object, str]] = []
        self._given["register_dialers"] = given
        for name, result in self.call("register_dialers", server=server):
            require(isinstance(result, Mapping), name, "register_dialers", result, "a mapping")
            for scheme, dialer in cast("Mapping[str, Dialer]", result).items():
                check_dialer(name, scheme, dialer)
                given.append((dialer, name))
                _claim(owners, "URI scheme", scheme.lower(), name)
                dialers[scheme.lower()] = dialer
        return dialers

    def frontends(self, server: ServerContext) -> list[Frontend]:
        """The protocols that clients may speak."""
        frontends: list[Frontend] = []
        owners: dict[str, str] = {}
        for name, item in self._items("register_frontends", server):
            require_attributes(name, "register_frontends", item, *_FRONTEND)
            require_plain(name, "register_frontends", item, "handshake")
            check_name(name, "register_frontends", item)
            check_addresses(name, cast("Frontend", item).name, cast("Frontend", item).listen)
            frontends.append(cast("Frontend", item))
            _claim(owners, "frontend", frontends[-1].name, name)
        return frontends

    def create_resolver(self, server: ServerContext) -> Resolver | None:
        """What looks names up; None leaves that to the system."""
        return cast("Resolver | None", self._first("create_resolver", server, "resolve"))

    def create_authenticator(self, server: ServerContext) -> Authenticator | None:
        """What judges credentials by themselves, if any plugin does."""
        found = self._first("create_authenticator", server, "authenticate")
        return cast("Authenticator | None", found)

    def create_router(self, server: ServerContext) -> Router | None:
        """What decides where requests go; None is straight to the target."""
        return cast("Router | None", self._first("create_router", server, "route"))

    def check_settings(self, server: ServerContext) -> None:
        """Let the plugins look at the settings once all is put together.

        :raises ConfigurationError: for settings that cannot work.
        """
        for _ in self.call("check_settings", server=server):
            pass

    def observers(self, server: ServerContext) -> tuple[Observer, ...]:
        """Who is told of sessions."""
        found: list[Observer] = []
        for name, item in self._items("register_observers", server):
            require_attributes(name, "register_observers", item, "session_opened", "session_closed")
            require_plain(name, "register_observers", item, "session_opened", "session_closed")
            found.append(cast("Observer", item))
        return tuple(found)

    def endpoints(self, server: ServerContext) -> dict[str, Endpoint]:
        """The control calls, by path."""
        from neosocksd_core.endpoints import Endpoint

        endpoints: dict[str, Endpoint] = {}
        owners: dict[str, str] = {}
        for name, item in self._items("register_endpoints", server):
            if not isinstance(item, Endpoint):
                raise wrong(name, "register_endpoints", item, "an Endpoint")
            _claim(owners, "endpoint", item.path, name)
            endpoints[item.path] = item
        return endpoints

    def services(self, server: ServerContext) -> list[Service]:
        """The long-running work."""
        from neosocksd_core.services import Service

        found: list[Service] = []
        for name, item in self._items("register_services", server):
            if not isinstance(item, Service):
                raise wrong(name, "register_services", item, "a Service")
            check_name(name, "register_services", item)
            found.append(item)
        return found

    def control_listeners(self, server: ServerContext) -> list[ControlListener]:
        """The listeners that plugins serve by themselves."""
        from neosocksd_core.services import ControlListener

        found: list[ControlListener] = []
        owners: dict[str, str] = {}
        for name, item in self._items("register_control_listeners", server):
            if not isinstance(item, ControlListener):
                raise wrong(name, "register_control_listeners", item, "a ControlListener")
            check_name(name, "register_control_listeners", item)
            _claim(owners, "control listener", item.name, name)
            check_addresses(name, item.name, item.listen)
            found.append(item)
        return found

    def guarded_addresses(self, server: ServerContext) -> list[SocketAddress]:
        """What no client may reach through the proxy."""
        found: list[SocketAddress] = []
        for name, item in self._items("register_guarded_addresses", server):
            if not is_socket_address(item):
                raise wrong(name, "register_guarded_addresses", item, "a socket address")
            found.append(item)
        return found

    def reload(self, server: ServerContext) -> None:
        """Let the plugins take over the new settings.

        :raises NeosocksdError: if one of them cannot.
        """
        for _ in self.call("reload", server=server):
            pass

    # While a server runs: what a hook raises is logged, and the other plugins are asked all the same.

    def reload_again(self, server: ServerContext, refusal: Exception) -> None:
        """Let the plugins go back to the settings that were in force before.

        *refusal*, for which they have to, is its receiver's to tell: a file that is broken is as broken now, and is not logged here too.
        """
        for name, result in self.observe("reload", server=server):
            if not (isinstance(result, NeosocksdError) and str(result) == str(refusal)):
                _log_failure(server, name, "reload", result)

    def report_stats(self, server: ServerContext, interval: float, query: str) -> list[str]:
        """The plugins' texts for the statistics page."""
        return self._texts("report_stats", server, interval=interval, query=query)

    def report_runtime(self, server: ServerContext) -> list[str]:
        """The plugins' texts about their own machinery."""
        return self._texts("report_runtime", server)

    def report_metrics(self, server: ServerContext) -> list[str]:
        """The plugins' metrics."""
        return self._texts("report_metrics", server)

    def check_health(self, server: ServerContext) -> list[str]:
        """A line for each thing that is wrong; that a check fails is one."""
        found: list[str] = []
        for name, result in self.observe("check_health", server=server):
            if not isinstance(result, str):
                _log_failure(server, name, "check_health", result)
                result = f"the health check of plugin {name!r} failed"
            found.append(result)
        return found

    def _items(self, hook: str, server: ServerContext) -> Iterator[tuple[str, object]]:
        given: list[tuple[object, str]] = []
        self._given[hook] = given
        for name, result in self.call(hook, server=server):
            items = result
            if not isinstance(items, Sequence) or isinstance(items, str | bytes):
                raise wrong(name, hook, result, "a list")
            for item in cast("Sequence[object]", items):
                given.append((item, name))
                yield name, item

    def _first(self, hook: str, server: ServerContext, method: str) -> object | None:
        for name, result in self.call(hook, server=server):
            require_attributes(name, hook, result, method)
            self._given[hook] = [(result, name)]
            return result
        return None

    def _texts(self, hook: str, server: ServerContext, **arguments: object) -> list[str]:
        found: list[str] = []
        for name, result in self.observe(hook, server=server, **arguments):
            if isinstance(result, str):
                found.append(result)
            else:
                _log_failure(server, name, hook, result)
        return found


def _claim(owners: dict[str, str], kind: str, what: str, plugin: str) -> None:
    other = owners.get(what)
    if other == plugin:
        raise PluginError(f"plugin {plugin!r} claims the {kind} {what!r} twice")
    if other is not None:
        raise PluginError(f"plugins {other!r} and {plugin!r} both claim the {kind} {what!r}")
    owners[what] = plugin


def _log_failure(server: ServerContext, name: str, hook: str, result: object) -> None:
    if isinstance(result, NeosocksdError):
        server.log.error("plugin %s: %s failed: %s", name, hook, result)
    elif isinstance(result, Exception):
        server.log.error("plugin %s: %s failed: %s", name, hook, one_line(result), exc_info=result)
    else:
        kind = type(result).__name__
        server.log.error("plugin %s: %s gave %s, expected a text or None", name, hook, kind)
