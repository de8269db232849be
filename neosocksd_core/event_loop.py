"""asyncio's event loop over a poller that reactors share.

Under any other loop a reactor's poller is one descriptor among those that the loop watches, and each wake is two system
calls and a callback of the loop. Here it is one system call, and the reactor's callbacks run before the loop does anything else.
"""

import asyncio
import os
import select
import selectors
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_EVENTS_A_POLL = 256

Serve = Callable[[list[tuple[int, int]]], None]
"""Takes what a poll reported: descriptors and their events, strangers' among them."""


if sys.platform == "linux":

    class SharedSelector(selectors.EpollSelector):
        """The loop's selector; others may watch descriptors through its ``poller``, and are told of all events."""

        def __init__(self) -> None:
            super().__init__()
            # Another descriptor of the same epoll instance.
            self.poller = select.epoll.fromfd(os.dup(self.fileno()))
            self.sharers: list[Serve] = []
            self._mine: dict[int, selectors.SelectorKey] = {}

        def register(
            self, fileobj: "FileDescriptorLike", events: int, data: Any = None
        ) -> selectors.SelectorKey:
            return self._keep(super().register(fileobj, events, data))

        def modify(
            self, fileobj: "FileDescriptorLike", events: int, data: Any = None
        ) -> selectors.SelectorKey:
            return self._keep(super().modify(fileobj, events, data))

        def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
            key = super().unregister(fileobj)
            del self._mine[key.fd]
            return key

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = self.poller.poll(-1 if timeout is None else max(timeout, 0), _EVENTS_A_POLL)
            for serve in self.sharers:
                serve(ready)
            mine = self._mine
            return [_reported(mine[fd], events) for fd, events in ready if fd in mine]

        def close(self) -> None:
            self.poller.close()
            self._mine.clear()
            super().close()

        def _keep(self, key: selectors.SelectorKey) -> selectors.SelectorKey:
            self._mine[key.fd] = key
            return key

    def _reported(key: selectors.SelectorKey, events: int) -> tuple[selectors.SelectorKey, int]:
        readable = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
        writable = selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
        return key, (readable | writable) & key.events

    class SharingEventLoop(asyncio.SelectorEventLoop):
        """asyncio's event loop, with a poller for reactors."""

        def __init__(self) -> None:
            self.shared = SharedSelector()
            super().__init__(self.shared)

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """The loop that serves connections with the least work: ``asyncio.Runner(loop_factory=new_event_loop)`` runs a program in it."""
        return SharingEventLoop()

else:

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """asyncio's own loop, where the system has no epoll."""
        return asyncio.SelectorEventLoop()
