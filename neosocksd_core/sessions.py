"""The session table: every connection that is served, by id."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neosocksd_core.session import Session


class SessionTable:
    """Living sessions in the order of their ids, which count from 1 and are never used again."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self.num_relaying = 0
        """How many of them relay; whoever starts and ends relays keeps it."""

    @property
    def num_halfopen(self) -> int:
        """Accepted, not yet relaying."""
        return len(self._sessions) - self.num_relaying

    def add(self, session: "Session") -> int:
        """Enter *session*; returns its id."""
        session_id = next(self._ids)
        self._sessions[session_id] = session
        return session_id

    def remove(self, session_id: int) -> None:
        """Forget a session."""
        del self._sessions[session_id]

    def get(self, session_id: int) -> "Session | None":
        """The living session of that id."""
        return self._sessions.get(session_id)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> "Iterator[Session]":
        return iter(list(self._sessions.values()))
