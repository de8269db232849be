"""A session: one client's connection from its first byte to its last, a state a method.

::

    handshake ──▶ judging ──▶ handshake …
        │
        ▼
     routing ──▶ dialing ──▶ relaying ──▶ closed
                                 └─ (HTTP: the next request) ─▶ a new session on the same connection

The session knows all stages and owns the client's socket. It runs in callbacks of the reactor; a task is started only for a router or an
authenticator that answers later.
"""

import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING

import anyio

from neosocksd_core.addresses import Chain, SocketAddress
from neosocksd_core.containment import contained
from neosocksd_core.dial import CLIENT, ROUTER, Dial, Origin
from neosocksd_core.errors import DialError, ProtocolError
from neosocksd_core.filter_relay import FilterRelay, Outcome
from neosocksd_core.filters import stack
from neosocksd_core.log import escape
from neosocksd_core.protocols import Frontend, Handshake
from neosocksd_core.reactor import READ
from neosocksd_core.relay import Relay
from neosocksd_core.requests import (
    Authenticate,
    Connect,
    Credentials,
    Decision,
    Forward,
    Reason,
    Reject,
    Request,
    SessionInfo,
    Upstream,
)
from neosocksd_core.sockets import reset

if TYPE_CHECKING:
    from neosocksd_core.pipeline import Pipeline

RECEIVE_SIZE = 16384
MAX_EARLY_DATA = 65536
"""So many bytes that a client sends before it is answered are kept; after that it is not read until then."""


