"""The reactor: callbacks on descriptors and on time, under whichever event loop the program runs.

The straight path of a connection runs in callbacks, for a coroutine costs more than all the system calls of a short
session. Descriptors are watched by a selector of our own (epoll where there is one), and the host's loop watches
that selector's descriptor, so asyncio, uvloop and trio all give the same cost and the same behaviour. Only
:func:`open_reactor` knows which loop it is.
"""

import asyncio
import contextvars
import heapq
import itertools
import os
import select
import selectors
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

import anyio
import anyio.abc

READ = 1
"""The descriptor can be read: data, an end or an error."""
WRITE = 4
"""The descriptor can be written."""
HANGUP = 8 | 16
"""An error or a hang-up; reported whether it was asked for or not. (All four are epoll's numbers.)"""

Callback = Callable[[int], None]
"""Takes the events, an OR of READ, WRITE and HANGUP."""

_EVENTS_A_POLL = 256
_POLLS_A_WAKE = 4

ItemT = TypeVar("ItemT")


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


class Timer:
    """A call that is due at ``when`` (seconds, monotonic); :meth:`cancel` may come at any time."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Reactor:
    """Watches descriptors, keeps timers, starts tasks. Not thread-safe but for :meth:`call_threadsafe`.

    Make one with :func:`open_reactor`.
    """

    def __init__(
        self, tasks: anyio.abc.TaskGroup, poller: Poller, alarm: Callable[[float], None]
    ) -> None:
        self._tasks = tasks
        self._poller = poller
        self._alarm = alarm
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake_lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.on_error: Callable[[Exception], None] = _raise
        self.watch(self._wake_read, READ, self._run_posted)

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call *callback* while any of *events* (or HANGUP) holds for *fd*, which is not yet watched."""
        self._poller.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Watch *fd* for other events from now on."""
        self._poller.modify(fd, events)

    def hand_over(self, fd: int, callback: Callback) -> None:
        """Let another callback have the events of *fd* from now on."""
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching *fd*. Always before it is closed: its number may be another's a moment later."""
        if self._callbacks.pop(fd, None) is not None:
            self._poller.unregister(fd)

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
            with scope:
                try:
                    await work()
                except Exception as error:
                    self.on_error(error)

        self._tasks.start_soon(run, name=name)
        return scope

    def dispatch(self) -> None:
        """Serve what is ready, for a bounded while. The host's loop calls this when :meth:`fileno` is readable."""
        callbacks = self._callbacks
        for _ in range(_POLLS_A_WAKE):
            ready = self._poller.poll(0, _EVENTS_A_POLL)
            # A callback may close a descriptor whose event stands later in this batch, and its number may be in use again: an
            # event counts only for the callback that it was reported to.
            for fd, events, callback in [(fd, events, callbacks.get(fd)) for fd, events in ready]:
                if callback is not None and callbacks.get(fd) is callback:
                    try:
                        callback(events)
                    except Exception as error:
                        self.on_error(error)
            if len(ready) < _EVENTS_A_POLL // 8:
                return

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
                except Exception as error:
                    self.on_error(error)
        return None

    def fileno(self) -> int:
        return self._poller.fileno()

    def close(self) -> None:
        self.unwatch(self._wake_read)
        os.close(self._wake_read)
        with self._wake_lock:
            os.close(self._wake_write)
            self._wake_write = -1
        self._poller.close()

    def _run_posted(self, events: int) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        for _ in range(len(self._posted)):
            try:
                self._posted.popleft()()
            except Exception as error:
                self.on_error(error)


