"""Users and their hashed passwords, from the configuration or a file; and the command that makes the hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neosocksd_core import hookimpl

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from neosocksd_core import Authenticator, Commands, Section, ServerContext
    from neosocksd_core.services import Service
    from neosocksd_static_auth.authenticator import StaticAuthenticator


class StaticAuth:
    """The plugin. It is a class, and so one object a server: the authenticator that a reload gives new users to."""

    def __init__(self) -> None:
        self._authenticator: StaticAuthenticator | None = None

    @hookimpl
    def config_model(self) -> type[Section]:
        from neosocksd_static_auth.config import StaticAuthSettings

        return StaticAuthSettings

    @hookimpl
    def register_commands(self, commands: Commands) -> None:
        parser = commands.add_parser(
            "hash-password",
            help="hash a password for [static_auth]",
            description="Hash a password for the setting [static_auth.users] or the file users_file."
            " It is asked for on a terminal, else read from the first line of standard input.",
        )
        # Not an option `--user`: that is the core's, whose flags may stand behind a subcommand too.
        parser.add_argument(
            "name", metavar="NAME", nargs="?", help="print NAME:HASH, for users_file"
        )
        parser.set_defaults(run=_hash_password)

    @hookimpl
    def create_authenticator(self, server: ServerContext) -> Authenticator | None:
        from neosocksd_static_auth.authenticator import StaticAuthenticator
        from neosocksd_static_auth.config import StaticAuthSettings
        from neosocksd_static_auth.users import load_users

        settings = server.section(StaticAuthSettings)
        if settings.users or settings.users_file:
            self._authenticator = StaticAuthenticator(load_users(settings))
        return self._authenticator

    @hookimpl
    def register_services(self) -> Sequence[Service]:
        from neosocksd_core.services import Service

        return [Service("static_auth", self._wait_for_stop)]

    @hookimpl
    def reload(self, server: ServerContext) -> None:
        from neosocksd_static_auth.config import StaticAuthSettings
        from neosocksd_static_auth.users import load_users

        if self._authenticator is not None:
            self._authenticator.replace_users(load_users(server.section(StaticAuthSettings)))

    async def _wait_for_stop(self) -> None:
        import anyio

        try:
            await anyio.sleep_forever()
        finally:
            if self._authenticator is not None:
                self._authenticator.give_up()


def _hash_password(arguments: argparse.Namespace) -> int:
    from neosocksd_static_auth.command import hash_password

    return hash_password(arguments.name)
