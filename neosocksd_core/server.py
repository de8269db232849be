"""The server: composes the stages, and starts, reloads and stops them.

::

    settings ─▶ bind (synchronous) ─▶ event loop ─▶ services ─▶ accept … stop ─▶ drain ─▶ close

One program may hold several servers; they share nothing.
"""

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from socket import AddressFamily
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio

from neosocksd_core import configuration
from neosocksd_core.addresses import AddressError, Chain, SocketAddress, parse_chain
from neosocksd_core.dial import SERVER, Dialling
from neosocksd_core.errors import ConfigurationError
from neosocksd_core.listener import Listener
from neosocksd_core.listening import BoundSockets, Place, plan
from neosocksd_core.log import escape
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.plugins import Plugins
from neosocksd_core.policy import Policy
from neosocksd_core.protocols import Authenticator, Dialer, Resolver, Router
from neosocksd_core.reactor import Reactor, open_reactor
from neosocksd_core.requests import Forward, SessionInfo, Upstream
from neosocksd_core.resolver import Names, SystemResolver
from neosocksd_core.services import Service
from neosocksd_core.settings import Section, Settings
from neosocksd_core.statistics import Counters, Statistics

SectionT = TypeVar("SectionT", bound=Section)

_FAMILIES = {0: AddressFamily.AF_UNSPEC, 2: AddressFamily.AF_INET, 10: AddressFamily.AF_INET6}

