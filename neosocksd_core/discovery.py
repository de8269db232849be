"""Finding and loading plugins: installed ones by their entry points, single files, objects of a program.

What is done with a loaded plugin is :mod:`neosocksd_core.plugins`' affair.
"""

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from neosocksd_core.errors import PluginError
from neosocksd_core.hookspecs import PROJECT

DISTRIBUTION = PROJECT
"""Plugins of this distribution are built in: always known, imported at each start."""

DEFAULT_PLUGINS = frozenset({"socks5", "http_connect", "forward", "static_auth", "nameserver"})
"""The built-in plugins that are on unless switched off. The others are known, and a setting of theirs switches them on."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin comes from: a distribution and its version, a file, or the program that passed it."""

    name: str
    origin: str
    version: str = ""
    builtin: bool = False

    def __str__(self) -> str:
        return f"{self.origin} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that some installed distribution offers; not imported yet."""

    origin: Origin
    entry_point: EntryPoint
    rivals: tuple[str, ...] = ()
    """Other distributions that offer a plugin of the same name."""

    def load(self) -> object:
        """Import it.

        :raises PluginError: naming the plugin, if that fails, or if its name is offered twice.
        """
        name = self.origin.name
        if self.rivals:
            raise PluginError(
                f"plugin {name!r} is offered by several distributions: "
                + ", ".join((self.origin.origin, *self.rivals))
            )
        try:
            return self.entry_point.load()
        except (Exception, SystemExit) as error:
            raise import_failure(name, str(self.origin), error) from error


def find_installed() -> Mapping[str, Installed]:
    """Every plugin that the installed distributions offer, by name. Imports none of them."""
    found: dict[str, Installed] = {}
    titles: dict[int, tuple[str, str]] = {}
    for entry_point in sorted(entry_points(group=PROJECT), key=lambda e: e.name):
        name, distribution = entry_point.name, entry_point.dist
        if id(distribution) not in titles:  # reading a distribution's metadata takes milliseconds
            titles[id(distribution)] = _title(distribution)
        title, version = titles[id(distribution)]
        rival = found.get(name)
        if rival is None:
            origin = Origin(name, title, version, builtin=title == DISTRIBUTION)
            found[name] = Installed(origin, entry_point)
        else:
            rivals = (*rival.rivals, title)
            found[name] = Installed(rival.origin, rival.entry_point, rivals)
    return found


def _title(distribution: Distribution | None) -> tuple[str, str]:
    """Name and version."""
    if distribution is None:
        return "unknown", ""
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def is_file(specification: str) -> bool:
    """Whether the text after ``--plugin`` means a file rather than a name."""
    return "/" in specification or specification.endswith(".py")


def load_file(path: Path) -> tuple[Origin, object]:
    """Load a plugin that is a single file; its name is the stem of the file's.

    The plugin is the class ``Plugin`` in the file where there is one, else the module. Each call makes a module of its own.

    :raises PluginError: naming the file, if it cannot be read, or raises.
    """
    name = check_name(path.stem, str(path))
    if not path.is_file():
        raise PluginError(f"plugin {str(path)!r}: no such file")
    module_name, number = f"neosocksd_plugin_{name.replace('-', '_')}", 2
    while module_name in sys.modules:
        module_name, number = f"neosocksd_plugin_{name.replace('-', '_')}_{number}", number + 1
    specification = importlib.util.spec_from_file_location(module_name, path)
    if specification is None or specification.loader is None:
        raise PluginError(f"plugin {str(path)!r}: not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise import_failure(name, str(path), error) from error
    origin = Origin(name, str(path), str(getattr(module, "__version__", "")))
    return origin, getattr(module, "Plugin", module)


def origin_of(plugin: object) -> Origin:
    """The name of a plugin that a program passes as an object.

    That is its attribute ``plugin_name``; else a module's last name without ``neosocksd_``, or the name of the class, in
    lower case with underscores (``MyPlugin`` is ``my_plugin``).

    :raises PluginError: if that is no name.
    """
    name = getattr(plugin, "plugin_name", None)
    if name is None and isinstance(plugin, ModuleType):
        name = plugin.__name__.rpartition(".")[2].removeprefix("neosocksd_")
    elif name is None:
        kind = plugin if isinstance(plugin, type) else type(plugin)
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    return Origin(check_name(str(name), repr(plugin)), "program", "")


def check_name(name: str, what: str) -> str:
    """*name*, if a plugin may be called so: a letter, then letters, digits, ``_`` and ``-``.

    :raises PluginError: otherwise; *what* says which plugin that is.
    """
    if not _NAME.match(name):
        raise PluginError(f"plugin {what}: {name!r} is not a plugin's name")
    return name


def import_failure(name: str, origin: str, error: BaseException) -> PluginError:
    """The error that says that a plugin raised while it was imported or made."""
    return PluginError(f"plugin {name!r} ({origin}) cannot be loaded: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """An exception on one line: its type, and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