class DeadlineQueue(Generic[ItemT]):
    """Items that all get the same time: adding and removing one costs a dictionary entry, and one timer serves all."""

    def __init__(self, reactor: Reactor, limit: float, expire: Callable[[ItemT], None]) -> None:
        self._limit = limit
        self._reactor = reactor
        self._expire = expire
        self._deadlines: dict[ItemT, float] = {}
        self._timer: Timer | None = None

    @property
    def limit(self) -> float:
        """Seconds that each item gets. A shorter one holds for the items that are here too, from now on."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = limit
        latest = time.monotonic() + limit
        # They stay sorted by their deadlines, which is what _run relies on.
        self._deadlines = {item: min(when, latest) for item, when in self._deadlines.items()}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._reactor.call_later(0.0, self._run)

    def add(self, item: ItemT) -> None:
        """Give *item*, which is not here yet, until ``limit`` seconds from now."""
        self._deadlines[item] = time.monotonic() + self._limit
        if self._timer is None:
            self._timer = self._reactor.call_later(self._limit, self._run)

    def discard(self, item: ItemT) -> None:
        """*item* is done, or was never here."""
        self._deadlines.pop(item, None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()

    def _run(self) -> None:
        self._timer = None
        now = time.monotonic()
        due = list(itertools.takewhile(lambda entry: entry[1] <= now, self._deadlines.items()))
        for item, _ in due:
            if self._deadlines.pop(item, None) is not None:
                self._expire(item)
        for deadline in self._deadlines.values():
            self._timer = self._reactor.call_later(max(deadline - now, 0.0), self._run)
            return


def _raise(error: Exception) -> None:
    raise error


def make_poller() -> Poller:
    """epoll where the system has it."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()


def _callback_context() -> contextvars.Context:
    """A context in which anyio knows its loop in a plain callback too.

    sniffio, where it is installed, tells the loop by the current task, and a callback has none.
    """
    context = contextvars.copy_context()
    with suppress(ImportError):
        import sniffio

        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def _runs_on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


@asynccontextmanager
async def open_reactor(poller: Poller | None = None) -> AsyncGenerator[Reactor, None]:
    """A reactor on the running loop (asyncio, uvloop or trio). Its tasks are cancelled when the block ends."""
    poller = poller or make_poller()
    open_on_loop = _asyncio_reactor if _runs_on_asyncio() else _task_reactor
    reactor: Reactor | None = None
    try:
        async with open_on_loop(poller) as reactor:
            yield reactor
    finally:
        if reactor is not None:
            reactor.close()


@asynccontextmanager
async def _asyncio_reactor(poller: Poller) -> AsyncGenerator[Reactor, None]:
    loop = asyncio.get_running_loop()
    context = _callback_context()
    handle: asyncio.TimerHandle | None = None

    def set_alarm(when: float) -> None:
        nonlocal handle
        if handle is not None:
            handle.cancel()
        handle = loop.call_later(max(when - time.monotonic(), 0.0), ring, context=context)

    def ring() -> None:
        nonlocal handle
        handle = None
        when = reactor.run_timers()
        if when is not None:
            set_alarm(when)

    async with anyio.create_task_group() as tasks:
        reactor = Reactor(tasks, poller, set_alarm)
        context.run(loop.add_reader, reactor.fileno(), reactor.dispatch)
        try:
            yield reactor
        finally:
            tasks.cancel_scope.cancel()
            loop.remove_reader(reactor.fileno())
            if handle is not None:
                handle.cancel()


@asynccontextmanager
async def _task_reactor(poller: Poller) -> AsyncGenerator[Reactor, None]:
    alarm = anyio.Event()
    next_call: float | None = None

    def set_alarm(when: float) -> None:
        nonlocal next_call
        next_call = when
        alarm.set()

    async def serve_descriptors() -> None:
        while True:
            await anyio.wait_readable(reactor)
            reactor.dispatch()

    async def serve_timers() -> None:
        nonlocal alarm, next_call
        while True:
            delay = None if next_call is None else max(next_call - time.monotonic(), 0.0)
            with anyio.move_on_after(delay):
                await alarm.wait()
            alarm = anyio.Event()
            next_call = reactor.run_timers()

    async with anyio.create_task_group() as tasks:
        reactor = Reactor(tasks, poller, set_alarm)
        tasks.start_soon(serve_descriptors, name="reactor descriptors")
        tasks.start_soon(serve_timers, name="reactor timers")
        try:
            yield reactor
        finally:
            tasks.cancel_scope.cancel()
