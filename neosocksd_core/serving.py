"""Serving as the command does: bind, become a daemon, drop privileges, and run until a signal says stop.

SIGHUP re-reads the configuration. SIGINT and SIGTERM stop in good order; a second one does not wait for the sessions, and a
third ends the process as it does any other.
"""

import gc
import importlib.util
import os
import signal
from functools import partial
from logging import Logger
from typing import Any

from neosocksd_core import log, process
from neosocksd_core.activation import take_sockets
from neosocksd_core.errors import ConfigurationError, NeosocksdError
from neosocksd_core.invocation import Configuration, Invocation
from neosocksd_core.server import Server
from neosocksd_core.settings import Settings

_IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals without a meaning here, whose default would be to kill."""

_COLLECTOR_THRESHOLDS = (50_000, 20, 20)


def serve(invocation: Invocation) -> int:
    """Serve until a signal or a plugin stops the server; returns the exit status.

    :raises ConfigurationError: for settings that cannot be used.
    :raises NeosocksdError: where the start fails, as by an address in use.
    """
    import anyio

    configuration = invocation.configure()
    settings = configuration.settings
    status = invocation.plugins.before_serving(settings)
    if status is not None:
        configuration.print_warnings()
        return status
    with invocation.locating(), log.kept() as early:
        backend, options = loop_options(settings.loop)
        identity = parse_user(settings)
        server = Server(settings, plugins=invocation.plugins, reread=partial(reread, invocation))
    process.raise_descriptor_limit()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # Until the loop runs and has handlers of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: server.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.bind(take_sockets(os.environ, server.listen_addresses))
    try:
        if settings.daemonize:
            process.daemonize()
        destination = log_destination(settings)
        with log.start(destination, settings.log_format, settings.loglevel, early) as logger:
            warn(configuration, logger)
            try:
                # What stands now stays to the end: the collector need not look at it again and again.
                gc.freeze()
                # A session leaves no cycles behind, so it need not come often either.
                gc.set_threshold(*_COLLECTOR_THRESHOLDS)
                gc.enable()
                anyio.run(
                    _run,
                    server,
                    invocation,
                    identity,
                    logger,
                    backend=backend,
                    backend_options=options,
                )
            except NeosocksdError as error:
                if settings.daemonize:  # its standard error is gone
                    logger.critical("%s", error)
                raise
    finally:
        server.close()
    return server.exit_status


def loop_options(loop: str) -> tuple[str, dict[str, Any]]:
    """The backend and its options, as :func:`anyio.run` takes them, for the setting ``loop``.

    :raises ConfigurationError: if that loop is not installed.
    """
    from neosocksd_core.loops import backend_options

    if loop not in ("auto", "asyncio") and not importlib.util.find_spec(loop):
        raise ConfigurationError(f"loop: {loop} is not installed")
    return backend_options(loop)


def parse_user(settings: Settings) -> process.Identity | None:
    """Whom to become, if anybody.

    :raises ConfigurationError: if there is no such user or group.
    """
    return process.parse_identity(settings.user_name) if settings.user_name else None


def log_destination(settings: Settings) -> log.Destination:
    """Where the log goes: a daemon has no standard output, so there it is syslog."""
    if settings.daemonize and settings.log != "discard":
        return "syslog"
    return settings.log


def warn(configuration: Configuration, logger: Logger) -> None:
    """Log what was found odd about the configuration."""
    for warning in configuration.warnings:
        logger.warning("%s", warning)


async def _run(
    server: Server, invocation: Invocation, identity: process.Identity | None, logger: Logger
) -> None:
    import anyio

    # Not before the loop is there: whom we become may not be able to read the modules that it is made of.
    if identity is not None:
        if identity.uid is not None and os.geteuid() == 0:
            server.give_sockets_to(identity.uid)
        process.drop_privileges(identity)

    failure: NeosocksdError | None = None
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with anyio.create_task_group() as tasks:

            async def obey() -> None:
                stops = 0
                async for number in signals:
                    if number == signal.SIGHUP:
                        reload(server)
                        continue
                    stops += 1
                    if stops > 1:
                        tasks.cancel_scope.cancel()
                        return
                    logger.log(log.NOTICE, "%s, stopping", signal.Signals(number).name)
                    server.stop()

            tasks.start_soon(obey)
            try:
                await server.run()
            except NeosocksdError as error:  # raised below, or it would come in an exception group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure


def reload(server: Server) -> None:
    """Read the configuration again and put it into force; if it cannot be used, log that and keep the old one."""
    try:
        server.reread()
    except NeosocksdError as error:
        server.log.error("not reloaded: %s", error)
    except Exception:  # of a plugin: the sessions must not suffer from it
        server.log.exception("not reloaded")
    else:
        server.log.log(log.NOTICE, "reloaded")


def reread(invocation: Invocation, server: Server) -> None:
    """Put the settings into force as they are now; then the log follows them.

    :raises NeosocksdError: naming what is wrong, and where it stands.
    """
    configuration = invocation.reread()
    with invocation.locating():
        server.reload(configuration.settings)
    server.log.setLevel(log.LEVELS[configuration.settings.loglevel])
    warn(configuration, server.log)
