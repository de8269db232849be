"""How many objects a machine has: counted a little at a time, and only while somebody asks."""

from collections.abc import Callable

import anyio

FRESH_SECONDS = 10.0
"""A count is good for so long."""

SLICE = 500
"""Values that are looked at in one go, in about half a millisecond."""

PAUSE_SECONDS = 0.01
"""Between two slices, so that counting takes a few hundredths of the server's time."""


class Census:
    """The count of one machine. *step* looks at so many values more, and tells whether it is done, and the count."""

    def __init__(self, step: Callable[[int], tuple[bool, int]]) -> None:
        self._step = step
        self._last = 0
        self._asked = anyio.Event()

    def ask(self) -> int:
        """The last count, 0 before the first is complete. A new one is made if this one is not fresh."""
        self._asked.set()
        return self._last

    def take(self) -> None:
        """Count at once, in some ten milliseconds at most."""
        is_done = False
        while not is_done:
            is_done, self._last = self._step(SLICE)

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            await self._count()
            await anyio.sleep(FRESH_SECONDS)

    async def _count(self) -> None:
        is_done = False
        while not is_done:
            is_done, count = self._step(SLICE)
            if is_done:
                self._last = count
            else:
                await anyio.sleep(PAUSE_SECONDS)
