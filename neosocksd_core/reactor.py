"""The reactor: callbacks on descriptors and on time, under whichever event loop the program runs.

The straight path of a connection runs in callbacks, for a coroutine costs more than all the system calls of a short
session. Descriptors are watched by a poller of our own, and the host's loop watches that poller's descriptor, so asyncio,
uvloop and trio all give the same cost and the same behaviour; :mod:`neosocksd_core.loops` ties it to one of them.
"""

import heapq
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.abc

from neosocksd_core.containment import FAULTS, is_own_cancellation
from neosocksd_core.poller import READ, Poller

Callback = Callable[[int], None]
"""Takes the events, an OR of READ, WRITE and HANGUP."""

_EVENTS_A_POLL = 256
_POLLS_A_WAKE = 4
_RESTING = -1


class Timer:
    """A call that is due at ``when`` (seconds, monotonic); :meth:`cancel` may come at any time."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Watch:
    """One descriptor that a reactor watches, and who is called when it has events. Made by :meth:`Reactor.watch`.

    ``callback`` may be replaced at any time: whoever it belongs to has the descriptor from then on.
    """

    __slots__ = ("_events", "_fd", "_reactor", "batch", "callback")

    def __init__(self, reactor: "Reactor", fd: int, events: int, callback: Callback) -> None:
        self._reactor = reactor
        self._fd = fd
        self._events = events
        self.callback = callback
        self.batch = reactor.batch
        """In which batch of events it was made."""

    def want(self, events: int) -> None:
        """Watch for *events* from now on; HANGUP is reported besides, even where they are none."""
        before = self._events
        if events == before:
            return
        if before != _RESTING:
            self._reactor.poller.modify(self._fd, events)
        elif events:
            self._reactor.poller.register(self._fd, events)
        else:
            return
        self._events = events

    def wants(self, events: int) -> bool:
        """Whether any of *events* is watched for."""
        return self._events > 0 and bool(self._events & events)

    def rest(self) -> None:
        """Report nothing at all, not even HANGUP, which nothing else can mask, until events are wanted again."""
        if self._events != _RESTING:
            self._events = _RESTING
            self._reactor.poller.unregister(self._fd)

    def close(self) -> None:
        """Watch no more. Always before the descriptor is closed: its number may be another's a moment later."""
        if self.callback is not _nobody:
            self.callback = _nobody
            del self._reactor.watches[self._fd]
            if self._events != _RESTING:
                self._reactor.poller.unregister(self._fd)

    def forget(self) -> None:
        """Watch no more where somebody else has closed the descriptor, which the system has taken out of the poller with that. Its
        number is nobody's now, or another's.
        """
        self.callback = _nobody
        watches = self._reactor.watches
        if watches.get(self._fd) is self:
            del watches[self._fd]


class Reactor:
    """Watches descriptors, keeps timers, starts tasks. Not thread-safe but for :meth:`call_threadsafe`.

    Make one with :func:`neosocksd_core.loops.open_reactor`.
    """

    def __init__(
        self, tasks: anyio.abc.TaskGroup, poller: Poller, alarm: Callable[[float], None]
    ) -> None:
        self._tasks = tasks
        self.poller = poller
        self.watches: dict[int, Watch] = {}
        """What is watched, by its descriptor."""
        self.batch = 0
        """Counts the batches of events. All three are for :class:`Watch` alone."""
        self._alarm = alarm
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.on_error: Callable[[BaseException], None] = _raise
        self.watch(self._wake_read, READ, self._run_posted)

    def watch(self, fd: int, events: int, callback: Callback) -> Watch:
        """Call *callback* while any of *events* (or HANGUP) holds for *fd*, which is not yet watched."""
        self.poller.register(fd, events)
        watch = self.watches[fd] = Watch(self, fd, events, callback)
        return watch

    def is_watched(self, fd: int) -> bool:
        """Whether *fd* is in somebody's hands already."""
        return fd in self.watches

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call *callback* once, *delay* seconds from now."""
        timer = Timer(time.monotonic() + delay, callback)
        heapq.heappush(self._timers, (timer.when, next(self._count), timer))
        if self._timers[0][2] is timer:
            self._alarm(timer.when)
        return timer

    def call_threadsafe(self, callback: Callable[[], None]) -> None:
        """Call *callback* soon, on the loop; may be called from any thread, and does nothing once the reactor is closed."""
        self._posted.append(callback)
        # The lock keeps the number of a closed descriptor, which may be another's by now, from being written to.
        with self._wake_lock, suppress(OSError):
            if self._wake_write >= 0:
                os.write(self._wake_write, b"\0")

    def spawn(self, work: Callable[[], Awaitable[None]], name: str) -> anyio.CancelScope:
        """Run a coroutine function in the server's task group; the scope cancels it."""
        scope = anyio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    await work()
            except FAULTS as error:
                if is_own_cancellation(error):
                    raise
                self.on_error(error)
            except BaseExceptionGroup as group:  # of trio: what failed while the rest was cancelled
                faults, rest = group.split(Exception)
                if faults is not None:
                    self.on_error(faults)
                if rest is not None:
                    raise rest from None

        self._tasks.start_soon(run, name=name)
        return scope

    def dispatch(self) -> None:
        """Serve what is ready, for a bounded while. The host's loop calls this when :meth:`fileno` is readable."""
        for _ in range(_POLLS_A_WAKE):
            ready = self.poller.poll(0, _EVENTS_A_POLL)
            self.serve(ready)
            if len(ready) < _EVENTS_A_POLL // 8:
                return

    def serve(self, ready: list[tuple[int, int]]) -> None:
        """Call who watches the descriptors of one batch of events, others' among them, which are passed over."""
        find = self.watches.get
        self.batch = batch = self.batch + 1
        for fd, events in ready:
            watch = find(fd)
            # A callback may have closed the descriptor that an event later in the batch was reported for, and its number may be
            # in use again: a watch that was made in this batch has no events yet.
            if watch is not None and watch.batch != batch:
                try:
                    watch.callback(events)
                except FAULTS as error:
                    self.on_error(error)

    def run_timers(self) -> float | None:
        """Call what is due; return when the next timer is due (monotonic seconds), None if there is none."""
        timers = self._timers
        while timers:
            when, _, timer = timers[0]
            if timer.callback is not None and when > time.monotonic():
                return when
            heapq.heappop(timers)
            if timer.callback is not None:
                try:
                    timer.callback()
                except FAULTS as error:
                    self.on_error(error)
        return None

    def fileno(self) -> int:
        return self.poller.fileno()

    def close(self) -> None:
        """Watch nothing any more. The poller stays open: it may be shared."""
        for watch in list(self.watches.values()):
            watch.close()
        os.close(self._wake_read)
        with self._wake_lock:
            os.close(self._wake_write)
            self._wake_write = -1

    def _run_posted(self, events: int) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        for _ in range(len(self._posted)):
            try:
                self._posted.popleft()()
            except FAULTS as error:
                self.on_error(error)


def _nobody(events: int) -> None:
    """Stands for the owner of a watch that is closed, which would else hold each other in memory."""


def _raise(error: BaseException) -> None:
    raise error
