"""Timers of routines: one heap and one task for all of them, so that thousands of sleeping routines cost a few bytes each."""

import heapq
import itertools
import time
from collections.abc import Callable

import anyio
import anyio.lowlevel

_SLACK = 64
"""So many cancelled entries may stay in the heap before it is rebuilt."""


class Timers:
    """Calls *due* with the id of each timer when its time has come. Timers that are added before it runs wait for that."""

    def __init__(self, due: Callable[[int], None]) -> None:
        self._due = due
        self._heap: list[tuple[float, int, int]] = []
        self._count = itertools.count()
        self._living: set[int] = set()
        self._changed: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._living)

    def add(self, identity: int, seconds: float) -> None:
        """Begin a timer."""
        when = time.monotonic() + seconds
        self._living.add(identity)
        heapq.heappush(self._heap, (when, next(self._count), identity))
        if self._changed is not None and self._heap[0][2] == identity:
            self._changed.set()

    def discard(self, identity: int) -> bool:
        """Forget a timer; False if there is none of that id."""
        if identity not in self._living:
            return False
        self._living.remove(identity)
        if len(self._heap) > 2 * len(self._living) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2] in self._living]
            heapq.heapify(self._heap)
        return True

    def clear(self) -> None:
        """Forget all timers."""
        self._heap.clear()
        self._living.clear()

    async def run(self) -> None:
        """Serve the timers until cancelled."""
        self._changed = anyio.Event()
        try:
            while True:
                delay = self._heap[0][0] - time.monotonic() if self._heap else None
                if delay is None:
                    await self._changed.wait()
                elif delay > 0:
                    with anyio.move_on_after(delay):
                        await self._changed.wait()
                else:  # those that fire add timers: what is ready besides is served first
                    await anyio.lowlevel.checkpoint()
                if self._changed.is_set():
                    self._changed = anyio.Event()
                self._fire()
        finally:
            self._changed = None

    def _fire(self) -> None:
        now = time.monotonic()
        expired: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            expired.append(heapq.heappop(self._heap)[2])
        for identity in expired:
            if identity in self._living:
                self._living.remove(identity)
                self._due(identity)
