"""Which plugins a server knows, which of them are enabled, and how their hooks are called.

This is the only module that touches pluggy. What each hook takes and gives is :mod:`neosocksd_core.plugins`' affair.
"""

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pluggy

from neosocksd_core import hookspecs
from neosocksd_core.discovery import (
    DEFAULT_PLUGINS,
    Origin,
    find_installed,
    import_failure,
    is_file,
    load_file,
    one_line,
    origin_of,
)
from neosocksd_core.errors import NeosocksdError, PluginError
from neosocksd_core.plugin_info import PluginInfo


class Registry:
    """The plugins of one server.

    Built-in ones are known from the start, and the default ones of them enabled (none with ``defaults=False``). *extra* are further
    plugins, as :meth:`enable` takes them; a text alone is one.

    :raises PluginError: when a plugin cannot be loaded.
    """

    def __init__(self, extra: Iterable[object] = (), *, defaults: bool = True) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._installed = find_installed()
        self._origins: dict[str, Origin] = {}
        self._enabled: set[str] = set()
        self._refused: set[str] = set()
        for name, installed in self._installed.items():
            if installed.origin.builtin:
                self._register(installed.origin, installed.load())
                if defaults and name in DEFAULT_PLUGINS:
                    self._enabled.add(name)
        for plugin in (extra,) if isinstance(extra, str) else extra:
            self.enable(plugin)

    def enable(self, plugin: object) -> str:
        """Load and enable one more plugin, and return its name.

        A text is the name of an installed plugin, or the path of a file (``./my.py``). Anything else is
        the plugin itself: a module, an object, or a class, which is instantiated. Enabling one twice changes nothing.

        :raises PluginError: if there is none of that name, or it cannot be loaded.
        """
        name = self._load(plugin)
        self._enabled.add(name)
        self._refused.discard(name)
        return name

    def disable(self, name: str) -> None:
        """Leave a plugin out, even where its settings would enable it.

        :raises PluginError: if there is none of that name.
        """
        self.require_installed(name)
        self._enabled.discard(name)
        self._refused.add(name)

    def want(self, name: str) -> None:
        """Enable a known plugin because one of its settings was given; not if it was disabled by name."""
        if name in self._origins and name not in self._refused:
            self._enabled.add(name)

    @property
    def enabled(self) -> frozenset[str]:
        return frozenset(self._enabled)

    def is_known(self, name: str) -> bool:
        """Whether it is loaded, so that its settings and flags are known."""
        return name in self._origins

    def is_installed(self, name: str) -> bool:
        """Whether there is such a plugin, be it loaded or not."""
        return name in self._origins or name in self._installed

    def require_installed(self, name: str) -> None:
        """See to it that there is such a plugin.

        :raises PluginError: if not; the message lists those that there are.
        """
        if not self.is_installed(name):
            known = ", ".join(sorted({*self._installed, *self._origins})) or "none"
            raise PluginError(f"there is no plugin {name!r} (installed: {known})")

    def is_refused(self, name: str) -> bool:
        """Whether :meth:`disable` had the last word on it."""
        return name in self._refused

    def describe(self) -> list[PluginInfo]:
        """All loaded and all installed plugins, by name. Nothing is imported for it."""
        origins = {name: i.origin for name, i in self._installed.items()} | self._origins
        return [
            PluginInfo(name, o.version, o.origin, name in self._enabled, self._hooks_of(name))
            for name, o in sorted(origins.items())
        ]

    def call(
        self, hook: str, *, known: bool = False, **arguments: object
    ) -> Iterator[tuple[str, object]]:
        """Call a hook, one plugin at each step, and yield every result that is not None with the plugin's name.

        The order is pluggy's: the plugin that was loaded last is the first. Only enabled plugins are asked; with *known*, all that
        nobody has disabled by name.

        :raises PluginError: naming the plugin, for whatever a hook raises that is not an error of ours.
        """
        for implementation in self._implementations(hook, known):
            try:
                result = _invoke(implementation, arguments)
            except NeosocksdError:
                raise
            except Exception as error:
                raise PluginError(
                    f"plugin {implementation.plugin_name!r}: {hook} failed: {one_line(error)}"
                ) from error
            if result is not None:
                yield implementation.plugin_name, result

    def observe(self, hook: str, **arguments: object) -> Iterator[tuple[str, object | Exception]]:
        """As :meth:`call`, for a server that runs: what a hook raises is yielded as its result, and the others are still called."""
        for implementation in self._implementations(hook, known=False):
            try:
                result = _invoke(implementation, arguments)
            except Exception as error:  # a plugin's failure must not end the server
                result = error
            if result is not None:
                yield implementation.plugin_name, result

    def _implementations(self, hook: str, known: bool) -> list[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        asked = self._origins.keys() - self._refused if known else self._enabled
        return [i for i in reversed(caller.get_hookimpls()) if i.plugin_name in asked]

    def _load(self, plugin: object) -> str:
        if not isinstance(plugin, str):
            origin = origin_of(plugin)
            self._register(origin, plugin)
            return origin.name
        if is_file(plugin):
            path = Path(plugin).resolve()
            known = self._origins.get(path.stem)
            if known is None or known.origin != str(path):
                origin, module = load_file(path)
                self._register(origin, module)
            return path.stem
        if plugin not in self._origins:
            self.require_installed(plugin)
            installed = self._installed[plugin]
            self._register(installed.origin, installed.load())
        return plugin

    def _register(self, origin: Origin, plugin: object) -> None:
        name = origin.name
        present = self._manager.get_plugin(name)
        if present is not None:
            if present is plugin or (isinstance(plugin, type) and type(present) is plugin):
                return
            raise PluginError(f"two plugins are named {name!r}: {self._origins[name]} and {origin}")
        if isinstance(plugin, type):
            try:
                plugin = cast("type[object]", plugin)()
            except Exception as error:
                raise import_failure(name, str(origin), error) from error
        try:
            self._manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {name!r}: {' '.join(str(error).split())}") from error
        self._origins[name] = origin
        self._check_hooks(name, plugin)

    def _check_hooks(self, name: str, plugin: object) -> None:
        """What pluggy's ``check_pending`` looks for, and what our way of calling asks beyond that."""
        callers = self._manager.get_hookcallers(plugin) or []
        for caller in callers:
            if not caller.has_spec():
                import difflib  # here, since every start would pay for it

                hooks = [n for n, value in vars(hookspecs).items() if hasattr(value, _SPEC_MARK)]
                near = difflib.get_close_matches(caller.name, hooks, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise PluginError(f"plugin {name!r}: there is no hook {caller.name!r}{hint}")
            for implementation in caller.get_hookimpls():
                if implementation.plugin_name != name:
                    continue
                if implementation.wrapper or implementation.hookwrapper:
                    raise PluginError(
                        f"plugin {name!r}: hook {caller.name!r} must not be a wrapper"
                    )
                if inspect.iscoroutinefunction(implementation.function):
                    raise PluginError(f"plugin {name!r}: hook {caller.name!r} must not be async")
        if not callers:
            raise PluginError(f"plugin {name!r} implements no hook (is @hookimpl missing?)")

    def _hooks_of(self, name: str) -> tuple[str, ...]:
        plugin = self._manager.get_plugin(name)
        callers = self._manager.get_hookcallers(plugin) if plugin is not None else None
        return tuple(sorted(caller.name for caller in callers or ()))


_SPEC_MARK = f"{hookspecs.PROJECT}_spec"


def _invoke(implementation: pluggy.HookImpl, arguments: dict[str, object]) -> object:
    return implementation.function(*(arguments[name] for name in implementation.argnames))
