"""The server: composes the stages, and starts, reloads and stops them.

::

    settings ─▶ bind (synchronous) ─▶ event loop ─▶ services ─▶ accept … stop ─▶ drain ─▶ close

One program may hold several servers; they share nothing.
"""

import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from socket import AddressFamily
from types import TracebackType
from typing import Any, Self, TypeVar

from neosocksd_core import configuration
from neosocksd_core.addresses import Chain, SocketAddress, parse_chain
from neosocksd_core.composition import compose
from neosocksd_core.dial import SERVER, Dialling
from neosocksd_core.endpoints import Endpoint, answering
from neosocksd_core.errors import ConfigurationError, ListenError, NeosocksdError
from neosocksd_core.listening import BoundSockets, close_listeners
from neosocksd_core.log import NOTICE
from neosocksd_core.loops import open_reactor
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.plugin_info import PluginInfo
from neosocksd_core.plugins import Plugins
from neosocksd_core.policy import Policy
from neosocksd_core.protocols import Authenticator, Resolver, Router
from neosocksd_core.reactor import Reactor
from neosocksd_core.requests import Forward, SessionInfo, Upstream
from neosocksd_core.resolver import Names, SystemResolver
from neosocksd_core.runtime import NotRunningError, Runtime
from neosocksd_core.services import ControlListener
from neosocksd_core.settings import Section, Settings
from neosocksd_core.statistics import Counters, Statistics

SectionT = TypeVar("SectionT", bound=Section)

_FAMILIES = {0: AddressFamily.AF_UNSPEC, 2: AddressFamily.AF_INET, 10: AddressFamily.AF_INET6}

RESTART_FIELDS = ("pipe", "user_name", "daemonize", "log", "log_format", "loop", "resolve_pf")
"""Fields that a reload cannot change; so it is with the options of sockets that are bound already."""


