"""Pollers: which descriptors are ready, by epoll where there is one, else by the standard library's selector."""

import select
import selectors
from typing import Any, Protocol

READ = 1
"""The descriptor can be read: data, an end or an error."""
WRITE = 4
"""The descriptor can be written."""
HANGUP = 8 | 16
"""An error or a hang-up; reported whether it was asked for or not. (All four are epoll's numbers.)"""


class Poller(Protocol):
    """The part of :class:`select.epoll` that the reactor needs."""

    def fileno(self) -> int: ...
    def register(self, fd: int, eventmask: int) -> None: ...
    def modify(self, fd: int, eventmask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class SelectorPoller:
    """A poller for systems without epoll, over the standard library's selector (kqueue and the like)."""

    def __init__(self) -> None:
        self._selector: Any = selectors.DefaultSelector()
        self._idle: set[int] = set()

    def fileno(self) -> int:
        return int(self._selector.fileno())

    def register(self, fd: int, eventmask: int) -> None:
        events = self._events(eventmask)
        if events:
            self._selector.register(fd, events)
        else:
            self._idle.add(fd)

    def modify(self, fd: int, eventmask: int) -> None:
        self.unregister(fd)
        self.register(fd, eventmask)

    def unregister(self, fd: int) -> None:
        if fd in self._idle:
            self._idle.remove(fd)
        else:
            self._selector.unregister(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        ready: list[tuple[Any, int]] = self._selector.select(timeout)
        return [
            (
                key.fd,
                (READ if events & selectors.EVENT_READ else 0)
                | (WRITE if events & selectors.EVENT_WRITE else 0),
            )
            for key, events in ready
        ]

    def close(self) -> None:
        self._selector.close()

    @staticmethod
    def _events(eventmask: int) -> int:
        return (selectors.EVENT_READ if eventmask & READ else 0) | (
            selectors.EVENT_WRITE if eventmask & WRITE else 0
        )


def make_poller() -> Poller:
    """epoll where the system has it."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()
