"""The bytes of all sessions together: those that have ended, counted as they end, and those that live, added up when somebody asks.

A session that relays adds to nothing but its own counts, so that no byte costs more for being counted. With thousands of sessions it is the
sum that takes time: who asks often is told the last one for a while.
"""

import time

from neosocksd_core.sessions import SessionTable
from neosocksd_core.statistics import Counters

FEW_SESSIONS = 100
"""Up to so many are added up each time."""

REST_SECONDS = 1e-5
"""Of more, for each session so long passes before the next sum, which takes a fiftieth of that or so."""


class Traffic:
    """Bytes up and down since the start: of the living *sessions*, and what *counters* have of the ended ones."""

    def __init__(self, counters: Counters, sessions: SessionTable) -> None:
        self._counters = counters
        self._sessions = sessions
        self._total = 0, 0
        self._next = 0.0

    def total(self) -> tuple[int, int]:
        """All bytes up and down; of very many sessions as it was a moment ago. It never becomes less."""
        count, now = len(self._sessions), time.monotonic()
        if count <= FEW_SESSIONS or now >= self._next:
            self._total = self._sum()
            self._next = now + count * REST_SECONDS
        return self._total

    def _sum(self) -> tuple[int, int]:
        up, down = self._counters.byt_up, self._counters.byt_down
        for session in self._sessions:
            session_up, session_down = session.counts()
            up += session_up
            down += session_down
        return up, down
