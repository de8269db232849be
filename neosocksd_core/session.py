"""A session: one client's connection, from accept to its last byte.

First it negotiates (:mod:`neosocksd_core.negotiation`), then it relays. It owns the client's socket until the relay
does, and it ends exactly once. On a connection that can carry several requests (HTTP) each is a session of its own.
"""

import socket
import time
from collections.abc import Callable
from functools import partial

from neosocksd_core.addresses import Chain, SocketAddress
from neosocksd_core.association import Association
from neosocksd_core.containment import FAULTS
from neosocksd_core.filter_relay import FilterRelay, Outcome
from neosocksd_core.filters import Filter
from neosocksd_core.log import escape
from neosocksd_core.negotiation import Negotiation
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.protocols import Frontend, Handshake
from neosocksd_core.reactor import Watch
from neosocksd_core.relay import Relay
from neosocksd_core.requests import (
    Associate,
    Bind,
    ClientRequest,
    Connect,
    SessionInfo,
    Upstream,
)
from neosocksd_core.sockets import reset, unmapped


def serve(
    pipeline: Pipeline, sock: socket.socket, client: SocketAddress, frontend: Frontend
) -> None:
    """Begin a session with a connection that was just accepted, if there is room for it."""
    pipeline.counters.num_accept += 1
    if not pipeline.admission.admit(client[0]):
        sock.close()
        pipeline.turned_away(client)
        return
    pipeline.counters.num_serve += 1
    Session(pipeline, sock, client, frontend).start()


def _serve_next(
    pipeline: Pipeline,
    sock: socket.socket,
    client: SocketAddress,
    frontend: Frontend,
    handshake: Handshake,
) -> None:
    """Begin a session for the next request on a connection whose last one is done."""
    pipeline.admission.enter(client[0])
    Session(pipeline, sock, client, frontend).start(handshake)


