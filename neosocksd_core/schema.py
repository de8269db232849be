"""All settings of a set of plugins in one view: each field with its keys, environment variables and flags.

Derived from the models alone (:class:`~neosocksd_core.settings.Settings` and a section a plugin); reading values is
:mod:`neosocksd_core.configuration`'s work and :mod:`neosocksd_core.flags`'.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from neosocksd_core.errors import PluginError
from neosocksd_core.settings import CompoundFlag, Option, Section, Settings

Path = tuple[str, ...]
"""Where a value stands in the settings: ``("timeout",)``, or ``("http_connect", "listen")``."""

PREFIX = "NEOSOCKSD_"

COMMAND_FLAGS = ("-h", "--help", "--version", "-c", "--config", "--plugin", "--no-plugin")
"""Flags of the command itself, which are no settings."""

_FLAG = re.compile(r"(?:-[A-Za-z0-9]|--[A-Za-z0-9][A-Za-z0-9_-]*)\Z")

_COLLECTIONS = (tuple, list, set, frozenset)
_UNIONS: tuple[object, ...] = (Union, UnionType)


def section_name(plugin: str) -> str:
    """The key of a plugin's section: its name with ``_`` for ``-``."""
    return plugin.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the core (``plugin`` is None) or of a plugin's section."""

    plugin: str | None
    name: str
    info: FieldInfo
    option: Option

    @property
    def path(self) -> Path:
        return (self.name,) if self.plugin is None else (section_name(self.plugin), self.name)

    @property
    def key(self) -> str:
        """The key in the configuration file, ``timeout`` or ``http_connect.listen``."""
        return ".".join(self.path)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, the one to be preferred first."""
        own = PREFIX + "_".join(self.path).upper()
        flat = self.option.flat
        return (own,) if flat is None else tuple(dict.fromkeys((PREFIX + flat.upper(), own)))

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that take a value, or switch a boolean on."""
        if self.option.flags or self.option.values or self.plugin is None:
            return self.option.flags
        return ("--" + "-".join(self.path).replace("_", "-"),)

    @property
    def kind(self) -> Any:
        """The field's type, without None and metadata."""
        kind: Any = self.info.annotation
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) in _UNIONS:
            others = [a for a in get_args(kind) if a is not NoneType]
            kind = others[0] if len(others) == 1 else kind
        return kind

    @property
    def is_switch(self) -> bool:
        return self.kind is bool

    @property
    def is_collection(self) -> bool:
        return (get_origin(self.kind) or self.kind) in _COLLECTIONS

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a ``Literal``; empty for other types."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    def from_text(self, text: str) -> Any:
        """A value as it stands in a flag or a variable, ready for validation: collections are separated by commas, numbers of
        a ``Literal`` become numbers, and for a mapping or a section JSON is understood."""
        if self.choices:
            return next((c for c in self.choices if str(c) == text), text)
        outer = get_origin(self.kind) or self.kind
        if outer in (str, bytes):
            return text
        if text[:1] in ("[", "{"):
            import json

            try:
                return json.loads(text)
            except ValueError:
                pass
        if self.is_collection:
            return [part.strip() for part in text.split(",") if part.strip()]
        return text


class Schema:
    """The settings of the core and of *sections* (a model for each plugin's name); *known* are all plugins that were asked.

    :raises PluginError: where two of them claim the same flag, key or variable, or a plugin has a name of the core.
    """

    def __init__(
        self, sections: Mapping[str, type[Section]], known: frozenset[str] = frozenset()
    ) -> None:
        self.known = known
        self.sections = dict(sections)
        self.settings = (
            *_fields(None, Settings),
            *(s for plugin, model in sections.items() for s in _fields(plugin, model)),
        )
        self.compound_flags: tuple[tuple[str | None, CompoundFlag], ...] = (
            *((None, flag) for flag in Settings.compound_flags),
            *((name, f) for name, model in sections.items() for f in model.compound_flags),
        )
        self.by_path = {s.path: s for s in self.settings}
        self.flat: dict[str, Setting] = {}
        """What may stand at the top of the file: the core's fields, and the plugins' flat names."""
        self.variables: dict[str, Setting] = {}
        self._index()

    @cached_property
    def section_names(self) -> Mapping[str, str]:
        """The plugins, by the key of their section."""
        return {section_name(plugin): plugin for plugin in self.sections}

    @cached_property
    def model(self) -> type[Settings]:
        """The whole configuration as one model, :class:`Settings` with a field for each plugin's section."""
        fields: dict[str, Any] = {
            section_name(plugin): (
                model,
                Field(default_factory=model, description=f"settings of the plugin {plugin}"),
            )
            for plugin, model in self.sections.items()
        }
        model: type[Settings] = create_model("Configuration", __base__=Settings, **fields)
        return model

    def _index(self) -> None:
        keys: dict[str, str | None] = {}
        models: dict[type[Section], str] = {}
        for plugin, model in self.sections.items():
            if hasattr(Settings, section_name(plugin)) or section_name(plugin) in (
                *Settings.model_fields,
                "plugins",
                "no_plugins",
            ):
                raise PluginError(f"plugin {plugin!r}: its name is a setting of the core")
            other = models.setdefault(model, plugin)
            if other != plugin:
                raise PluginError(f"plugins {other!r} and {plugin!r} have the same settings model")
            _claim(keys, section_name(plugin), plugin, "section")
        flags: dict[str, str | None] = dict.fromkeys(COMMAND_FLAGS)
        for setting in self.settings:
            flat = setting.name if setting.plugin is None else setting.option.flat
            if flat is not None:
                # A plugin may have its own name as a flat name: a table is the section, anything else the value.
                if section_name(setting.plugin or "") != flat:
                    _claim(keys, flat, setting.plugin, "key")
                self.flat[flat] = setting
            for variable in setting.variables:
                rival = self.variables.setdefault(variable, setting)
                if rival is not setting:
                    raise _conflict("variable", variable, rival.plugin, setting.plugin)
            for flag in (*setting.flags, *(setting.option.values or ())):
                _check_flag(flag, setting.plugin)
                _claim(flags, flag, setting.plugin, "flag")
                if setting.is_switch and flag.startswith("--"):
                    _claim(flags, "--no-" + flag[2:], setting.plugin, "flag")
        for owner, compound in self.compound_flags:
            for flag in compound.flags:
                _check_flag(flag, owner)
                _claim(flags, flag, owner, "flag")


def _fields(plugin: str | None, model: type[Section]) -> list[Setting]:
    return [
        Setting(
            plugin,
            name,
            info,
            next((m for m in info.metadata if isinstance(m, Option)), Option()),
        )
        for name, info in model.model_fields.items()
    ]


def _check_flag(flag: str, plugin: str | None) -> None:
    if not _FLAG.match(flag):
        raise PluginError(f"plugin {plugin!r}: {flag!r} is not a flag, expected --NAME or -N")


def _claim(taken: dict[str, str | None], what: str, owner: str | None, kind: str) -> None:
    if what in taken:
        raise _conflict(kind, what, taken[what], owner)
    taken[what] = owner


def _conflict(kind: str, what: str, first: str | None, second: str | None) -> PluginError:
    names = [f"plugin {name!r}" if name else "the core" for name in (first, second)]
    if first == second:
        return PluginError(f"{names[0]} claims the {kind} {what!r} twice")
    return PluginError(f"{names[0]} and {names[1]} both claim the {kind} {what!r}")
