"""The session table: every connection that is served, by id."""

import itertools
from collections.abc import Iterator
from typing import Protocol

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.requests import SessionInfo


class LiveSession(Protocol):
    """A session, as far as the table and the bookkeeping look at it."""

    id: int
    client: SocketAddress
    is_granted: bool
    outcome: str

    def info(self) -> SessionInfo:
        """Its row in the table."""
        ...

    def counts(self) -> tuple[int, int]:
        """Bytes relayed so far, from the client and to it."""
        ...

    def abort(self, outcome: str) -> None:
        """Reset the client, and whatever is open on the other side."""

    def expire(self) -> None:
        """The time from accept to relay has passed."""

    def close_if_idle(self) -> None:
        """Close a connection that has served a request and waits for another."""


class SessionTable:
    """Living sessions in the order of their ids, which count from 1 and are never used again."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._sessions: dict[int, LiveSession] = {}
        self.num_relaying = 0
        """How many of them relay; whoever starts and ends relays keeps it."""
        self.num_idle = 0
        """How many have served a request before and wait for another, of which nothing has come yet."""

    @property
    def num_halfopen(self) -> int:
        """Accepted, not yet relaying, and not idle between two requests."""
        return len(self._sessions) - self.num_relaying - self.num_idle

    def add(self, session: LiveSession) -> int:
        """Enter *session*; returns its id."""
        session_id = next(self._ids)
        self._sessions[session_id] = session
        return session_id

    def remove(self, session_id: int) -> None:
        """Forget a session."""
        del self._sessions[session_id]

    def get(self, session_id: int) -> LiveSession | None:
        """The living session of that id."""
        return self._sessions.get(session_id)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))
