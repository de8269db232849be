"""Routes requests by a Lua script of the user: decisions, asynchronous routines, RPC, with the API of the original."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from neosocksd_core import Router, Section, ServerContext, Settings, hookimpl

if TYPE_CHECKING:
    from neosocksd_core.endpoints import Endpoint
    from neosocksd_core.services import Service
    from neosocksd_lua_ruleset.engine import Engine
    from neosocksd_lua_ruleset.ruleset import Ruleset


class LuaRuleset:
    """The plugin. Lua itself is loaded only when there is a script to run."""

    def __init__(self) -> None:
        self._rulesets: WeakKeyDictionary[ServerContext, Ruleset] = WeakKeyDictionary()
        self._configured: Ruleset | None = None
        """That whose machine a configuration script ran in; it becomes the server's."""

        self._refused: WeakSet[ServerContext] = WeakSet()
        """Servers whose reload this plugin has just refused: they ask once more, with the old settings."""

    @hookimpl
    def config_model(self) -> type[Section]:
        from neosocksd_lua_ruleset.config import LuaRulesetSettings

        return LuaRulesetSettings

    @hookimpl
    def load_config(self, path: Path) -> Mapping[str, Any] | None:
        if not path.name.endswith((".lua", ".lua.gz")):
            return None
        from neosocksd_lua_ruleset.config import LuaRulesetSettings
        from neosocksd_lua_ruleset.ruleset import Ruleset

        if self._configured is None:
            self._configured = Ruleset(LuaRulesetSettings())
        return self._configured.engine.read_config(path)

    @hookimpl
    def before_serving(self, settings: Settings) -> int | None:
        from neosocksd_core.configuration import section
        from neosocksd_lua_ruleset.config import LuaRulesetSettings

        if not section(settings, LuaRulesetSettings).dump_config:
            return None
        from neosocksd_lua_ruleset.fields import print_config

        print_config(settings)
        return 0

    @hookimpl
    def create_router(self, server: ServerContext) -> Router | None:
        from neosocksd_lua_ruleset.config import LuaRulesetSettings

        settings = server.section(LuaRulesetSettings)
        configured = self._configured
        if configured is not None and settings.ruleset:
            from neosocksd_core import ConfigurationError

            raise ConfigurationError(
                "ruleset: it and a configuration in Lua exclude each other, the script may install a ruleset"
            )
        if configured is not None and configured.engine.has_ruleset:
            ruleset = configured
            ruleset.engine.attach(server, settings)
            ruleset.engine.tell_doubts()
        elif settings.ruleset:
            from neosocksd_lua_ruleset.ruleset import Ruleset

            ruleset = Ruleset(settings)
            ruleset.engine.attach(server, settings)
            ruleset.engine.load_file(Path(settings.ruleset))
        else:
            return None
        self._rulesets[server] = ruleset
        return ruleset

    @hookimpl
    def register_endpoints(self, server: ServerContext) -> Sequence["Endpoint"]:
        from neosocksd_lua_ruleset.config import LuaRulesetSettings
        from neosocksd_lua_ruleset.endpoints import ruleset_endpoints

        def renew(text: bytes, name: bytes) -> None:
            settings = server.section(LuaRulesetSettings)
            self._rulesets[server].renew(server, settings, text, name)

        return ruleset_endpoints(lambda: self._engine_of(server), renew)

    @hookimpl
    def register_services(self, server: ServerContext) -> Sequence["Service"] | None:
        from neosocksd_core.services import Service

        ruleset = self._rulesets.get(server)
        return [Service("lua_ruleset", ruleset.run)] if ruleset is not None else None

    @hookimpl
    def reload(self, server: ServerContext) -> None:
        from neosocksd_core import ConfigurationError
        from neosocksd_lua_ruleset.config import LuaRulesetSettings

        settings = server.section(LuaRulesetSettings)
        engine = self._engine_of(server)
        if engine is None:
            if settings.ruleset:
                raise ConfigurationError("ruleset: the first one takes effect after a restart")
            return
        if server in self._refused:
            # The old settings are back in force; the script in force never left.
            self._refused.discard(server)
            engine.configure(settings)
            return
        try:
            if settings.ruleset:
                engine.load_file(Path(settings.ruleset))
        except ConfigurationError:
            self._refused.add(server)
            raise
        engine.configure(settings)

    @hookimpl
    def report_stats(self, server: ServerContext, interval: float, query: str) -> str | None:
        engine = self._engine_of(server)
        return engine.stats(interval, query) if engine is not None else None

    @hookimpl
    def report_runtime(self, server: ServerContext) -> str | None:
        engine = self._engine_of(server)
        if engine is None:
            return None
        from neosocksd_lua_ruleset.endpoints import describe

        return describe(engine.measure())

    @hookimpl
    def report_metrics(self, server: ServerContext) -> str | None:
        engine = self._engine_of(server)
        if engine is None:
            return None
        from neosocksd_lua_ruleset.metrics import render

        return render(engine)

    @hookimpl
    def check_health(self, server: ServerContext) -> str | None:
        engine = self._engine_of(server)
        return engine.health() if engine is not None else None

    def _engine_of(self, server: ServerContext) -> "Engine | None":
        ruleset = self._rulesets.get(server)
        return ruleset.engine if ruleset is not None else None
