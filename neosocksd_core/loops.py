"""Where the reactor meets the event loop that the program runs: asyncio and uvloop by callbacks, trio by two tasks."""

import asyncio
import contextvars
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from neosocksd_core.event_loop import new_event_loop
from neosocksd_core.poller import Poller, make_poller
from neosocksd_core.reactor import Reactor

if sys.platform == "linux":
    from neosocksd_core.event_loop import SharedSelector, SharingEventLoop


def backend_options(loop: str) -> tuple[str, dict[str, Any]]:
    """Which backend :func:`anyio.run` is to use, and with what options, for a loop's name.

    ``auto`` is asyncio over a poller that it shares with the reactor: what serves a connection with the least work.
    """
    match loop:
        case "trio":
            return "trio", {}
        case "auto":
            return "asyncio", {"loop_factory": new_event_loop}
        case _:
            return "asyncio", {"use_uvloop": loop == "uvloop"}


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
    """A reactor on the running loop (asyncio, uvloop or trio). Its tasks are cancelled when the block ends.

    It polls by *poller*, if there is one, which is closed at the end; else by the loop's own where that can be shared.
    What the block raises comes out as it is, not in the group of a task group that the caller knows nothing of.
    """
    failure: BaseException | None = None
    shared = None if poller is not None else _shared_selector()
    if shared is not None:
        reactor_on_loop = _sharing_reactor(shared)
    else:
        poller = poller or make_poller()
        on_asyncio = _runs_on_asyncio()
        reactor_on_loop = _asyncio_reactor(poller) if on_asyncio else _task_reactor(poller)
    reactor: Reactor | None = None
    try:
        async with reactor_on_loop as reactor:
            try:
                yield reactor
            except (anyio.get_cancelled_exc_class(), GeneratorExit):
                raise
            except BaseException as error:
                failure = error
        if failure is not None:
            raise failure
    finally:
        failure = None  # its traceback holds this frame
        if reactor is not None:
            reactor.close()
        if poller is not None:
            poller.close()


def _shared_selector() -> "SharedSelector | None":
    if sys.platform == "linux" and _runs_on_asyncio():
        loop = asyncio.get_running_loop()
        if isinstance(loop, SharingEventLoop):
            return loop.shared
    return None


@asynccontextmanager
async def _sharing_reactor(selector: "SharedSelector") -> AsyncGenerator[Reactor, None]:
    alarm = _LoopAlarm()
    async with anyio.create_task_group() as tasks:
        reactor = Reactor(tasks, selector.poller, alarm.set)
        alarm.run_timers = reactor.run_timers

        def serve(ready: list[tuple[int, int]]) -> None:
            alarm.context.run(reactor.serve, ready)

        selector.sharers.append(serve)
        try:
            yield reactor
        finally:
            tasks.cancel_scope.cancel()
            selector.sharers.remove(serve)
            alarm.cancel()


@asynccontextmanager
async def _asyncio_reactor(poller: Poller) -> AsyncGenerator[Reactor, None]:
    loop = asyncio.get_running_loop()
    alarm = _LoopAlarm()
    async with anyio.create_task_group() as tasks:
        reactor = Reactor(tasks, poller, alarm.set)
        alarm.run_timers = reactor.run_timers
        alarm.context.run(loop.add_reader, reactor.fileno(), reactor.dispatch)
        try:
            yield reactor
        finally:
            tasks.cancel_scope.cancel()
            loop.remove_reader(reactor.fileno())
            alarm.cancel()


class _LoopAlarm:
    """Runs a reactor's timers when the first of them is due, by one timer of asyncio's loop."""

    def __init__(self) -> None:
        self.context = _callback_context()
        self.run_timers: Callable[[], float | None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Ring at *when* (monotonic seconds), and no more at what was set before."""
        self.cancel()
        delay = max(when - time.monotonic(), 0.0)
        self._handle = self._loop.call_later(delay, self._ring, context=self.context)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        when = self.run_timers()
        if when is not None:
            self.set(when)


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
