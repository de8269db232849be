"""Who may connect: session limits, and the start-up limits that keep a flood of half-open connections from everybody else."""

import random

from neosocksd_core.sessions import SessionTable
from neosocksd_core.settings import Settings


class Admission:
    """Decides whether a connection that was just accepted is served. It reads the session table, and counts clients itself."""

    def __init__(self, settings: Settings, table: SessionTable) -> None:
        self._table = table
        self._clients: dict[str, int] = {}
        self.reached = ""
        """The limit, by the name of its setting, that the last refusal was due to."""
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over the limits of *settings*; connections that stand are not touched."""
        self._max_sessions = settings.max_sessions
        self._max_per_client = settings.max_sessions_per_client
        self._start = settings.startup_limit_start
        self._rate = settings.startup_limit_rate / 100
        self._full = settings.startup_limit_full

    def admit(self, host: str) -> bool:
        """Whether a connection from *host* is to be served; if so, :meth:`leave` is called at its end."""
        if self._max_sessions and len(self._table) >= self._max_sessions:
            return self._refuse("max_sessions")
        if self._max_per_client and self._clients.get(host, 0) >= self._max_per_client:
            return self._refuse("max_sessions_per_client")
        halfopen = self._table.num_halfopen
        if self._full and halfopen >= self._full:
            return self._refuse("startup_limit_full")
        if self._start and halfopen >= self._start and random.random() < self._rate:
            return self._refuse("startup_limit_start")
        self.enter(host)
        return True

    def _refuse(self, limit: str) -> bool:
        self.reached = limit
        return False

    def enter(self, host: str) -> None:
        """Count a connection from *host* that was let in before, and begins another session."""
        self._clients[host] = self._clients.get(host, 0) + 1

    def leave(self, host: str) -> None:
        """A served connection from *host* has ended."""
        count = self._clients.pop(host) - 1
        if count:
            self._clients[host] = count
