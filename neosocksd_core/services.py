"""What plugins add to a server beside proxying: long-running work, and listeners of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from neosocksd_core.control import ControlConnection


def require_callable(value: object, what: str) -> None:
    """Refuse what cannot be called, above all a coroutine that was made by calling its function.

    :raises TypeError: saying what was given as *what*.
    """
    if not callable(value):
        raise TypeError(f"{what} is {type(value).__name__}, expected the function itself")


@dataclass(frozen=True, slots=True)
class Service:
    """A coroutine function that runs as long as the server. It is cancelled at the stop; should it raise, that is logged
    with its name and the server goes on without it."""

    name: str
    run: Callable[[], Awaitable[None]]

    def __post_init__(self) -> None:
        """:raises TypeError: for a coroutine where its function is expected."""
        require_callable(self.run, f"run of the service {self.name!r}")


@dataclass(frozen=True, slots=True)
class ControlListener:
    """Listeners whose connections the plugin serves by itself: a control interface, say.

    ``listen`` are their addresses, as in the settings; ``unix:PATH`` is a Unix socket that its owner alone may use (mode 0600).
    ``serve`` is called in a task of its own for each connection, which is closed when it returns; it is cancelled at the stop. What
    it raises is logged. Of more than ``max_connections`` at once the newest is closed unserved. These connections are no sessions.
    No client reaches these listeners through the proxy, unless they are not ``guarded``.
    """

    name: str
    listen: tuple[str, ...]
    serve: Callable[[ControlConnection], Awaitable[None]]
    max_connections: int = 64
    guarded: bool = True

    def __post_init__(self) -> None:
        """:raises TypeError: for a coroutine where its function is expected."""
        require_callable(self.serve, f"serve of the control listener {self.name!r}")
