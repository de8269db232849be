"""Routing: from a request to its upstream, by way of a router's decision.

A router answers at once or later, and may dial by itself meanwhile; what it dialled and did not answer with is closed.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import Protocol

import anyio

from neosocksd_core.addresses import Chain, SocketAddress
from neosocksd_core.containment import FAULTS, contained, is_own_cancellation
from neosocksd_core.dial import CLIENT, Dial, Origin
from neosocksd_core.errors import DialError
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.protocols import Frontend, Router
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Connect, Decision, Forward, Reject, Request, Upstream

ABANDON_SECONDS = 0.1
"""How long dials that a router has under way may take to be cancelled with it."""


_DECISIONS = (Forward, Reject, Upstream)


class Requester(Protocol):
    """The session that a request belongs to: it is told how far its request has come."""

    chain: Chain
    outcome: str

    @property
    def id(self) -> int: ...
    @property
    def client(self) -> SocketAddress: ...
    @property
    def frontend(self) -> Frontend: ...


class Routing:
    """One request that a router decides about. Calls *finish* once, unless it is cancelled before that."""

    __slots__ = (
        "_connect",
        "_dial",
        "_finish",
        "_pipeline",
        "_scope",
        "_session",
        "_under_way",
        "_upstreams",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        session: Requester,
        connect: Connect,
        finish: Callable[[Upstream | DialError | Reject], None],
    ) -> None:
        self._pipeline = pipeline
        self._session = session
        self._connect = connect
        self._finish: Callable[[Upstream | DialError | Reject], None] | None = finish
        self._scope: anyio.CancelScope | None = None
        self._dial: Dial | None = None
        self._under_way: set[Dial] = set()
        """What the router dials by itself."""
        self._upstreams: list[Upstream] = []
        """What the router has dialled by itself and not answered with."""

    def start(self, router: Router) -> None:
        """Ask *router*. *finish* may be called before this returns."""
        session, connect = self._session, self._connect
        session.outcome = "routing"
        request = Request(
            session_id=session.id,
            client=session.client,
            frontend=session.frontend.name,
            protocol=connect.protocol,
            target=connect.target,
            address_type=connect.address_type,
            credentials=connect.credentials,
            dial=self._dial_for_router,
        )
        try:
            answer = router.route(request)
        except FAULTS as error:
            self.crash(error)
            return
        if not isinstance(answer, _DECISIONS) and isawaitable(answer):
            self._scope = self._pipeline.reactor.spawn(
                partial(self._await_decision, answer), name=f"route {session.id}"
            )
        else:
            self._on_decision(answer)

    def cancel(self) -> None:
        """Give up all that is under way."""
        self._finish = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None
        if self._under_way:
            self._pipeline.reactor.spawn(self._abandon, name=f"abandon {self._session.id}")
        self._close_upstreams()

    async def _abandon(self) -> None:
        """End the dials that a cancellation has not: a router that shields itself would wait for them, and a server that stops for it."""
        with anyio.CancelScope(shield=True):
            await anyio.sleep(ABANDON_SECONDS)
        for dial in list(self._under_way):
            dial.abandon()

    def crash(self, error: BaseException) -> None:
        """The router raised what it should not, or answered what is no decision: its request is refused."""
        self._pipeline.report(error, "router", self._pipeline.router)
        self._end(Reject(Reason.NOT_ALLOWED, "the router failed"))

    def _end(self, result: Upstream | DialError | Reject) -> None:
        self._dial = None
        finish, self._finish = self._finish, None
        self._close_upstreams()
        if finish is not None:
            finish(result)

    async def _await_decision(self, answer: Awaitable[Decision]) -> None:
        try:
            decision = await answer
        except DialError as error:
            self._scope = None
            self._end(error)
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            self._scope = None
            self.crash(error)
        else:
            self._scope = None
            self._on_decision(decision)

    @contained
    def _on_decision(self, decision: Decision) -> None:
        match decision:
            case Forward():
                self._close_upstreams()
                self._start_dial(self._prefixed(decision))
            case Reject(reason=Reason()):
                self._end(decision)
            case Upstream():
                self._use(decision)
            case _:
                raise TypeError(f"not a decision: {decision!r}")

    def _use(self, upstream: Upstream) -> None:
        """The router answers with a connection, one that it has dialled by :attr:`Request.dial` or one of its own."""
        if self._pipeline.reactor.is_watched(upstream.socket.fileno()):
            raise ValueError("the connection that it answered with is another session's")
        if self._finish is None:
            upstream.close()
            return
        if upstream.socket.fileno() < 0:
            raise ValueError("the connection that it answered with is closed")
        if upstream in self._upstreams:
            self._upstreams.remove(upstream)
        else:
            upstream.socket.setblocking(False)
        self._end(upstream)

    def _start_dial(self, forward: Forward) -> None:
        if self._finish is not None:
            self._session.outcome = "dialing"
            self._session.chain = forward.chain
            origin = self._origin(forward)
            self._dial = Dial(self._pipeline.dialling, forward, origin, self._end)
            self._dial.start()

    async def _dial_for_router(self, forward: Forward) -> Upstream:
        """What a router calls as ``request.dial``."""
        self._require_session()
        dialling = self._pipeline.dialling
        upstream = await dialling.dial(
            self._prefixed(forward), self._origin(forward), self._under_way
        )
        self._upstreams.append(upstream)
        self._require_session()
        return upstream

    def _require_session(self) -> None:
        if self._finish is None:
            self._close_upstreams()
            raise DialError(Reason.GENERAL_FAILURE, "the session has ended")

    def _close_upstreams(self) -> None:
        while self._upstreams:
            self._upstreams.pop().close()

    def _prefixed(self, forward: Forward) -> Forward:
        chain = self._pipeline.chain
        return Forward(forward.address, chain + forward.chain) if chain else forward

    def _origin(self, forward: Forward) -> Origin:
        """A target that the router left as it was is the client's own wish."""
        requested = self._connect.target
        return CLIENT if forward.address == requested else Origin(False, True, requested)
