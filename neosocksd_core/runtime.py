"""The part of a server that exists only while it runs: what needs an event loop."""

import logging
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial

import anyio

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.containment import FAULTS, is_own_cancellation
from neosocksd_core.control import ControlConnection
from neosocksd_core.errors import NeosocksdError
from neosocksd_core.listener import Listener, OnAccept
from neosocksd_core.listening import BoundSockets, Place
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.reactor import Reactor
from neosocksd_core.resolver import Names
from neosocksd_core.services import ControlListener, Service
from neosocksd_core.session import serve

_SPARE_DESCRIPTORS = 8


class NotRunningError(NeosocksdError):
    """What was asked for needs a running server."""


class Runtime:
    """The running stages of one server, and their listeners."""

    def __init__(
        self, reactor: Reactor, names: Names, pipeline: Pipeline, log: logging.Logger
    ) -> None:
        self.reactor = reactor
        self.names = names
        self.pipeline = pipeline
        self.stop_requested = anyio.Event()
        self._log = log
        self._listeners: dict[socket.socket, Listener] = {}
        self._controls: Counter[str] = Counter()
        """Open connections of each control listener."""
        self._drain_scope: anyio.CancelScope | None = None
        reactor.on_error = partial(pipeline.report, where="reactor")

    def start_services(self, services: Sequence[Service]) -> None:
        """Start the plugins' long-running work."""
        for service in services:
            self.reactor.spawn(partial(self._run_service, service), name=service.name)

    def listen(self, places: Sequence[Place], bound: BoundSockets) -> None:
        """Accept on every bound socket, for the frontend of its place; on those that are gone, no longer."""
        wanted: dict[socket.socket, OnAccept] = {}
        for place in places:
            on_accept = self._acceptor_of(place)
            wanted |= dict.fromkeys(bound.at(place), on_accept)
        for sock in self._listeners.keys() - wanted.keys():
            self._listeners.pop(sock).stop()
        for sock, accept in wanted.items():
            if sock in self._listeners:
                self._listeners[sock].on_accept = accept
            else:
                self._listeners[sock] = Listener(
                    self.reactor, sock, accept, self._log, self._needed_descriptors
                )

    def _needed_descriptors(self) -> int:
        """One for the upstream of each half-open connection, and a few for pipes, look-ups and the log."""
        return self.pipeline.table.num_halfopen + _SPARE_DESCRIPTORS

    def _acceptor_of(self, place: Place) -> OnAccept:
        """What gets the connections of a place."""
        match place.frontend:
            case ControlListener() as control:
                return partial(self._serve_control, control)
            case frontend:
                return partial(serve, self.pipeline, frontend=frontend)

    def _serve_control(
        self, control: ControlListener, sock: socket.socket, client: SocketAddress
    ) -> None:
        if self._controls[control.name] >= control.max_connections:
            sock.close()
            return
        self._controls[control.name] += 1
        self.reactor.spawn(
            partial(self._run_control, control, sock), name=f"{control.name} {client}"
        )

    async def _run_control(self, control: ControlListener, sock: socket.socket) -> None:
        try:
            with closing(ControlConnection(self.reactor, sock)) as connection:
                await control.serve(connection)
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            self.pipeline.report(error, control.name, control)
        finally:
            sock.close()
            self._controls[control.name] -= 1

    def end_drain(self) -> None:
        """Do not wait for the sessions any longer."""
        if self._drain_scope is not None:
            self._drain_scope.cancel()

    async def drain(self, grace: float) -> None:
        """Give the sessions *grace* seconds to end."""
        self.pipeline.close_idle()
        if len(self.pipeline.table) and grace:
            self._log.info("waiting up to %g s for %d sessions", grace, len(self.pipeline.table))
            with anyio.move_on_after(grace) as self._drain_scope:
                await self.pipeline.wait_empty()
            self._drain_scope = None

    def close(self) -> None:
        """Close whatever is left; does not wait."""
        self.stop_listening()
        self.pipeline.close()

    def stop_listening(self) -> None:
        """Accept nobody any more."""
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()

    async def _run_service(self, service: Service) -> None:
        try:
            await service.run()
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            self.pipeline.report(error, f"service {service.name}", service)
