"""Which plugins a run asks for, and which it does without: from the file, the environment, the flags, or a program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from neosocksd_core.discovery import is_file
from neosocksd_core.errors import ConfigurationError, PluginError
from neosocksd_core.registry import Registry
from neosocksd_core.schema import PREFIX

SELECTION_KEYS = ("plugins", "no_plugins")
"""The keys at the top of a file that choose plugins."""

SELECTION_VARIABLES = (f"{PREFIX}CONFIG", f"{PREFIX}PLUGINS", f"{PREFIX}NO_PLUGINS")
"""The environment variables that are not settings: the configuration file, and the choice of plugins."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which plugins a source asks for, and which it does not want."""

    enable: tuple[object, ...] = ()
    disable: tuple[str, ...] = ()


def selection(
    values: Mapping[str, Any], source: str = "", directory: Path | None = None
) -> Selection:
    """The ``plugins`` and ``no_plugins`` of a file or a program. Paths are relative to *directory*.

    :raises ConfigurationError: if they are not lists of texts (or, for ``plugins`` of a program, plugins).
    """
    found: dict[str, Any] = {}
    for key in SELECTION_KEYS:
        names = values.get(key, ())
        good = isinstance(names, list | tuple) and (
            all(isinstance(n, str) for n in cast("list[object]", names))
            or (key == "plugins" and not source)
        )
        if not good:
            raise ConfigurationError(f"{key_origin(source, key)}: expected a list of names")
        found[key] = tuple(cast("list[object]", names))
    enable: tuple[object, ...] = found["plugins"]
    if directory is not None:
        enable = tuple(
            str(directory / name) if isinstance(name, str) and is_file(name) else name
            for name in enable
        )
    return Selection(enable, found["no_plugins"])


def override(*selections: Selection) -> Selection:
    """One selection from those of several sources: for each plugin the last source that names it decides."""
    verdicts: dict[object, bool] = {}
    for chosen in selections:
        verdicts |= dict.fromkeys(chosen.enable, True) | dict.fromkeys(chosen.disable, False)
    return Selection(
        tuple(plugin for plugin, wanted in verdicts.items() if wanted),
        tuple(str(plugin) for plugin, wanted in verdicts.items() if not wanted),
    )


def select(plugins: Registry, chosen: Selection) -> None:
    """Enable and disable plugins as the sources ask."""
    for plugin in chosen.enable:
        plugins.enable(plugin)
    for name in chosen.disable:
        plugins.disable(name)


def require_installed(plugins: Registry, chosen: Selection, enabling: str, disabling: str) -> None:
    """See to it that all plugins exist that one source names; *enabling* and *disabling* are what it does that with.

    :raises PluginError: naming the source and the plugin.
    """
    for origin, names in ((enabling, chosen.enable), (disabling, chosen.disable)):
        for name in names:
            if isinstance(name, str) and not is_file(name):
                try:
                    plugins.require_installed(name)
                except PluginError as error:
                    raise PluginError(f"{origin}: {error}") from None


def environment_selection(environ: Mapping[str, str]) -> Selection:
    """Which plugins ``NEOSOCKSD_PLUGINS`` and ``NEOSOCKSD_NO_PLUGINS`` ask for: names separated by commas."""
    texts = [environ.get(variable, "") for variable in SELECTION_VARIABLES[1:]]
    names = [tuple(n.strip() for n in text.split(",") if n.strip()) for text in texts]
    return Selection(names[0], names[1])


def key_origin(source: str, key: str) -> str:
    """How a key is called in messages: with its file, if it came from one."""
    return f"{source}: {key}" if source else key
