"""Long-running work that plugins add to a server."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """A coroutine function that runs as long as the server. It is cancelled at the stop; should it raise, that is logged
    with its name and the server goes on without it."""

    name: str
    run: Callable[[], Awaitable[None]]
