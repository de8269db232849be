"""Time limits that are the same for many: the half-open sessions of a server, its dials, its sockets on their way out."""

import itertools
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from neosocksd_core.reactor import Reactor, Timer

ItemT = TypeVar("ItemT")


class DeadlineQueue(Generic[ItemT]):
    """Items that all get the same time: adding and removing one costs a dictionary entry, and one timer serves all."""

    def __init__(self, reactor: Reactor, limit: float, expire: Callable[[ItemT], None]) -> None:
        self._limit = limit
        self._reactor = reactor
        self._expire = expire
        self._deadlines: dict[ItemT, float] = {}
        self._timer: Timer | None = None

    @property
    def limit(self) -> float:
        """Seconds that each item gets. A shorter one holds for the items that are here too, from now on."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        latest = time.monotonic() + limit
        # They stay sorted by their deadlines, which is what _run relies on.
        self._deadlines = {item: min(when, latest) for item, when in self._deadlines.items()}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._reactor.call_later(0.0, self._run)

    def add(self, item: ItemT) -> None:
        """Give *item*, which is not here yet, until ``limit`` seconds from now."""
        self._deadlines[item] = time.monotonic() + self._limit
        if self._timer is None:
            self._timer = self._reactor.call_later(self._limit, self._run)

    def discard(self, item: ItemT) -> None:
        """*item* is done, or was never here."""
        self._deadlines.pop(item, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()

    def _run(self) -> None:
        self._timer = None
        now = time.monotonic()
        due = list(itertools.takewhile(lambda entry: entry[1] <= now, self._deadlines.items()))
        try:
            for item, _ in due:
                if self._deadlines.pop(item, None) is not None:
                    self._expire(item)
        finally:
            if self._timer is not None:  # of an item that was added meanwhile
                self._timer.cancel()
                self._timer = None
            first = next(iter(self._deadlines.values()), None)
            if first is not None:
                self._timer = self._reactor.call_later(max(first - now, 0.0), self._run)
