"""The subcommands ``plugins``, ``schema``, ``check`` and ``completion``, and the parser with those of the plugins."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from neosocksd_core.errors import ConfigurationError, PluginError
from neosocksd_core.flags import Arguments, Record, new_parser
from neosocksd_core.invocation import Invocation, add_common_flags

_DESCRIPTION = "A proxy server made of plugins. Without a command it serves."
_FLAGS_APPLY = "The flags of neosocksd --help, as --config, may be given here too."
_SHELLS = ("bash", "zsh", "fish")

_NOUNS = {
    "config_model": "settings",
    "load_config": "configuration format",
    "register_commands": "commands",
    "create_resolver": "resolver",
    "create_authenticator": "authenticator",
    "create_router": "router",
    "register_observers": "observers",
    "register_endpoints": "endpoints",
    "register_services": "services",
    "report_stats": "statistics",
    "report_metrics": "metrics",
    "check_health": "health check",
}
"""What a person calls the outcome of a hook; frontends and URI schemes are listed by their names."""


class _Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"neosocksd {version('neosocksd')}", flush=True)
        parser.exit()


def build_parser(invocation: Invocation) -> argparse.ArgumentParser:
    """The whole command line, for what is left of the arguments once the flags were taken out, for help, and for completion.

    :raises PluginError: when a plugin fails to add its subcommands, or adds one that cannot work.
    """
    parser = new_parser(
        usage="neosocksd [OPTION]... [COMMAND]",
        description=_DESCRIPTION,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", prog="neosocksd", dest="chosen_command"
    )

    def add(name: str, summary: str, run: Callable[[Arguments], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary, epilog=_FLAGS_APPLY)
        command.set_defaults(run=run)
        return command

    add("plugins", "list the plugins", lambda _: list_plugins(invocation))
    add("schema", "print the JSON schema of the configuration", lambda _: print_schema(invocation))
    add("check", "validate the configuration without listening", lambda _: check(invocation))
    completion = add(
        "completion",
        "print a completion script for a shell",
        lambda arguments: print_completion(parser, str(getattr(arguments, "shell", ""))),
    )
    completion.add_argument("shell", choices=_SHELLS)
    invocation.plugins.register_commands(commands)
    add_common_flags(parser, invocation.plugins)
    _check_commands(parser, commands.choices)
    return parser


def _check_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]
) -> None:
    """Refuse a subcommand's flag that never comes to it: those of the settings are taken out of the arguments first."""
    own = _flags_of(parser) - {"-h", "--help", "--version"}
    for name, command in commands.items():
        for flag in sorted(own & _flags_of(command)):
            raise PluginError(
                f"the command {name!r} cannot have the flag {flag}, it is a setting's"
            )


def _flags_of(parser: argparse.ArgumentParser) -> set[str]:
    actions = parser._actions  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return {flag for action in actions for flag in action.option_strings}


def check_flags(invocation: Invocation, parser: argparse.ArgumentParser) -> None:
    """Refuse an unknown flag by its name, before argparse takes what follows it for a subcommand.

    :raises ConfigurationError: naming it.
    """
    first = invocation.rest[0] if invocation.rest else ""
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        import difflib  # here, since every start would pay for it

        name = first.partition("=")[0]
        near = difflib.get_close_matches(name, sorted(_flags_of(parser)), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigurationError(f"there is no flag {name}{hint}")


def list_plugins(invocation: Invocation) -> int:
    """Print a line for each plugin: whether it is enabled, its version and origin, and what it provides."""
    from neosocksd_core.server import Server

    settings = invocation.configure().settings
    with invocation.locating():
        server = Server(settings, plugins=invocation.plugins)
    provided = invocation.plugins.provides(server)
    rows = [("NAME", "STATE", "VERSION", "ORIGIN", "PROVIDES")]
    for plugin in invocation.plugins.describe():
        state = "enabled" if plugin.enabled else "off"
        things = [*provided.get(plugin.name, ())]
        things += [_NOUNS[hook] for hook in plugin.hooks if hook in _NOUNS]
        rows.append((plugin.name, state, plugin.version or "-", plugin.origin, ", ".join(things)))
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
    return 0


def print_schema(invocation: Invocation) -> int:
    """Print the JSON schema of the whole configuration file."""
    import json

    schema: dict[str, Any] = invocation.plugins.schema.model.model_json_schema()
    print(json.dumps(schema, indent=2))
    return 0


def check(invocation: Invocation) -> int:
    """Validate the configuration, and put a server together without listening.

    Warnings go to standard error and do not change the exit status.
    """
    from neosocksd_core import log
    from neosocksd_core.server import Server
    from neosocksd_core.serving import loop_options, parse_user

    configuration = invocation.configure()
    configuration.print_warnings()
    with invocation.locating(), log.kept() as logged:
        loop_options(configuration.settings.loop)
        parse_user(configuration.settings)
        Server(configuration.settings, plugins=invocation.plugins)
    for record in logged:
        print(f"neosocksd: warning: {record.getMessage()}", file=sys.stderr)
    print("the configuration is good")
    return 0


def print_completion(parser: argparse.ArgumentParser, shell: str) -> int:
    """Print a completion script, to be read by the shell or to be put where it looks for such."""
    import shtab

    for action in parser._actions:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if action.metavar == "FILE":
            setattr(action, "complete", shtab.FILE)  # noqa: B010
        elif isinstance(action, Record) and action.values:
            action.choices = action.values
    print(shtab.complete(parser, shell=shell))
    return 0
