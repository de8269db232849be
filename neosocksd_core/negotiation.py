"""The negotiation: from a client's first byte until its upstream stands, a state a method.

::

    handshake ──▶ judging ──▶ handshake …
        │
        ▼
     routing ──▶ dialing ──▶ granted, and the session relays
     listening ──────────────────┘

It runs in callbacks of the reactor; a task is started only for a router or an authenticator that answers later. While the client waits for
its answer it is watched: what it sends early is kept, and if it breaks off, so does everything done for it.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.association import open_inside
from neosocksd_core.binding import Binding
from neosocksd_core.connect import error_of
from neosocksd_core.containment import contained
from neosocksd_core.dial import CLIENT, Dial
from neosocksd_core.errors import DialError, ProtocolError
from neosocksd_core.filters import Filter, stack
from neosocksd_core.judging import Judging, Verdict
from neosocksd_core.log import escape
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.poller import READ
from neosocksd_core.protocols import Handshake
from neosocksd_core.reactor import Watch
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import (
    Answered,
    Associate,
    Authenticate,
    Bind,
    ClientRequest,
    Connect,
    Credentials,
    Forward,
    Reject,
    Upstream,
)
from neosocksd_core.routing import Requester, Routing
from neosocksd_core.sockets import reset

RECEIVE_SIZE = 16384
MAX_EARLY_DATA = 65536
"""So many bytes that a client sends before it is answered are kept; after that it is not read until then."""


class Owner(Requester, Protocol):
    """The session that a negotiation is made for: it is told what is found out, and hears once how it went."""

    request: ClientRequest | None

    @property
    def local(self) -> SocketAddress: ...

    def relay(
        self,
        watch: Watch,
        upstream: Upstream,
        stream_filter: Filter | None,
        early_up: bytes,
        early_down: bytes,
        handshake: Handshake | None,
    ) -> None:
        """The upstream stands and the client knows; *watch* is that of the client's socket."""

    def associate(self, watch: Watch, inside: socket.socket, associate: Associate) -> None:
        """The client knows the address of *inside*, by which its datagrams are relayed from now on."""

    def end(self, outcome: str, dispose: Callable[[socket.socket], None]) -> None:
        """There will be no relay."""