class Server:
    """A proxy server, in whichever event loop it is run.

    ::

        async with Server({"listen": "127.0.0.1:0"}, plugins=["socks5"], router=MyRouter()) as server:
            print(server.addresses)
            await server.wait_stopped()
    """

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] = Settings(),  # noqa: B008
        *,
        plugins: Plugins | Iterable[object] = (),
        router: Router | None = None,
        authenticator: Authenticator | None = None,
        resolver: Resolver | None = None,
        log: logging.Logger | None = None,
        reread: Callable[["Server"], None] | None = None,
    ) -> None:
        """Put a server together; nothing is opened yet.

        *settings* are the core's and, under their plugins' names, those of the plugins; a mapping has the shape of the configuration
        file. *plugins* are names, modules or objects beside the default ones. *router*, *authenticator* and *resolver* come
        before those of plugins. *reread* gets the settings again from where they came from and calls :meth:`reload`; it is for :meth:`reread`.

        :raises ConfigurationError: for settings that cannot be used.
        :raises PluginError: for a plugin that cannot.
        :raises TypeError: for a router, an authenticator or a resolver that is none.
        """
        _require_method("router", router, "route")
        _require_method("authenticator", authenticator, "authenticate")
        _require_method("resolver", resolver, "resolve")
        self._settings, self._plugins = configuration.configure(settings, plugins)
        self._reread = reread
        self.log = log or logging.getLogger("neosocksd")
        self.exit_status = 0
        """What the command that runs the server should end with."""
        self._counters = Counters()
        self._bound = BoundSockets()
        self._runtime: Runtime | None = None
        self._context: AbstractAsyncContextManager[None] | None = None
        self._is_stopping = False
        self._drain: float | None = None
        self._router = router
        self._composition = compose(self, self._plugins)
        # Objects of an embedder may be false, as a router that is a mapping without entries yet.
        self._router = self._plugins.create_router(self) if router is None else router
        if authenticator is None:
            authenticator = self._plugins.create_authenticator(self)
        self._authenticator = authenticator
        self._resolver = self._plugins.create_resolver(self) if resolver is None else resolver
        self._plugins.check_settings(self)
        self._require_judge(self._authenticator)
        self._observers = self._plugins.observers(self)

    def _require_judge(self, authenticator: Authenticator | None) -> None:
        if self._settings.auth_required and self._router is None and authenticator is None:
            raise ConfigurationError(
                "auth_required: nobody can judge credentials; configure users (static_auth) or a ruleset"
            )

    # What plugins and embedders may ask.

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def listen_addresses(self) -> Sequence[str]:
        """Where the server listens, or will, as the settings write it: the keys of the sockets that :meth:`bind` takes."""
        return [place.address for place in self._composition.places]

    @property
    def counters(self) -> Counters:
        """The live counters; :meth:`statistics` gives a snapshot with the bytes of living sessions."""
        return self._counters

    @property
    def plugins(self) -> Plugins:
        return self._plugins

    @property
    def chain(self) -> Chain:
        """The chain that comes before every other (setting ``proxy``)."""
        return self._composition.chain

    @property
    def has_router(self) -> bool:
        """Whether anybody decides where requests go."""
        return self._router is not None

    @property
    def addresses(self) -> list[SocketAddress]:
        """Where the server listens; empty before :meth:`bind`."""
        return self._bound.addresses()

    def addresses_of(self, frontend: str) -> list[SocketAddress]:
        """Where the frontend of that name listens, as ``socks``, ``http``, ``forward`` or ``shared``."""
        places = [place for place in self._composition.places if place.frontend.name == frontend]
        return [sock.getsockname() for place in places for sock in self._bound.at(place)]

    def section(self, model: type[SectionT]) -> SectionT:
        """A plugin's own settings, by their model."""
        return configuration.section(self._settings, model)

    def parse_chain(self, text: str) -> Chain:
        """Parse ``URI[,URI…]`` with the schemes of the dialers.

        :raises AddressError: for a malformed URI or an unknown scheme.
        """
        return parse_chain(text, self._composition.default_ports)

    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        runtime = self._runtime
        return runtime.pipeline.statistics() if runtime else self._counters.snapshot()

    def sessions(self) -> list[SessionInfo]:
        """A snapshot of the session table."""
        runtime = self._runtime
        return [session.info() for session in runtime.pipeline.table] if runtime else []

    def session_counts(self) -> Mapping[int, tuple[int, int]]:
        """Bytes up and down of each session, by its id: for who looks often, since it costs less than :meth:`sessions`."""
        runtime = self._runtime
        table = runtime.pipeline.table if runtime else ()
        return {session.id: session.counts() for session in table}

    def close_session(self, session_id: int) -> bool:
        """Reset one session; False if there is none of that id."""
        session = self._runtime.pipeline.table.get(session_id) if self._runtime else None
        if session is None:
            return False
        session.abort("closed by request")
        return True

    def endpoints(self) -> Mapping[str, Endpoint]:
        """The control calls that the plugins offer, by path. One that fails is logged, with its plugin's name, and answers status 500."""
        found = self._plugins.endpoints(self)
        return {path: self._answering(path, endpoint) for path, endpoint in found.items()}

    def _answering(self, path: str, endpoint: Endpoint) -> Endpoint:
        # Whose it is is known now only: whoever asks next gets new ones.
        where = f"plugin {self._plugins.giver_of(endpoint)}: endpoint {path}"
        return answering(endpoint, partial(self._report, where=where))

    def report_stats(self, interval: float, query: str) -> Sequence[str]:
        """The plugins' texts for a statistics page."""
        return self._plugins.report_stats(self, interval, query)

    def report_runtime(self) -> Sequence[str]:
        """The plugins' texts about their own machinery."""
        return self._plugins.report_runtime(self)

    def plugin_list(self) -> Sequence[PluginInfo]:
        """All known plugins, enabled or not."""
        return self._plugins.describe()

    def report_metrics(self) -> Sequence[str]:
        """The plugins' metrics, in Prometheus' text format."""
        return self._plugins.report_metrics(self)

    def check_health(self) -> Sequence[str]:
        """A line for each thing that is wrong; empty while all is well."""
        return self._plugins.check_health(self)

    async def dial(self, forward: Forward) -> Upstream:
        """Connect on the server's own behalf: no guard, no block list; the chain of the settings comes first.

        :raises DialError: when that fails or takes longer than ``dial_timeout``.
        :raises NotRunningError: while the server does not run.
        """
        prefixed = Forward(forward.address, self.chain + forward.chain)
        return await self._running().pipeline.dialling.dial(prefixed, SERVER)

    async def lookup(self, host: str) -> Sequence[str]:
        """Resolve a name by the server's resolver and cache.

        :raises DialError: with reason NAME_NOT_RESOLVED.
        :raises NotRunningError: while the server does not run.
        """
        return await self._running().names.resolve(host)

    # Life cycle.

    def bind(self, ready: Mapping[str, socket.socket] | None = None) -> None:
        """Open the listening sockets, before any event loop runs. Called by :meth:`run` if nobody has.

        *ready* are sockets that listen already, by the address that the settings have for them: handed over by a supervisor, say, or by the
        process that this one replaces. They are the server's from then on, which closes them when it stops.

        :raises ListenError: naming the address; then none is left open, but for *ready* sockets that do not fit.
        """
        self._bound.adopt(self._composition.places, ready or {})
        try:
            self._bound.rebind(self._composition.places, self._settings)
        except ListenError:
            self._bound.close()
            raise

    def give_sockets_to(self, uid: int) -> None:
        """Make *uid* the owner of the listening sockets, before the process becomes that user.

        :raises OSError: where the system refuses that.
        """
        self._bound.give_to(uid)

    def close(self) -> None:
        """Close the listening sockets of a server that was bound and never ran."""
        self._bound.close()

    async def run(self) -> None:
        """Serve until :meth:`stop`.

        :raises ListenError: if it was not bound yet and cannot be.
        """
        async with self:
            await self.wait_stopped()

    async def wait_stopped(self) -> None:
        """Wait until somebody asks for a stop.

        :raises NotRunningError: while the server does not run.
        """
        await self._running().stop_requested.wait()

    def stop(self, exit_status: int = 0, *, drain: float | None = None) -> None:
        """Begin an orderly stop: no new sessions, *drain* seconds for the others (the setting's, if None).

        A second call ends a drain that is under way.
        """
        if self._is_stopping:
            self._drain = 0.0
            if self._runtime is not None:
                self._runtime.end_drain()
            return
        self._is_stopping = True
        self._drain = drain
        self.exit_status = exit_status
        if self._runtime is not None:
            self._runtime.stop_requested.set()

    def reload(self, settings: Settings | Mapping[str, Any]) -> None:
        """Replace the settings: listeners come and go, sessions stay, plugins are told.

        :raises NeosocksdError: if the new ones cannot be used; then the old ones stay in force.
        """
        if self._is_stopping:
            raise NeosocksdError("the server is stopping")
        fresh = configuration.build_settings(self._plugins, settings)
        old = self._settings
        before = self._composition
        self._settings = fresh
        names = self._bound.names()
        try:
            # Whoever is asked from here on is told of the new chain, as of the new settings.
            self._composition = composition = compose(self, self._plugins)
            authenticator = self._authenticator
            if authenticator is None:
                authenticator = self._plugins.create_authenticator(self)
            self._plugins.check_settings(self)
            self._require_judge(authenticator)
            try:
                self._plugins.reload(self)
                self._bound.rebind(composition.places, fresh)
                guarded = self._plugins.guarded_addresses(self) if self._runtime else []
            except Exception as error:
                self._settings = old
                self._composition = before
                close_listeners(self._bound.release(before.places))
                self._plugins.reload_again(self, error)
                raise
        except Exception:
            self._settings = old
            self._composition = before
            raise
        gone = self._bound.release(composition.places)
        for field in RESTART_FIELDS:
            if getattr(fresh, field) != getattr(old, field):
                self.log.warning("%s has changed, which takes effect after a restart", field)
        self._authenticator = authenticator
        runtime = self._runtime
        if runtime is not None:
            runtime.listen(composition.places, self._bound)
            if self._bound.names() != names:
                self._log_listeners()
            dialling = self._make_dialling(runtime.reactor, runtime.names, guarded)
            runtime.pipeline.configure(fresh, dialling, composition.chain, authenticator)
        close_listeners(gone)

    def reread(self) -> None:
        """Read the settings again from where they came from, and put them into force, as SIGHUP does.

        :raises NeosocksdError: if they cannot be used, and then the old ones stay; or if the program that made the server did not say where from.
        """
        if self._reread is None:
            raise ConfigurationError("there is no configuration to read again")
        self._reread(self)

    async def __aenter__(self) -> Self:
        if self._context is not None:
            raise RuntimeError("the server runs already")
        context = self._run()
        await context.__aenter__()
        self._context = context
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        context, self._context = self._context, None
        if context is not None:
            await context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        self.bind()
        try:
            async with open_reactor() as reactor:
                system = SystemResolver(reactor)
                runtime = self._runtime = self._start(
                    reactor, system if self._resolver is None else self._resolver
                )
                try:
                    yield
                    self._is_stopping = True
                    runtime.stop_listening()
                    self._bound.close()
                    await runtime.drain(
                        self._settings.drain if self._drain is None else self._drain
                    )
                finally:
                    self._runtime = None
                    self._is_stopping = False
                    self._drain = None
                    runtime.close()
                    system.close()
        finally:
            self._bound.close()

    def _start(self, reactor: Reactor, resolver: Resolver) -> Runtime:
        settings = self._settings
        family = _FAMILIES[settings.resolve_pf]
        names = Names(reactor, resolver, family, self._counters, self._report)
        pipeline = Pipeline(
            reactor,
            settings,
            self.log,
            self._counters,
            self._make_dialling(reactor, names, self._plugins.guarded_addresses(self)),
            self.chain,
            self._router,
            self._authenticator,
            self._observers,
            self._plugins.giver_of,
        )
        runtime = Runtime(reactor, names, pipeline, self.log)
        if self._is_stopping:
            runtime.stop_requested.set()
        runtime.start_services(self._plugins.services(self))
        runtime.listen(self._composition.places, self._bound)
        self._log_listeners()
        return runtime

    def _log_listeners(self) -> None:
        self.log.log(NOTICE, "listening on %s", ", ".join(self._bound.names()))

    def _make_dialling(
        self, reactor: Reactor, names: Names, guarded: Sequence[SocketAddress]
    ) -> Dialling:
        """*guarded* is what the plugins want guarded beside the listeners."""
        guarded = [*self._guarded_listeners(), *guarded]
        return Dialling(
            reactor,
            self._settings,
            self._composition.dialers,
            names,
            Policy(self._settings, guarded),
            self._counters,
            self._report,
        )

    def _guarded_listeners(self) -> Iterator[SocketAddress]:
        reachable = [
            sock.getsockname()
            for place in self._composition.places
            if isinstance(place.frontend, ControlListener) and not place.frontend.guarded
            for sock in self._bound.at(place)
        ]
        return (address for address in self.addresses if address not in reachable)

    def _running(self) -> Runtime:
        if self._runtime is None:
            raise NotRunningError("the server is not running")
        return self._runtime

    def _report(self, error: BaseException, where: str, culprit: object = None) -> None:
        if self._runtime is not None:
            self._runtime.pipeline.report(error, where, culprit)


def _require_method(argument: str, value: object, method: str) -> None:
    """Refuse at once what would fail at each connection: a function, say, or a class instead of an object of it."""
    if value is not None and (
        isinstance(value, type) or not callable(getattr(value, method, None))
    ):
        kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{argument} is {kind}, expected an object with a method {method}()")
