"""The calls that a machine has in flight: decisions and remote calls that wait, and messages on their way."""

import anyio


class Flights:
    """Counts the calls of one machine, so that one which gets no more of them ends with the last."""

    def __init__(self) -> None:
        self._count = 0
        self._is_closed = False
        self._over: anyio.Event | None = None

    def begin(self) -> None:
        """A call takes off."""
        self._count += 1

    def end(self) -> None:
        """A call has landed."""
        self._count -= 1
        self._tell()

    def close(self) -> None:
        """From outside no more will come."""
        self._is_closed = True
        self._tell()

    async def wait_over(self) -> None:
        """Wait until no more will come and none is left."""
        while not self._is_over():
            self._over = anyio.Event()
            await self._over.wait()

    def _is_over(self) -> bool:
        return self._is_closed and self._count == 0

    def _tell(self) -> None:
        if self._over is not None and self._is_over():
            self._over.set()