RESTART_FIELDS = ("pipe", "user_name", "daemonize", "log", "log_format", "loop", "resolve_pf")
"""Fields that a reload cannot change; so it is with the options of sockets that are bound already."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What is derived from the settings, and anew at each reload."""

    dialers: Mapping[str, Dialer]
    default_ports: Mapping[str, int]
    chain: Chain
    places: Sequence[Place]


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
    ) -> None:
        """Put a server together; nothing is opened yet.

        *settings* are the core's and, under their plugins' names, those of the plugins; a mapping has the shape of the configuration
        file. *plugins* are names, modules or objects beside the default ones. *router*, *authenticator* and *resolver* come
        before those of plugins.

        :raises ConfigurationError: for settings that cannot be used.
        :raises PluginError: for a plugin that cannot.
        """
        self._settings, self._plugins = configuration.configure(settings, plugins)
        self.log = log or logging.getLogger("neosocksd")
        self.exit_status = 0
        """What the command that runs the server should end with."""
        self._counters = Counters()
        self._bound = BoundSockets()
        self._listeners: dict[int, Listener] = {}
        self._pipeline: Pipeline | None = None
        self._names: Names | None = None
        self._stop_requested: anyio.Event | None = None
        self._is_stopping = False
        self._drain: float | None = None
        self._drain_scope: anyio.CancelScope | None = None
        self._running: AbstractAsyncContextManager[None] | None = None
        self._composition = self._compose()
        self._router = router or self._plugins.create_router(self)
        self._authenticator = authenticator or self._plugins.create_authenticator(self)
        self._resolver = resolver or self._plugins.create_resolver(self)
        self._observers = self._plugins.observers(self)
        if self._settings.auth_required and self._router is None and self._authenticator is None:
            raise ConfigurationError(
                "auth_required: nobody can judge credentials; configure users (static_auth) or a ruleset"
            )

    def _compose(self) -> Composition:
        """Derive from the settings what is derived anew at each reload."""
        dialers = self._plugins.dialers(self)
        ports = {scheme: dialer.default_port for scheme, dialer in dialers.items()}
        try:
            chain = parse_chain(self._settings.proxy, ports)
        except AddressError as error:
            raise ConfigurationError(f"proxy: {error}") from None
        places = plan(self._settings, self._plugins.frontends(self))
        return Composition(dialers, ports, chain, places)

    # What plugins and embedders may ask.

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def plugins(self) -> Plugins:
        return self._plugins

    @property
    def chain(self) -> Chain:
        """The chain that comes before every other (setting ``proxy``)."""
        return self._composition.chain

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
        if self._pipeline is None:
            return self._counters.snapshot(0, 0, 0, 0)
        return self._pipeline.statistics()

    def sessions(self) -> list[SessionInfo]:
        """A snapshot of the session table."""
        return [session.info() for session in self._pipeline.table] if self._pipeline else []

    def close_session(self, session_id: int) -> bool:
        """Reset one session; False if there is none of that id."""
        session = self._pipeline.table.get(session_id) if self._pipeline else None
        if session is None:
            return False
        session.abort("closed by request")
        return True

    async def dial(self, forward: Forward) -> Upstream:
        """Connect on the server's own behalf: no guard, no block list; the chain of the settings comes first.

        :raises DialError: when that fails or takes longer than ``dial_timeout``.
        :raises RuntimeError: while the server does not run.
        """
        if self._pipeline is None:
            raise RuntimeError("the server is not running")
        prefixed = Forward(forward.address, self._composition.chain + forward.chain)
        return await self._pipeline.dialling.dial(prefixed, SERVER)

    async def lookup(self, host: str) -> Sequence[str]:
        """Resolve a name by the server's resolver and cache.

        :raises DialError: with reason NAME_NOT_RESOLVED.
        :raises RuntimeError: while the server does not run.
        """
        if self._names is None:
            raise RuntimeError("the server is not running")
        return await self._names.resolve(host)

    # Life cycle.

    def bind(self) -> None:
        """Open the listening sockets, before any event loop runs. Called by :meth:`run` if nobody has.

        :raises ListenError: naming the address; then none is left open.
        """
        self._bound.rebind(self._composition.places, self._settings)

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
        """Wait until somebody asks for a stop."""
        if self._stop_requested is None:
            raise RuntimeError("the server is not running")
        await self._stop_requested.wait()

    def stop(self, exit_status: int = 0, *, drain: float | None = None) -> None:
        """Begin an orderly stop: no new sessions, *drain* seconds for the others (the setting's, if None).

        A second call ends a drain that is under way at once.
        """
        if self._drain_scope is not None:
            self._drain_scope.cancel()
        if self._is_stopping:
            self._drain = 0.0
            return
        self._is_stopping = True
        self.exit_status = exit_status
        self._drain = drain
        if self._stop_requested is not None:
            self._stop_requested.set()

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise RuntimeError("the server runs already")
        running = self._run()
        await running.__aenter__()
        self._running = running
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        self.bind()
        try:
            async with open_reactor() as reactor:
                system = SystemResolver(reactor)
                try:
                    self._start(reactor, self._resolver or system)
                    yield
                    await self._wind_down()
                finally:
                    system.close()
                    self._tear_down()
        finally:
            self._bound.close()

    def _start(self, reactor: Reactor, resolver: Resolver) -> None:
        self._stop_requested = anyio.Event()
        if self._is_stopping:
            self._stop_requested.set()
        self._names = Names(reactor, resolver, _FAMILIES[self._settings.resolve_pf], self._counters)
        self._pipeline = Pipeline(
            reactor,
            self._settings,
            self.log,
            self._counters,
            self._make_dialling(reactor),
            self._composition.chain,
            self._router,
            self._authenticator,
            self._observers,
        )
        reactor.on_error = partial(self._pipeline.report, where="reactor")
        for service in self._plugins.services(self):
            reactor.spawn(partial(self._run_service, service), name=service.name)
        self._listen()
        self.log.log(
            logging.INFO + 5,
            "listening on %s",
            ", ".join(f"{host}:{port}" for host, port, *_ in self.addresses),
        )

    def _make_dialling(self, reactor: Reactor) -> Dialling:
        assert self._names is not None
        guarded = [*self.addresses, *self._plugins.guarded_addresses(self)]
        policy = Policy(self._settings, guarded)
        return Dialling(
            reactor,
            self._settings,
            self._composition.dialers,
            self._names,
            policy,
            self._counters,
            self._report,
        )

    def _report(self, error: Exception, where: str) -> None:
        if self._pipeline is not None:
            self._pipeline.report(error, where)

    def _listen(self) -> None:
        """Accept on every bound socket, for the frontend that the plan gives it."""
        pipeline = self._pipeline
        assert pipeline is not None
        for place in self._composition.places:
            serve = partial(pipeline.serve, frontend=place.frontend)
            for sock in self._bound.at(place):
                listener = self._listeners.get(sock.fileno())
                if listener is None:
                    listener = Listener(pipeline.reactor, sock, serve, self.log)
                    self._listeners[sock.fileno()] = listener
                else:
                    listener.on_accept = serve

    def reload(self, settings: Settings | Mapping[str, Any]) -> None:
        """Replace the settings: listeners come and go, sessions stay, plugins are told.

        :raises NeosocksdError: if the new ones cannot be used; then the old ones stay in force.
        """
        fresh = configuration.build_settings(self._plugins, settings)
        old = self._settings
        self._settings = fresh
        try:
            composition = self._compose()
            self._bound.rebind(composition.places, fresh)
        except Exception:
            self._settings = old
            raise
        self._composition = composition
        for sock in self._bound.release(composition.places):
            listener = self._listeners.pop(sock.fileno(), None)
            if listener is None:
                sock.close()
            else:
                listener.close()
        for field in RESTART_FIELDS:
            if getattr(fresh, field) != getattr(old, field):
                self.log.warning("%s has changed, which takes effect after a restart", field)
        self._plugins.reload(self)
        if self._pipeline is not None:
            self._pipeline.configure(
                fresh, self._make_dialling(self._pipeline.reactor), self._composition.chain
            )
            self._listen()

    async def _run_service(self, service: Service) -> None:
        try:
            await service.run()
        except Exception as error:
            self._report(error, f"service {service.name}")

    async def _wind_down(self) -> None:
        """Stop listening, and give the sessions time to end."""
        self._is_stopping = True
        self._stop_listening()
        pipeline = self._pipeline
        assert pipeline is not None
        pipeline.close_idle()
        grace = self._settings.drain if self._drain is None else self._drain
        if len(pipeline.table) and grace:
            self.log.info("waiting up to %g s for %d sessions", grace, len(pipeline.table))
            with anyio.move_on_after(grace) as self._drain_scope:
                await pipeline.wait_empty()
            self._drain_scope = None

    def _stop_listening(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._bound.close()

    def _tear_down(self) -> None:
        """Close whatever is left; does not wait."""
        self._stop_listening()
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()
            final = self._counters.lasterror
            self.log.debug("stopped; last error: %s", escape(final or "none"))
        self._names = None
        self._stop_requested = None
        self._is_stopping = False
