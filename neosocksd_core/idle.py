"""The idle limit of sessions that relay. It is looked after now and then for all of them, so that a byte costs nothing."""

import time

from neosocksd_core.reactor import Reactor, Timer
from neosocksd_core.sessions import LiveSession, SessionTable

_LOOKS = 8
"""How often it is looked within the limit: a session ends at most an eighth of the limit late."""


class IdleLimit:
    """Ends every session over which no byte has passed for so many seconds; 0 ends none."""

    def __init__(self, reactor: Reactor, table: SessionTable, limit: float) -> None:
        self._reactor = reactor
        self._table = table
        self._limit = 0.0
        self._timer: Timer | None = None
        self._seen: dict[int, tuple[int, float]] = {}
        """By session: the bytes when they were last seen to grow, and when that was (monotonic seconds)."""
        self.configure(limit)

    def configure(self, limit: float) -> None:
        """Take another limit; it holds for the sessions that are here too."""
        if limit == self._limit:
            return
        self._limit = limit
        self.close()
        if limit:
            self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = time.monotonic()
        seen: dict[int, tuple[int, float]] = {}
        idle: list[LiveSession] = []
        for session in self._table:
            if session.is_granted:
                count = sum(session.counts())
                before = self._seen.get(session.id)
                if before is None or before[0] != count:
                    before = (count, now)
                seen[session.id] = before
                if now - before[1] >= self._limit:
                    idle.append(session)
        self._seen = seen
        self._timer = self._reactor.call_later(self._limit / _LOOKS, self._look)
        for session in idle:
            session.abort("idle timeout")