class Session:
    """One client's connection and what it asks for."""

    __slots__ = (
        "_client_ended", "_dial", "_early_data", "_handshake", "_idle", "_pipeline", "_relay", "_scope", "_socket",
        "chain", "client", "connect", "frontend", "granted", "id", "outcome", "started",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: "Pipeline",
        sock: socket.socket,
        client: SocketAddress,
        frontend: Frontend,
        handshake: Handshake | None = None,
    ) -> None:
        """*sock* is not watched yet. *handshake* is given where the connection has already served a request."""
        self._pipeline = pipeline
        self._socket = sock
        self.client = client
        self.frontend = frontend
        self.started = time.monotonic()
        self.connect: Connect | None = None
        self.chain: Chain = ()
        self.outcome = "handshake"
        self.granted = False
        self._idle = handshake is not None
        """The connection has served a request before, and nothing of another has come yet."""
        self._early_data = b""
        self._client_ended = False
        self._dial: Dial | None = None
        self._scope: anyio.CancelScope | None = None
        self._relay: Relay | FilterRelay | None = None
        self._handshake: Handshake | None = handshake or frontend.handshake(self)
        self.id = pipeline.table.add(self)

    # What others may ask of a session.

    @property
    def local(self) -> SocketAddress:
        """The address at which the client reached us."""
        address: SocketAddress = self._socket.getsockname()
        return address

    def info(self) -> SessionInfo:
        """The session's row in the table."""
        connect = self.connect
        credentials = connect.credentials if connect else None
        up, down = self.counts()
        return SessionInfo(
            id=self.id,
            client=self.client,
            frontend=self.frontend.name,
            protocol=connect.protocol if connect else "",
            user=escape(credentials.username) if credentials else None,
            target=connect.target if connect else None,
            chain=self.chain,
            age=time.monotonic() - self.started,
            bytes_up=up,
            bytes_down=down,
            outcome=self.outcome,
        )

    def counts(self) -> tuple[int, int]:
        """Bytes relayed so far, from the client and to it."""
        relay = self._relay
        if isinstance(relay, Relay):
            return relay.up.count, relay.down.count
        if isinstance(relay, FilterRelay):
            return relay.upstream.count, relay.client.count
        return 0, 0

    def abort(self, outcome: str) -> None:
        """Reset the client, and whatever is open on the other side."""
        if self._relay is not None:
            self.outcome = outcome
            self._relay.abort()
        elif self._handshake is not None:
            self._withdraw()
            self._close(outcome, reset)

    def close_if_idle(self) -> bool:
        """Close a connection that has served a request and waits for another; True if it was one."""
        if self._idle:
            self._close("idle", socket.socket.close)
        return self._idle

    def crash(self, error: Exception) -> None:
        """A plugin's object raised what it should not: report it, and end this session alone."""
        self._pipeline.report(error, f"session {self.id} ({self.frontend.name})")
        self.abort("internal error")

    @contained
    def expire(self) -> None:
        """The time from accept to relay has passed."""
        handshake = self._handshake
        if handshake is None:
            return
        if self.close_if_idle():
            return
        self._pipeline.counters.num_reject_timeout += 1
        self._withdraw()
        if self.connect is None:
            handshake.expire()
        else:
            handshake.reject(Reason.TIMED_OUT)
        self._close_after_reply("timed out")

    # handshake

    @contained
    def start(self) -> None:
        """Begin with the client's first byte, or with the request that is already here."""
        self._pipeline.halfopen.add(self)
        self._pipeline.reactor.watch(self._socket.fileno(), READ, self._on_handshake)
        self._take_events()

    @contained
    def _on_handshake(self, events: int) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._close("client reset", socket.socket.close)
            return
        if not data:
            self._close("client left", socket.socket.close)
            return
        self._idle = False
        handshake.receive_data(data)
        self._take_events()

    def _take_events(self) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            event = handshake.next_event()
        except ProtocolError as error:
            self._close_after_reply(f"protocol error: {escape(str(error))}")
            return
        if not self._send(handshake.data_to_send()):
            return
        match event:
            case None:
                pass
            case Connect():
                self.connect = event
                self._pipeline.counters.num_request += 1
                self._pipeline.reactor.hand_over(self._socket.fileno(), self._on_early_data)
                self._route(event)
            case Authenticate():
                self._judge(event.credentials)

    def _send(self, data: bytes) -> bool:
        """Send a short reply; False if the session ended over it."""
        if not data:
            return True
        try:
            sent = self._socket.send(data)
        except OSError:
            sent = -1
        if sent == len(data):
            return True
        # A client that lets its receive buffer fill up with replies of a few bytes is not waiting for them.
        self._withdraw()
        self._close("client does not read", reset)
        return False

    # judging

    def _judge(self, credentials: Credentials) -> None:
        authenticator = self._pipeline.authenticator
        if authenticator is None:
            self._on_judged(True)
            return
        verdict = authenticator.authenticate(credentials, self.client)
        if isawaitable(verdict):
            self._pipeline.reactor.hand_over(self._socket.fileno(), self._on_early_data)
            self._scope = self._pipeline.reactor.spawn(
                partial(self._await_verdict, verdict), name=f"authenticate {self.id}"
            )
        else:
            self._on_judged(verdict)

    async def _await_verdict(self, verdict: Awaitable[bool]) -> None:
        try:
            accepted = await verdict
        except Exception as error:
            self._pipeline.report(error, "authenticator")
            accepted = False
        self._scope = None
        if self._handshake is not None:
            self._pipeline.reactor.hand_over(self._socket.fileno(), self._on_handshake)
            self._resume_reading()
            self._on_judged(accepted)

    @contained
    def _on_judged(self, accepted: bool) -> None:
        handshake = self._handshake
        assert handshake is not None
        handshake.judge(accepted)
        if not accepted:
            self._pipeline.counters.num_reject_ruleset += 1
            self._close_after_reply("credentials refused")
            return
        if self._early_data:
            early, self._early_data = self._early_data, b""
            handshake.receive_data(early)
        self._take_events()

    # routing

    def _route(self, connect: Connect) -> None:
        pipeline = self._pipeline
        router = pipeline.router
        if router is None:
            self._start_dial(Forward(connect.target, pipeline.chain), CLIENT)
            return
        request = Request(
            session_id=self.id,
            client=self.client,
            frontend=self.frontend.name,
            protocol=connect.protocol,
            target=connect.target,
            address_type=connect.address_type,
            credentials=connect.credentials,
            dial=self._dial_for_router,
        )
        self.outcome = "routing"
        try:
            decision = router.route(request)
        except Exception as error:
            pipeline.report(error, "router")
            self._refuse(Reject(Reason.NOT_ALLOWED, "router failed"))
            return
        if isawaitable(decision):
            self._scope = pipeline.reactor.spawn(
                partial(self._await_decision, decision), name=f"route {self.id}"
            )
        else:
            self._on_decision(decision)

    async def _await_decision(self, answer: Awaitable[Decision]) -> None:
        try:
            decision = await answer
        except DialError as error:
            self._scope = None
            self._on_dialled(error)
            return
        except Exception as error:
            self._pipeline.report(error, "router")
            decision = Reject(Reason.NOT_ALLOWED, "router failed")
        self._scope = None
        self._on_decision(decision)

    async def _dial_for_router(self, forward: Forward) -> Upstream:
        prefixed = Forward(forward.address, self._pipeline.chain + forward.chain)
        return await self._pipeline.dialling.dial(prefixed, self._origin(forward))

    def _origin(self, forward: Forward) -> Origin:
        assert self.connect is not None
        return CLIENT if forward.address == self.connect.target else ROUTER

    @contained
    def _on_decision(self, decision: Decision) -> None:
        if self._handshake is None:
            if isinstance(decision, Upstream):
                decision.close()
            return
        match decision:
            case Forward():
                prefixed = Forward(decision.address, self._pipeline.chain + decision.chain)
                self._start_dial(prefixed, self._origin(decision))
            case Reject():
                self._refuse(decision)
            case Upstream():
                self._on_dialled(decision)
            case _:
                self._pipeline.report(TypeError(f"not a decision: {decision!r}"), "router")
                self._refuse(Reject(Reason.NOT_ALLOWED, "router failed"))

    def _refuse(self, rejection: Reject) -> None:
        assert self._handshake is not None
        self._pipeline.counters.num_reject_ruleset += 1
        self._handshake.reject(rejection.reason)
        reason = rejection.message or rejection.reason.value
        self._close_after_reply(f"rejected: {escape(reason)}")

    # dialing

    def _start_dial(self, forward: Forward, origin: Origin) -> None:
        self.outcome = "dialing"
        self.chain = forward.chain
        self._dial = Dial(self._pipeline.dialling, forward, origin, self._on_dialled)
        self._dial.start()

    def _on_early_data(self, events: int) -> None:
        """The client sends, ends or breaks while it waits for its answer."""
        room = MAX_EARLY_DATA - len(self._early_data)
        try:
            data = self._socket.recv(room) if room and not self._client_ended else None
        except BlockingIOError:
            return
        except OSError:
            data = None
        if data is None:
            self._withdraw()
            self._close("client reset", reset)
            return
        self._early_data += data
        self._client_ended = not data
        if self._client_ended or len(self._early_data) >= MAX_EARLY_DATA:
            self._pipeline.reactor.change(self._socket.fileno(), 0)

    def _resume_reading(self) -> None:
        """Watch the client again, should it have ended or sent too much while it was waiting."""
        if self._client_ended or len(self._early_data) >= MAX_EARLY_DATA:
            self._client_ended = False
            self._pipeline.reactor.change(self._socket.fileno(), READ)

    @contained
    def _on_dialled(self, result: Upstream | DialError) -> None:
        self._dial = None
        handshake, pipeline = self._handshake, self._pipeline
        if isinstance(result, Upstream):
            if handshake is None:
                result.close()
            else:
                self._grant(handshake, result)
            return
        if handshake is None:
            return
        pipeline.counters.lasterror = str(result)
        if result.reason is Reason.NOT_ALLOWED:
            pipeline.counters.num_reject_ruleset += 1
        elif result.reason is Reason.TIMED_OUT:
            pipeline.counters.num_reject_timeout += 1
        else:
            pipeline.counters.num_reject_upstream += 1
        handshake.reject(result.reason)
        self._close_after_reply(f"failed: {escape(str(result))}")

    # relaying

    def _grant(self, handshake: Handshake, upstream: Upstream) -> None:
        pipeline = self._pipeline
        self.chain = upstream.chain
        own_filter = handshake.grant(upstream.bound)
        if not self._send(handshake.data_to_send()):
            upstream.close()
            return
        self._resume_reading()
        early_up = handshake.trailing_data() + self._early_data
        self._early_data = b""
        self.outcome = "relaying"
        self.granted = True
        pipeline.opened(self)
        if own_filter is None and upstream.filter is None:
            self._handshake = None
            self._start_relay(upstream.socket, early_up, upstream.early_data)
            return
        filters = [f for f in (own_filter, upstream.filter) if f is not None]
        combined = stack(filters)
        assert combined is not None
        self._handshake = handshake if own_filter is not None else None
        relay = FilterRelay(
            pipeline.movers,
            self._socket,
            upstream.socket,
            combined,
            self._on_filter_end,
            partial(pipeline.report, where=f"filter of session {self.id}"),
        )
        self._relay = relay
        relay.start(early_up, upstream.early_data)

    def _start_relay(self, upstream: socket.socket, early_up: bytes, early_down: bytes) -> None:
        relay = Relay(self._pipeline.movers, self._socket, upstream, self._on_relay_end)
        relay.up.count, relay.down.count = self.counts()
        self._relay = relay
        relay.start(early_up, early_down)

    def _on_relay_end(self, orderly: bool) -> None:
        if self.outcome == "relaying":
            self.outcome = "done" if orderly else "reset"
        self._ended()

    def _on_filter_end(self, outcome: Outcome) -> None:
        relay, pipeline = self._relay, self._pipeline
        assert isinstance(relay, FilterRelay)
        client, upstream = relay.client.sock, relay.upstream.sock
        match outcome:
            case Outcome.TUNNEL:
                pipeline.reactor.watch(client.fileno(), READ, self._on_early_data)
                self._handshake = None
                self._start_relay(upstream, b"", b"")
                return
            case Outcome.NEXT:
                upstream.close()
                self.outcome = "done"
                handshake = self._handshake
                assert handshake is not None
                self._ended()
                pipeline.serve_next(client, self.client, self.frontend, handshake)
                return
            case Outcome.CLOSE:
                upstream.close()
                pipeline.closer.linger(client)
                self.outcome = "done"
            case Outcome.ABORT:
                pipeline.closer.reset(upstream)
                pipeline.closer.reset(client)
                if self.outcome == "relaying":
                    self.outcome = "reset"
        self._ended()

    # closed

    def _withdraw(self) -> None:
        """Give up what is under way for this session."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    def _close_after_reply(self, outcome: str) -> None:
        """Send what the handshake has queued, and close so that the client can read it."""
        handshake = self._handshake
        assert handshake is not None
        reply = handshake.data_to_send()
        if reply:
            try:
                self._socket.send(reply)
            except OSError:
                self._close(outcome, reset)
                return
        self._close(outcome, self._pipeline.closer.linger)

    def _close(self, outcome: str, dispose: Callable[[socket.socket], None]) -> None:
        """End a session that does not relay."""
        self.outcome = outcome
        self._pipeline.reactor.unwatch(self._socket.fileno())
        dispose(self._socket)
        self._ended()

    def _ended(self) -> None:
        self._pipeline.closed(self)
        self._handshake = None
        self._relay = None
