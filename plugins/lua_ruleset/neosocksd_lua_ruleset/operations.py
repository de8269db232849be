"""What routines wait for: timers, and tasks that end by waking their routine.

An operation is begun by a native function, under an id of Lua's, and ends in one of two ways: its result wakes the routine, on
the event loop and outside every Lua call, or it is cancelled because nobody waits for it any more.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import anyio.abc

from neosocksd_lua_ruleset.bridge import NativeResult, Primitive, Report
from neosocksd_lua_ruleset.flights import Flights
from neosocksd_lua_ruleset.timers import Timers

Result = tuple[Primitive, ...]

Work = Callable[[], Awaitable[Result]]
"""A coroutine function whose result the routine gets."""

INTERNAL_ERROR: Result = (False, b"internal error")


class Operations:
    """The operations of one machine. Those that a script begins while it is loaded start with the server.

    *wake* is called with an id and the results.
    """

    def __init__(self, wake: Callable[..., None], report: Report, flights: Flights) -> None:
        self._wake = wake
        self._report = report
        self._flights = flights
        self._tasks: anyio.abc.TaskGroup | None = None
        self._queued: dict[int, Work] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._background: set[anyio.CancelScope] = set()
        self._waiting_background: list[Callable[[], Awaitable[None]]] = []
        self.timers = Timers(wake)

    def __len__(self) -> int:
        begun = len(self._scopes) + len(self._background) + len(self.timers)
        return begun + len(self._queued) + len(self._waiting_background)

    def start(self, identity: int, work: Work) -> None:
        """Begin an operation; nothing of it happens before this returns."""
        if self._tasks is None:
            self._queued[identity] = work
            return
        scope = self._scopes[identity] = anyio.CancelScope()
        self._tasks.start_soon(self._run, identity, scope, work, name=f"lua {identity}")

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin something that no routine waits for."""
        if self._tasks is None:
            self._waiting_background.append(work)
            return
        scope = anyio.CancelScope()
        self._background.add(scope)
        self._flights.begin()
        self._tasks.start_soon(self._run_background, scope, work, name="lua background")

    def cancel(self, identity: int) -> None:
        """End an operation without a word; its task closes what it holds."""
        if self.timers.discard(identity) or self._queued.pop(identity, None) is not None:
            return
        scope = self._scopes.pop(identity, None)
        if scope is not None:
            scope.cancel()

    async def run(self, *services: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Serve operations, and *services* beside them, until cancelled; then all of them are."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                queued, self._queued = self._queued, {}
                for identity, work in queued.items():
                    self.start(identity, work)
                background, self._waiting_background = self._waiting_background, []
                for task in background:
                    self.spawn(task)
                for service in services:
                    tasks.start_soon(service)
                await self.timers.run()
        finally:
            self._tasks = None
            self._scopes.clear()
            self._background.clear()
            self.timers.clear()

    async def _run(self, identity: int, scope: anyio.CancelScope, work: Work) -> None:
        result = INTERNAL_ERROR
        with scope:
            try:
                result = await work()
            except Exception as error:  # the routine must not wait for ever
                self._report(error, "operation")
        if self._scopes.get(identity) is scope:
            del self._scopes[identity]
            if not scope.cancelled_caught:
                self._wake(identity, *result)

    async def _run_background(
        self, scope: anyio.CancelScope, work: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            with scope:
                await work()
        except Exception as error:
            self._report(error, "operation")
        finally:
            self._background.discard(scope)
            self._flights.end()


def starter(
    operations: Operations, operation: Callable[..., Awaitable[Result]]
) -> Callable[..., NativeResult]:
    """The native function that begins *operation*: it takes the id, then the operation's own arguments."""

    def start(identity: int, *arguments: Primitive) -> NativeResult:
        operations.start(identity, partial(operation, *arguments))
        return None

    return start