class Negotiation:
    """What one client asks for, until it is granted or refused. It does not own the socket: the session does."""

    __slots__ = (
        "_client_ended",
        "_early_data",
        "_handshake",
        "_is_over",
        "_is_pipelined",
        "_is_unread",
        "_pipeline",
        "_request",
        "_session",
        "_socket",
        "_watch",
        "_work",
        "is_idle",
    )

    def __init__(
        self, pipeline: Pipeline, session: Owner, sock: socket.socket, handshake: Handshake
    ) -> None:
        self._pipeline = pipeline
        self._session = session
        self._socket = sock
        self._watch = pipeline.reactor.watch(sock.fileno(), READ, self._on_handshake)
        self._handshake = handshake
        self._request: ClientRequest | None = None
        self._early_data = b""
        self._client_ended = False
        self._is_unread = False
        self._work: Judging | Routing | Dial | Binding | None = None
        """What the client waits for."""
        self._is_over = False
        self._is_pipelined = False
        """The request had come before the one before it was served; what follows it may wait as long."""
        self.is_idle = False
        """The connection has served a request before, and nothing of another has come yet."""

    def wait_for_next(self) -> None:
        """Begin idle, on a connection that has served a request before."""
        self.is_idle = True
        self._pipeline.table.num_idle += 1

    def _wake(self) -> None:
        if self.is_idle:
            self.is_idle = False
            self._pipeline.table.num_idle -= 1

    def cancel(self) -> None:
        """Give up all that is under way, and leave the client. Nothing is sent."""
        self._watch.close()
        self._wake()
        self._is_over = True
        if self._work is not None:
            self._work.cancel()
            self._work = None

    def expire(self) -> None:
        """The time from accept to relay has passed."""
        if self.is_idle:
            self._session.end("idle", socket.socket.close)
        else:
            self._pipeline.counters.num_reject_timeout += 1
            self._time_out(self._request)

    @contained
    def _time_out(self, request: ClientRequest | None) -> None:
        if request is None:
            self._handshake.expire()
        else:
            self._handshake.reject(Reason.TIMED_OUT)
        self._end_after_reply("timed out")

    def crash(self, error: BaseException) -> None:
        """A plugin's object raised what it should not: report it, and end this session alone."""
        session = self._session
        where = f"session {session.id} ({session.frontend.name})"
        self._pipeline.report(error, where, session.frontend)
        if not self._is_over:
            session.end("internal error", reset)

    # handshake

    @contained
    def start(self, wait: bool) -> None:
        """Begin, with the client's first byte where that is to be waited for, else with what the handshake has to say."""
        if not wait:
            self._take_event()

    @contained
    def _on_handshake(self, events: int) -> None:
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._session.end("idle" if self.is_idle else "client left", socket.socket.close)
            return
        self._wake()
        self._pipeline.counters.byt_proxy_server_rx += len(data)
        self._handshake.receive_data(data)
        self._take_event()

    def _take_event(self) -> None:
        handshake = self._handshake
        try:
            event = handshake.next_event()
        except ProtocolError as error:
            self._end_after_reply(f"protocol error: {escape(str(error))}")
            return
        reply = handshake.data_to_send()
        if reply and not self._send(reply):
            return
        if event is not None:
            self._is_pipelined |= self.is_idle
            self._wake()
        match event:
            case None:
                pass
            case Connect():
                self._begin(event, unread=self._is_pipelined and not event.awaits_reply)
                self._route(event)
            case Bind():
                self._begin(event)
                self._listen(event)
            case Associate():
                self._begin(event)
                self._associate(event)
            case Authenticate():
                self._judge(event.credentials)
            case Answered():
                self._session.end("done", self._pipeline.closer.linger)
            case _:
                raise TypeError(f"not an event: {event!r}")

    def _send(self, reply: bytes) -> bool:
        """Send a short reply; False if the session ended over it."""
        try:
            sent = self._socket.send(reply)
        except OSError:
            sent = 0
        self._pipeline.counters.byt_proxy_server_tx += sent
        if sent == len(reply):
            return True
        # A client that lets its receive buffer fill up with replies of a few bytes is not waiting for them.
        self._session.end("client does not read", reset)
        return False

    # judging

    def _judge(self, credentials: Credentials) -> None:
        authenticator = self._pipeline.authenticator
        if authenticator is None:
            self._on_verdict((credentials, True))
            return
        self._watch.callback = self._on_early_data
        if self._is_pipelined:
            self._leave_unread()
        client = self._session.client
        self._work = judging = Judging(self._pipeline, client, credentials, self._on_verdict)
        judging.start(authenticator)

    @contained
    def _on_verdict(self, verdict: Verdict) -> None:
        self._work = None
        self._watch.callback = self._on_handshake
        self._resume_reading()
        credentials, accepted = verdict
        self._handshake.judge(accepted)
        if not accepted:
            self._pipeline.counters.num_reject_ruleset += 1
            self._end_after_reply(f"credentials of {escape(credentials.username)} refused")
            return
        if self._early_data:
            early, self._early_data = self._early_data, b""
            self._handshake.receive_data(early)
        self._take_event()

    # routing and dialing

    def _begin(self, request: ClientRequest, *, unread: bool = False) -> None:
        """It is known what the client asks for. *unread*: what it sends meanwhile stays where it is."""
        self._request = self._session.request = request
        self._watch.callback = self._on_early_data
        if unread:
            self._leave_unread()
        self._pipeline.counters.num_request += 1

    def _route(self, connect: Connect) -> None:
        pipeline, session = self._pipeline, self._session
        router = pipeline.router
        if router is None:
            session.outcome = "dialing"
            session.chain = pipeline.chain
            forward = Forward(connect.target, pipeline.chain)
            self._work = dial = Dial(pipeline.dialling, forward, CLIENT, self._on_result)
            dial.start()
        else:
            self._work = routing = Routing(pipeline, session, connect, self._on_result)
            routing.start(router)

    @contained
    def _on_result(self, result: Upstream | DialError | Reject) -> None:
        self._work = None
        match result:
            case Upstream():
                self._grant(result)
            case DialError():
                self._pipeline.refused(result)
                self._handshake.reject(result.reason)
                self._end_after_reply(f"failed: {escape(str(result))}")
            case Reject():
                self._pipeline.counters.num_reject_ruleset += 1
                self._handshake.reject(result.reason)
                self._end_after_reply(f"rejected: {escape(result.message or result.reason.value)}")

    # what is neither routed nor dialled

    def _listen(self, bind: Bind) -> None:
        if self._is_routed(bind):
            return
        pipeline, session = self._pipeline, self._session
        session.outcome = "listening"
        self._work = binding = Binding(
            pipeline.dialling,
            bind.target,
            session.local,
            bind.ports,
            pipeline.log,
            self._on_listening,
            self._on_result,
        )
        binding.start()

    @contained
    def _on_listening(self, address: SocketAddress) -> None:
        self._handshake.grant(address)
        self._send(self._handshake.data_to_send())

    def _associate(self, associate: Associate) -> None:
        if self._is_routed(associate):
            return
        try:
            inside = open_inside(self._session.local, associate.ports)
        except OSError as error:
            self._on_result(error_of(error.errno or 0, "no relay of datagrams"))
            return
        try:
            self._handshake.grant(inside.getsockname())
            reply = self._handshake.data_to_send()
        except Exception:
            inside.close()
            raise
        if not self._send(reply):
            inside.close()
            return
        self._session.associate(self._watch, inside, associate)
        self._is_over = True

    def _is_routed(self, request: Bind | Associate) -> bool:
        """Whether there is a router or a chain, past which nothing may lead: then the request is refused."""
        if self._pipeline.router is None and not self._pipeline.chain:
            return False
        self._on_result(Reject(Reason.NOT_ALLOWED, f"{request.protocol} cannot be routed"))
        return True

    def _grant(self, upstream: Upstream) -> None:
        handshake = self._handshake
        early_down = upstream.early_data
        stream_filter = upstream.filter
        try:
            own_filter = handshake.grant(upstream.bound)
            if own_filter is not None:
                if early_down:
                    own_filter.from_upstream(early_down)
                    early_down = b""
                filters = (own_filter,) if stream_filter is None else (own_filter, stream_filter)
                stream_filter = stack(filters)
            reply = handshake.data_to_send()
            early_up = handshake.trailing_data() + self._early_data
        except Exception:
            upstream.close()
            raise
        if reply and not self._send(reply):
            upstream.close()
            return
        self._resume_reading()
        next_handshake = None if own_filter is None else handshake
        self._session.relay(
            self._watch, upstream, stream_filter, early_up, early_down, next_handshake
        )
        self._is_over = True

    # the client, while it waits

    def _leave_unread(self) -> None:
        """Read no more while it waits; that it breaks off is told anyway."""
        self._is_unread = True
        self._watch.want(0)

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
            self._session.end("client reset", reset)
            return
        if not data and self._has_gone():
            self._session.end("client left", socket.socket.close)
            return
        self._early_data += data
        self._client_ended = not data
        if self._client_ended or len(self._early_data) >= MAX_EARLY_DATA:
            self._leave_unread()

    def _has_gone(self) -> bool:
        """Whether an end of the client's side is its leaving rather than a half-close."""
        request = self._request
        awaits_reply = isinstance(request, Connect | Bind) and request.awaits_reply
        return awaits_reply and not self._early_data

    def _resume_reading(self) -> None:
        """Read from the client again, should it have ended or sent too much while it waited."""
        if self._is_unread:
            self._is_unread = self._client_ended = False
            self._watch.want(READ)

    def _end_after_reply(self, outcome: str) -> None:
        """Send what the handshake has queued, and close so that the client can read it."""
        reply = self._handshake.data_to_send()
        if not reply or self._send(reply):
            self._session.end(outcome, self._pipeline.closer.linger)
