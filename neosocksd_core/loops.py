"""Where the reactor meets the event loop that the program runs: asyncio and uvloop by callbacks, trio by two tasks."""

import asyncio
import contextvars
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio

from neosocksd_core.poller import Poller, make_poller
from neosocksd_core.reactor import Reactor


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
