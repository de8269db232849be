"""The command line's flags, made from the models: one for each :class:`~neosocksd_core.settings.Option`.

Every flag only records that it was given; the values become a layer of :mod:`neosocksd_core.configuration`, which validates
them as it does those of the file.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from neosocksd_core.configuration import Given
from neosocksd_core.errors import ConfigurationError
from neosocksd_core.schema import Path, Schema, Setting, section_name
from neosocksd_core.settings import CompoundFlag

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A flag as it was given. ``target`` is what it sets; ``is_text`` tells a text from a value that the flag stands for."""

    flag: str
    target: Setting | CompoundFlag
    plugin: str | None
    value: Any
    is_text: bool


@dataclass(slots=True)
class Arguments(argparse.Namespace):
    """The parsed command line, beside what subcommands add."""

    given: list[Occurrence] = field(default_factory=list[Occurrence])
    config: list[str] = field(default_factory=list[str])
    plugin: list[str] = field(default_factory=list[str])
    no_plugin: list[str] = field(default_factory=list[str])


_LONE_PERCENT = re.compile(r"(?<!%)%(?!%|\(\w+\)[a-z])")


class HelpFormatter(argparse.HelpFormatter):
    """Argparse's, where a ``%`` in a help text is one unless argparse has a use for it, as for ``%(default)s`` and ``%%``."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return _LONE_PERCENT.sub("%%", action.help or "")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: one line, and no usage."""

    def __init__(
        self, formatter_class: type[argparse.HelpFormatter] = HelpFormatter, **keywords: Any
    ) -> None:
        super().__init__(formatter_class=formatter_class, **keywords)

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message)

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; argparse's own keeps to itself that nobody takes it.

        :raises OSError: if so.
        """
        print(self.format_help(), end="", file=file)
        sys.stdout.flush()


def new_parser(**keywords: Any) -> argparse.ArgumentParser:
    """A :class:`Parser` of the command; subcommands get one of the same class."""
    return Parser(prog="neosocksd", allow_abbrev=False, **keywords)


class Record(argparse.Action):
    """Records an occurrence; ``fixed`` values belong to flags that take no argument."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        target: Setting | CompoundFlag,
        plugin: str | None,
        fixed: dict[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, default=argparse.SUPPRESS, **keywords)
        self._target = target
        self._plugin = plugin
        self._fixed = fixed

    @property
    def values(self) -> tuple[str, ...]:
        """The texts that the flag takes, where they are few; empty elsewhere."""
        if self._fixed is not None or not isinstance(self._target, Setting):
            return ()
        return tuple(map(str, self._target.choices))

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        flag = option_string or ""
        if self._fixed is not None:
            item = Occurrence(flag, self._target, self._plugin, self._fixed[flag], False)
        elif values is None or values == "":
            bare = self._target.option.bare if isinstance(self._target, Setting) else None
            item = Occurrence(
                flag, self._target, self._plugin, "" if bare is None else bare, bare is None
            )
        else:
            item = Occurrence(flag, self._target, self._plugin, values, True)
        assert isinstance(namespace, Arguments)
        namespace.given.append(item)


def add_flags(parser: argparse.ArgumentParser, schema: Schema) -> None:
    """Add a flag for each setting that has one, in a group for each plugin."""
    groups: dict[str | None, Any] = {None: parser.add_argument_group("settings")}
    for setting in schema.settings:
        group = groups.get(setting.plugin)
        if group is None:
            group = groups[setting.plugin] = parser.add_argument_group(f"plugin {setting.plugin}")
        _add_setting(group, setting)
    for plugin, compound in schema.compound_flags:
        group = groups.get(plugin) or parser
        group.add_argument(
            *compound.flags,
            action=Record,
            target=compound,
            plugin=plugin,
            metavar=compound.metavar,
            help=_plain(compound.help),
        )


def _plain(text: str) -> str:
    """A help text of which argparse shows every character."""
    return text.replace("%", "%%")


def _describe(setting: Setting) -> str:
    """What a setting is for, and its default where there is one to speak of."""
    description, default = setting.info.description or "", setting.info.default
    if default is True:
        default = "on"
    if not default or not isinstance(default, int | float | str) or "default" in description:
        return description
    return (
        f"{description} (default {default:g})"
        if isinstance(default, float)
        else f"{description} (default {default})"
    )


def _add_setting(group: Any, setting: Setting) -> None:
    option = setting.option
    common: dict[str, Any] = {
        "action": Record,
        "target": setting,
        "plugin": setting.plugin,
        "help": argparse.SUPPRESS if option.hidden else _plain(_describe(setting)),
    }
    if option.values:
        group.add_argument(*option.values, nargs=0, fixed=dict(option.values), **common)
    flags = setting.flags
    if not flags:
        return
    if setting.is_switch:
        off = tuple("--no-" + flag[2:] for flag in flags if flag.startswith("--"))
        fixed = dict.fromkeys(flags, True) | dict.fromkeys(off, False)
        group.add_argument(*flags, *off, nargs=0, fixed=fixed, **common)
        return
    metavar = option.metavar or setting.name.upper()
    nargs = "?" if option.bare is not None else None
    group.add_argument(*flags, nargs=nargs, metavar=metavar, **common)


def layer_of_flags(given: Iterable[Occurrence]) -> tuple[dict[Path, Given], list[str]]:
    """The layer that the flags make, and warnings about single-valued ones that were given twice (the last one wins).

    :raises ConfigurationError: naming a compound flag whose text is malformed.
    """
    layer: dict[Path, Given] = {}
    warnings: list[str] = []
    for item in given:
        if isinstance(item.target, CompoundFlag):
            values = _expand(item, item.target)
            if any(path in layer for path in values):
                warnings.append(_twice(item.flag, layer, values))
            layer.update(values)
            continue
        setting = item.target
        before = layer.get(setting.path)
        value = setting.from_text(item.value) if item.is_text else item.value
        if setting.is_collection and isinstance(value, str):
            value = [value]
        if before is not None and setting.is_collection:
            value = [*before.value, *value]
        elif before is not None:
            warnings.append(_twice(item.flag, layer, (setting.path,)))
        layer[setting.path] = Given(value, item.flag, is_text=True)
    return layer, warnings


def _expand(item: Occurrence, compound: CompoundFlag) -> dict[Path, Given]:
    try:
        values = compound.expand(item.value)
    except ValueError as error:
        raise ConfigurationError(f"{item.flag}: {error}") from None
    start: Path = () if item.plugin is None else (section_name(item.plugin),)
    return {(*start, name): Given(value, item.flag) for name, value in values.items()}


def _twice(flag: str, layer: dict[Path, Given], paths: Iterable[Path]) -> str:
    others = {layer[path].origin for path in paths if path in layer}
    if others == {flag}:
        return f"{flag} is given twice, the last one wins"
    return f"{flag} comes after {', '.join(sorted(others))} and wins"
