"""A connection of a control listener, as the plugin that serves it has it: a socket, and a way to wait for it.

The reactor watches the socket for as long as the connection lasts. To have the event loop watch it anew for each wait, as
``anyio.wait_readable`` does, takes a sixth of the time of a small answer.
"""

import math
import socket
import time
from collections.abc import Coroutine
from typing import Any

import anyio

from neosocksd_core.poller import HANGUP, READ, WRITE
from neosocksd_core.reactor import Reactor, Timer


class _Wait:
    """One task that waits, and until when."""

    __slots__ = ("event", "is_late", "until")

    def __init__(self, until: float) -> None:
        self.event = anyio.Event()
        self.until = until
        self.is_late = False


class ControlConnection:
    """A connection that a plugin serves. ``socket`` is non-blocking, and is closed when its serving ends.

    One task may wait until it can be read, and another until it can be written. No event loop may watch it besides: where that is
    to be done, as by a library that takes a socket, it gets a duplicate (``socket.dup()``).
    """

    def __init__(self, reactor: Reactor, sock: socket.socket) -> None:
        self.socket = sock
        self._reactor = reactor
        self._waits: dict[int, _Wait] = {}
        """Who waits, by the event: READ or WRITE."""
        self._timer: Timer | None = None
        self._watch = reactor.watch(sock.fileno(), READ, self._on_events)

    def wait_readable(self, until: float = math.inf) -> Coroutine[Any, Any, None]:
        """Wait until something has come, or the connection has ended or failed. The loop has a turn also where that is so already.

        :raises TimeoutError: if that is not before *until* (seconds, monotonic).
        """
        return self._wait(READ, until)

    def wait_writable(self, until: float = math.inf) -> Coroutine[Any, Any, None]:
        """Wait until something can be sent, or the connection has failed.

        :raises TimeoutError: if that is not before *until* (seconds, monotonic).
        """
        return self._wait(WRITE, until)

    def close(self) -> None:
        """Close the socket; may be called again. Nobody may be waiting."""
        if self.socket.fileno() < 0:
            self._watch.forget()
        else:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
        self.socket.close()

    async def _wait(self, event: int, until: float) -> None:
        if event in self._waits:
            raise anyio.BusyResourceError("waiting for")
        if until <= time.monotonic():
            raise TimeoutError  # or who always has something to read is never late
        wait = self._waits[event] = _Wait(until)
        self._watch.want(self._wanted())
        self._ring_at(until)
        try:
            await wait.event.wait()
        finally:
            del self._waits[event]
        if wait.is_late:
            raise TimeoutError

    def _wanted(self) -> int:
        return sum(self._waits)  # each is a bit

    def _on_events(self, events: int) -> None:
        for event, wait in self._waits.items():
            if events & (event | HANGUP):
                wait.event.set()
        # What is left unread is reported time and again: whoever waits next asks for it.
        if wanted := self._wanted():
            self._watch.want(wanted)
        else:
            self._watch.rest()

    def _ring_at(self, until: float) -> None:
        """Have the timer ring at *until* at the latest. It is not set back: a deadline that moves on with each request costs nothing."""
        if self._timer is not None:
            if self._timer.when <= until:
                return
            self._timer.cancel()
        if until < math.inf:
            self._timer = self._reactor.call_later(until - time.monotonic(), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = time.monotonic()
        for wait in self._waits.values():
            if wait.until > now:
                self._ring_at(wait.until)
            elif not wait.event.is_set():
                wait.is_late = True
                wait.event.set()