class Session:
    """One client's connection and what it asked for."""

    __slots__ = (
        "_handshake",
        "_negotiation",
        "_pipeline",
        "_relay",
        "_socket",
        "chain",
        "client",
        "frontend",
        "id",
        "is_granted",
        "outcome",
        "request",
        "started",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        sock: socket.socket,
        client: SocketAddress,
        frontend: Frontend,
    ) -> None:
        self._pipeline = pipeline
        self._socket = sock
        self.client = client
        self.frontend = frontend
        self.started = time.monotonic()
        self.request: ClientRequest | None = None
        self.chain: Chain = ()
        self.outcome = "handshake"
        self.is_granted = False
        self._negotiation: Negotiation | None = None
        self._relay: Relay | FilterRelay | Association | None = None
        self._handshake: Handshake | None = None
        """Kept while it can take a further request on this connection."""
        self.id = pipeline.table.add(self)

    @property
    def local(self) -> SocketAddress:
        """The address at which the client reached us."""
        return unmapped(self._socket.getsockname())

    def start(self, handshake: Handshake | None = None) -> None:
        """Begin to negotiate. *handshake* is given where the connection has served a request already."""
        self._pipeline.halfopen.add(self)
        try:
            machine = handshake or self.frontend.handshake(self)
            negotiation = Negotiation(self._pipeline, self, self._socket, machine)
        except FAULTS as error:
            self._pipeline.report(error, f"frontend {self.frontend.name}", self.frontend)
            self.end("internal error", socket.socket.close)
            return
        if handshake is not None:
            negotiation.wait_for_next()
        self._negotiation = negotiation
        # Clients that can be told by their first byte speak first.
        wait = handshake is None and bool(self.frontend.first_bytes)
        negotiation.start(wait)

    def relay(
        self,
        watch: Watch,
        upstream: Upstream,
        stream_filter: Filter | None,
        early_up: bytes,
        early_down: bytes,
        handshake: Handshake | None,
    ) -> None:
        """The upstream stands and the client knows: relay, through *stream_filter* if there is one.

        *early_up* is what the client has sent meanwhile, *early_down* what it is to be sent first. *handshake* is given where
        it can take a further request.
        """
        try:
            relay = self._join(watch, upstream.socket, stream_filter)
        except Exception:
            upstream.close()  # the system has no room for another watch
            raise
        self._handshake = handshake
        self.chain = upstream.chain
        if handshake is None:
            self._pipeline.counters.num_success += 1  # of an exchange that is known at its end
        self._granted(relay)
        if self._relay is relay:  # an observer may have closed the session
            relay.start(early_up, early_down)

    def associate(self, watch: Watch, inside: socket.socket, associate: Associate) -> None:
        """The client knows the address of *inside*: relay its datagrams until it ends its connection."""
        pipeline = self._pipeline
        try:
            association = Association(
                lambda: pipeline.dialling,
                self._socket,
                watch,
                inside,
                self.client,
                associate,
                self._on_relay_end,
                partial(
                    pipeline.report,
                    where=f"datagrams of session {self.id}",
                    culprit=self.frontend,
                ),
            )
        except Exception:
            inside.close()  # the system has no room for another watch
            raise
        pipeline.counters.num_success += 1
        self._granted(association)

    def _granted(self, relay: Relay | FilterRelay | Association) -> None:
        self._negotiation = None
        self._relay = relay
        self.outcome = "relaying"
        self.is_granted = True
        self._pipeline.opened(self)

    def expire(self) -> None:
        """The time from accept to relay has passed."""
        if self._negotiation is not None:
            self._negotiation.expire()

    def abort(self, outcome: str) -> None:
        """Reset the client, and whatever is open on the other side."""
        if self._relay is not None:
            self.outcome = outcome
            self._relay.abort()
        elif self._negotiation is not None:
            self.end(outcome, reset)

    def close_if_idle(self) -> None:
        """Close a connection that has served a request and waits for another."""
        if self._negotiation is not None and self._negotiation.is_idle:
            self.end("idle", socket.socket.close)

    def end(self, outcome: str, dispose: Callable[[socket.socket], None]) -> None:
        """End a session that does not relay; *dispose* gets its socket."""
        negotiation, self._negotiation = self._negotiation, None
        if negotiation is not None:
            negotiation.cancel()
        self.outcome = outcome
        dispose(self._socket)
        self._pipeline.closed(self)

    def info(self) -> SessionInfo:
        """The session's row in the table."""
        request = self.request
        credentials = request.credentials if request else None
        up, down = self.counts()
        return SessionInfo(
            id=self.id,
            client=self.client,
            frontend=self.frontend.name,
            protocol=request.protocol if request else "",
            user=escape(credentials.username) if credentials else None,
            target=request.target if isinstance(request, Connect | Bind) else None,
            chain=self.chain,
            age=time.monotonic() - self.started,
            bytes_up=up,
            bytes_down=down,
            outcome=self.outcome,
        )

    def counts(self) -> tuple[int, int]:
        """Bytes relayed so far, from the client and to it."""
        relay = self._relay
        return relay.counts() if relay is not None else (0, 0)

    def _join(
        self, watch: Watch, upstream: socket.socket, stream_filter: Filter | None
    ) -> Relay | FilterRelay:
        """The relay of the client and *upstream*, to be started."""
        pipeline = self._pipeline
        if stream_filter is None:
            return Relay(pipeline.movers, self._socket, watch, upstream, self._on_relay_end)
        return FilterRelay(
            pipeline.reactor,
            self._socket,
            watch,
            upstream,
            stream_filter,
            partial(self._on_filter_end, stream_filter),
            partial(pipeline.report, where=f"filter of session {self.id}"),
        )

    def _on_relay_end(self, orderly: bool) -> None:
        if self.outcome == "relaying":
            self.outcome = "done" if orderly else "reset"
        self._ended()

    def _on_filter_end(self, stream_filter: Filter, outcome: Outcome) -> None:
        relay, pipeline = self._relay, self._pipeline
        assert isinstance(relay, FilterRelay)
        client, upstream = relay.client.sock, relay.upstream.sock
        match outcome:
            case Outcome.TUNNEL:
                if self._handshake is not None:
                    pipeline.counters.num_success += 1
                    self._handshake = None
                tunnel = Relay(
                    pipeline.movers, client, relay.client.watch, upstream, self._on_relay_end
                )
                tunnel.up.count, tunnel.down.count = self.counts()
                self._relay = tunnel
                return
            case Outcome.NEXT | Outcome.CLOSE:
                upstream.close()
                self.outcome = "done"
            case Outcome.ABORT:
                pipeline.closer.reset(upstream)
                pipeline.closer.reset(client)
                if self.outcome == "relaying":
                    self.outcome = "reset"
        handshake = self._handshake
        if stream_filter.failure is not None and self.outcome in ("done", "reset"):
            self.outcome = pipeline.failed(stream_filter.failure)
        elif handshake is not None and outcome is not Outcome.ABORT:
            pipeline.counters.num_success += 1
        self._ended()
        if outcome is Outcome.CLOSE:
            pipeline.closer.linger(client)
        elif outcome is Outcome.NEXT and handshake is not None:
            _serve_next(pipeline, client, self.client, self.frontend, handshake)

    def _ended(self) -> None:
        self._pipeline.closed(self)
        self._relay = None
        self._handshake = None
