"""One run of the command: from arguments, environment and configuration file to plugins and settings."""

import argparse
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from neosocksd_core import configuration, flags
from neosocksd_core.errors import ConfigurationError
from neosocksd_core.files import read_configuration
from neosocksd_core.plugins import Plugins
from neosocksd_core.selection import (
    SELECTION_KEYS,
    SELECTION_VARIABLES,
    Selection,
    environment_selection,
    key_origin,
    override,
    require_installed,
    select,
    selection,
)
from neosocksd_core.settings import Settings

COMMANDS = ("plugins", "schema", "check", "completion")
"""The core's own subcommands."""

_NO_FILE = ("-h", "--help", "--version")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force, and warnings about how they came to be."""

    settings: Settings
    warnings: tuple[str, ...]

    def print_warnings(self) -> None:
        """Show them on standard error: there is no log where nothing is served."""
        for warning in self.warnings:
            print(f"neosocksd: warning: {warning}", file=sys.stderr)


class Invocation:
    """What the command was called with. After the construction the plugins are chosen, and ``arguments`` and ``rest`` known.

    :raises ConfigurationError: for a configuration file that cannot be read.
    :raises PluginError: for a plugin that is unknown, or cannot be loaded.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._argv = argv
        self._environ = environ
        self._values: Mapping[str, Any] = {}
        self._origins: Mapping[str, str] = {}
        """What the user calls each value that was given, by its key."""
        self.plugins = Plugins()
        self._parse()
        self._choose_plugins()

    @cached_property
    def path(self) -> Path | None:
        """The configuration file."""
        names = [self._environ.get("NEOSOCKSD_CONFIG", ""), *self.arguments.config]
        return Path(names[-1]) if names[-1] else None

    def configure(self) -> Configuration:
        """Merge and validate: the file, over it the environment, over it the flags.

        A file of a plugin's own format has the last word instead: it is a program that knows what it wants, and what is
        unknown in it is only warned of.

        :raises ConfigurationError: naming what is wrong.
        """
        environment, unknown = configuration.environment_layer(self.plugins.schema, self._environ)
        given, twice = flags.layer_of_flags(self.arguments.given)
        strange: list[str] = []
        if self.path is None or self.path.suffix == ".toml":
            file = configuration.layer_of(self.plugins, self._values, str(self.path))
            layers = (file, environment, given)
        else:
            file = configuration.layer_of(self.plugins, self._values, str(self.path), strange)
            layers = (environment, given, file)
        origins: dict[str, str] = {}
        for layer in layers:
            configuration.want_configured(self.plugins, layer)
            strange += configuration.warnings_about_disabled(self.plugins, layer)
            for path, item in layer.items():
                name = self.plugins.schema.by_path[path].option.flat or path[-1]
                origins[name] = origins[".".join(path)] = item.origin
        if len(self.arguments.config) > 1:
            twice.append("--config is given twice, the last one wins")
        self._origins = origins
        settings = configuration.merge(self.plugins, layers)
        odd = configuration.warnings_about(settings)
        return Configuration(settings, (*unknown, *strange, *twice, *odd))

    @contextmanager
    def locating(self) -> Generator[None]:
        """Errors that name a key, found while a server takes its settings, say where the user gave it.

        :raises ConfigurationError: in place of one from inside.
        """
        try:
            yield
        except ConfigurationError as error:
            key, colon, rest = str(error).partition(":")
            origin = self._origins.get(key)
            if not origin or not colon:
                raise
            raise ConfigurationError(f"{origin}:{rest}") from None

    def reread(self) -> Configuration:
        """As :meth:`configure`, with the file as it is now. The plugins stay those of the start; where the file asks for others, a
        warning says so.

        :raises ConfigurationError: naming what is wrong.
        """
        self._values = self._read()
        chosen = self._selection_of_file()
        fresh = self.configure()
        if chosen == self._selection:
            return fresh
        changed = "the choice of plugins has changed, which takes effect after a restart"
        return Configuration(fresh.settings, (*fresh.warnings, changed))

    def _parse(self) -> None:
        """Take the flags out of the arguments, wherever they stand; what is left is the subcommand and its own."""
        parser = flags.new_parser(add_help=False)
        add_common_flags(parser, self.plugins)
        self.arguments = flags.Arguments()
        _, self.rest = parser.parse_known_args(self._separated(), self.arguments)

    def _separated(self) -> list[str]:
        """The arguments, where a flag whose value may be left out takes no subcommand for it: ``--http= check``."""
        bare = {
            f for s in self.plugins.schema.settings if s.option.bare is not None for f in s.flags
        }
        pairs = list(zip(self._argv, [*self._argv[1:], ""], strict=False))
        if not any(word in bare and not following.startswith("-") for word, following in pairs):
            return list(self._argv)
        commands = flags.new_parser().add_subparsers()
        self.plugins.register_commands(commands)
        names = {*COMMANDS, *commands.choices}
        return [f"{word}=" if word in bare and after in names else word for word, after in pairs]

    def _choose_plugins(self) -> None:
        named = Selection(tuple(self.arguments.plugin), tuple(self.arguments.no_plugin))
        in_environment = environment_selection(self._environ)
        require_installed(self.plugins, named, "--plugin", "--no-plugin")
        require_installed(self.plugins, in_environment, *SELECTION_VARIABLES[1:])
        named = override(in_environment, named)
        before = self.plugins.schema
        if not any(word in _NO_FILE for word in self.rest):
            if self.path is not None and self.path.suffix != ".toml":
                select(self.plugins, named)  # one of them may know the format
            self._values = self._read()
        self._selection = self._selection_of_file()
        select(self.plugins, override(self._selection, named))
        if self.plugins.schema is not before:
            self._parse()

    def _selection_of_file(self) -> Selection:
        chosen = selection(self._values, str(self.path), self.path and self.path.parent)
        keys = (key_origin(str(self.path), key) for key in SELECTION_KEYS)
        require_installed(self.plugins, chosen, *keys)
        return chosen

    def _read(self) -> Mapping[str, Any]:
        return {} if self.path is None else read_configuration(self.path, self.plugins)


def add_common_flags(parser: argparse.ArgumentParser, plugins: Plugins) -> None:
    """Add the flags of the command itself and those of the settings."""
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "-c",
        "--config",
        action="append",
        metavar="FILE",
        help="read the configuration from this file",
    )
    group.add_argument(
        "--plugin",
        action="append",
        metavar="NAME",
        help="enable an installed plugin, or load one from a file (./NAME.py); may be repeated",
    )
    group.add_argument(
        "--no-plugin", action="append", metavar="NAME", help="leave a plugin out; may be repeated"
    )
    flags.add_flags(parser, plugins.schema)
