"""Calls ``ruleset.tick``: every so many seconds, or whenever there is nothing else to do."""

from collections.abc import Callable

import anyio

IDLE_PAUSE = 0.001
"""Seconds between two ticks of a negative interval, so that an idle server does not burn a processor."""

_SHORTEST, _LONGEST = 1e-3, 1e9


class Ticker:
    """One timer; a tick that comes late is not made up for."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._interval = 0.0
        self._is_stopped = False
        self._changed: anyio.Event | None = None

    @property
    def interval(self) -> float:
        """Seconds; negative where it ticks when idle, 0 where it does not."""
        return self._interval

    def set_interval(self, seconds: float) -> None:
        """Tick every *seconds* from now on; 0 stops, a negative number is whenever there is nothing else to do."""
        if self._is_stopped:
            return
        self._interval = min(max(seconds, _SHORTEST), _LONGEST) if seconds > 0 else seconds
        if self._changed is not None:
            self._changed.set()

    def stop(self) -> None:
        """Tick no more, whatever interval is set."""
        self.set_interval(0.0)
        self._is_stopped = True

    async def run(self) -> None:
        """Tick until cancelled."""
        self._changed = anyio.Event()
        try:
            while True:
                if not await self._is_changed():
                    self._tick()
        finally:
            self._changed = None

    async def _is_changed(self) -> bool:
        """Wait for the time of the next tick; True if another interval was set before."""
        assert self._changed is not None
        interval = self._interval
        delay = None if interval == 0 else interval if interval > 0 else IDLE_PAUSE
        with anyio.move_on_after(delay):
            await self._changed.wait()
        if not self._changed.is_set():
            return False
        self._changed = anyio.Event()
        return True
