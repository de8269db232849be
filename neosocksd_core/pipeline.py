"""What all sessions of a server share, and the bookkeeping when one opens and ends."""

import logging
import time
from collections.abc import Callable, Sequence

import anyio

from neosocksd_core.addresses import Chain, SocketAddress
from neosocksd_core.closing import Closer
from neosocksd_core.containment import FAULTS
from neosocksd_core.deadlines import DeadlineQueue
from neosocksd_core.dial import Dialling
from neosocksd_core.errors import DialError, NeosocksdError
from neosocksd_core.idle import IdleLimit
from neosocksd_core.limits import Admission
from neosocksd_core.log import escape
from neosocksd_core.protocols import Authenticator, Observer, Router
from neosocksd_core.reactor import Reactor
from neosocksd_core.reasons import Reason
from neosocksd_core.relay import Movers
from neosocksd_core.session_log import log_session
from neosocksd_core.sessions import LiveSession, SessionTable
from neosocksd_core.settings import Settings
from neosocksd_core.statistics import Counters, Statistics
from neosocksd_core.traffic import Traffic

LOG_SECONDS = 10.0
"""How often it is logged at most that clients are turned away."""


class Pipeline:
    """The stages that a session passes through, composed by the server."""

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        log: logging.Logger,
        counters: Counters,
        dialling: Dialling,
        chain: Chain,
        router: Router | None,
        authenticator: Authenticator | None,
        observers: Sequence[Observer],
        giver_of: Callable[[object], str | None],
    ) -> None:
        """*giver_of* tells from which plugin an object is, if it is from one."""
        self._giver_of = giver_of
        self.reactor = reactor
        self.log = log
        self.counters = counters
        self.dialling = dialling
        self.chain = chain
        self.router = router
        self.authenticator = authenticator
        self.observers = tuple(observers)
        self.table = SessionTable()
        self._traffic = Traffic(counters, self.table)
        self.admission = Admission(settings, self.table)
        self.closer = Closer(reactor)
        self.movers = Movers(reactor, self.closer, settings.pipe)
        self._idle_limit = IdleLimit(reactor, self.table, settings.idle_timeout)
        self._empty: anyio.Event | None = None
        self._quiet_until = 0.0
        self.halfopen: DeadlineQueue[LiveSession] = DeadlineQueue(
            reactor, settings.timeout, lambda session: session.expire()
        )

    def configure(
        self,
        settings: Settings,
        dialling: Dialling,
        chain: Chain,
        authenticator: Authenticator | None,
    ) -> None:
        """Take over new settings for what begins from now on."""
        self.authenticator = authenticator
        self.dialling = dialling
        self.chain = chain
        self.admission.configure(settings)
        self.halfopen.limit = settings.timeout
        self._idle_limit.configure(settings.idle_timeout)

    def turned_away(self, client: SocketAddress) -> None:
        """A limit kept *client* out. That is told now and then, since it may be many."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            self.log.warning(
                "clients are turned away, %s is reached: %s", self.admission.reached, client[0]
            )

    def opened(self, session: LiveSession) -> None:
        """*session* has been granted and begins to relay."""
        self.halfopen.discard(session)
        counters, table = self.counters, self.table
        table.num_relaying += 1
        if table.num_relaying > counters.num_sessions_peak:
            counters.num_sessions_peak = table.num_relaying
        for observer in self.observers:
            if table.get(session.id) is None:
                return  # the observer before has closed it, and all have heard of that
            try:
                observer.session_opened(session.info())
            except FAULTS as error:
                self.report(error, "observer", observer)

    def closed(self, session: LiveSession) -> None:
        """*session* has ended, granted or not. One that was idle to its end was none for anybody outside."""
        self.table.remove(session.id)
        if self._empty is not None and not len(self.table):
            self._empty.set()
        self.admission.leave(session.client[0])
        if session.is_granted:
            self.table.num_relaying -= 1
            up, down = session.counts()
            self.counters.byt_up += up
            self.counters.byt_down += down
        else:
            self.halfopen.discard(session)
        if session.outcome == "idle":
            return
        if self.log.isEnabledFor(logging.INFO):
            log_session(self.log, session.info())
        for observer in self.observers:
            try:
                observer.session_closed(session.info())
            except FAULTS as error:
                self.report(error, "observer", observer)

    def refused(self, error: DialError) -> None:
        """A request has got no upstream: count why."""
        counters = self.counters
        counters.lasterror = str(error)
        match error.reason:
            case Reason.NOT_ALLOWED:
                counters.num_reject_ruleset += 1
            case Reason.TIMED_OUT:
                counters.num_reject_timeout += 1
            case _:
                counters.num_reject_upstream += 1

    def failed(self, failure: NeosocksdError) -> str:
        """A request failed after its upstream stood: count that. Returns the session's outcome."""
        self.counters.lasterror = str(failure)
        if isinstance(failure, DialError):
            self.counters.num_reject_upstream += 1
            return f"failed: {escape(str(failure))}"
        return f"protocol error: {escape(str(failure))}"

    def report(self, error: BaseException, where: str, culprit: object = None) -> None:
        """Log what a plugin or an embedder's object raised; the server goes on. See :class:`~neosocksd_core.containment.Report`."""
        giver = self._giver_of(culprit)
        if giver is not None:
            where = f"plugin {giver}: {where}"
        self.counters.lasterror = f"{where}: {error}"
        trace = self.log.isEnabledFor(logging.DEBUG)
        kind, text = type(error).__name__, escape(str(error))
        self.log.error("%s raised %s: %s", where, kind, text, exc_info=error if trace else None)

    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        table = self.table
        return self.counters.snapshot(table.num_halfopen, table.num_relaying, self._traffic.total())

    def close_idle(self) -> None:
        """Close the connections that wait for a next request."""
        for session in self.table:
            session.close_if_idle()

    async def wait_empty(self) -> None:
        """Wait until the last session has ended."""
        if len(self.table):
            self._empty = anyio.Event()
            await self._empty.wait()

    def close(self) -> None:
        """Reset every session and close what is left."""
        self.halfopen.close()
        self._idle_limit.close()
        for session in self.table:
            session.abort("stopped")
        self.closer.close()
        self.movers.close()
        self.dialling.close()
