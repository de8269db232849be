"""A server that runs while a test goes on: in a thread with an event loop of its own, on any of the loops that are supported."""

import importlib.util
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeVar, cast, overload

import anyio
import anyio.from_thread

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.loops import backend_options
from neosocksd_core.plugins import Plugins
from neosocksd_core.requests import SessionInfo
from neosocksd_core.server import Server
from neosocksd_core.settings import Settings
from neosocksd_core.statistics import Statistics
from neosocksd_core.testing.closing import Closing
from neosocksd_core.testing.connection import DEADLINE

Backend = Literal["auto", "asyncio", "uvloop", "trio"]

BACKENDS: tuple[Backend, ...] = ("auto", "asyncio", "uvloop", "trio")
"""The event loops that a server runs under; ``auto`` is the command's own, asyncio with a poller that it shares."""

ResultT = TypeVar("ResultT")

_POLL_SECONDS = 0.002


def is_available(backend: Backend) -> bool:
    """Whether that loop is installed."""
    return backend == "auto" or importlib.util.find_spec(backend) is not None


def run_async(main: Callable[[], Awaitable[ResultT]], backend: Backend = "auto") -> ResultT:
    """Run a coroutine function to its end in a loop of its own.

    :raises AssertionError: if it leaves tasks behind, or takes longer than :data:`~neosocksd_core.testing.connection.DEADLINE`
        times three.
    """

    async def guarded() -> ResultT:
        before = len(anyio.get_running_tasks())
        with anyio.fail_after(3 * DEADLINE):
            result = await main()
        left = anyio.get_running_tasks()
        assert len(left) <= before, f"tasks are left: {[task.name for task in left]}"
        return result

    name, options = backend_options(backend)
    return anyio.run(guarded, backend=name, backend_options=options)


def make_server(
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    plugins: Plugins | Iterable[object] = (),
    **options: Any,
) -> Server:
    """Put a server together, and open nothing: what a plugin's hooks are given.

    Without *settings* it would listen on a free port of 127.0.0.1. *plugins* that are no :class:`~neosocksd_core.plugins.Plugins`
    are all that is enabled. *options* are those of ``Server``: ``router``, ``authenticator``, ``resolver``, ``log``.

    :raises NeosocksdError: as ``Server`` does.
    """
    if not isinstance(plugins, Plugins):
        plugins = Plugins(plugins, defaults=False)
    if settings is None:
        settings = {"listen": "127.0.0.1:0"}
    return Server(settings, plugins=plugins, **options)


class RunningServer(Closing):
    """A :class:`~neosocksd_core.server.Server` in a background thread.

    It is bound, and so has its addresses, before this returns. Leaving the context stops it without a drain, waits for its thread, and
    raises what the server raised.
    """

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | None = None,
        *,
        plugins: Plugins | Iterable[object] = (),
        backend: Backend = "auto",
        **options: Any,
    ) -> None:
        """Start one; the arguments are those of :func:`make_server`.

        :raises NeosocksdError: as ``Server`` and its ``bind`` do.
        """
        self.server = make_server(settings, plugins=plugins, **options)
        self.server.bind()
        self.backend = backend
        self._addresses = self.server.addresses
        self._ready: Future[anyio.from_thread.BlockingPortal] = Future()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"server on {backend}", daemon=True)
        self._thread.start()
        try:
            self._portal = self._ready.result(DEADLINE)
        except BaseException:
            self.server.close()
            self._thread.join(DEADLINE)
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it listened first."""
        host, port, *_ = self._addresses[0]
        return host, port

    @property
    def addresses(self) -> list[SocketAddress]:
        """Where it listened at the start."""
        return list(self._addresses)

    @overload
    def call(self, function: Callable[..., Awaitable[ResultT]], *arguments: object) -> ResultT: ...

    @overload
    def call(self, function: Callable[..., ResultT], *arguments: object) -> ResultT: ...

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call *function*, which may be a coroutine function, on the server's loop, and return what it returns."""
        return self._portal.call(function, *arguments)

    def statistics(self) -> Statistics:
        """A snapshot of the counters."""
        return self.call(self.server.statistics)

    def sessions(self) -> list[SessionInfo]:
        """A snapshot of the session table."""
        return self.call(self.server.sessions)

    def reload(self, settings: Settings | Mapping[str, Any]) -> None:
        """Replace the settings."""
        self.call(self.server.reload, settings)

    def shorten_timeout(self, seconds: float) -> None:
        """Give clients that have just connected less time than the setting ``timeout`` allows (5 seconds at least)."""

        def shorten() -> None:
            runtime = self.server._runtime  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            assert runtime is not None
            runtime.pipeline.halfopen.limit = seconds

        self.call(shorten)

    def count_tasks(self) -> int:
        """The tasks on the server's loop, that which counts among them."""
        return self.call(lambda: len(anyio.get_running_tasks()))

    def wait_until(self, condition: Callable[[Statistics], object]) -> Statistics:
        """Wait until the counters are as *condition* says; returns them.

        :raises AssertionError: if that takes longer than :data:`~neosocksd_core.testing.connection.DEADLINE`.
        """
        deadline = time.monotonic() + DEADLINE
        pause = threading.Event()
        while True:
            statistics = self.statistics()
            if condition(statistics):
                return statistics
            if time.monotonic() > deadline:
                raise AssertionError(f"it never came to that: {statistics}")
            pause.wait(_POLL_SECONDS)

    def wait_idle(self) -> Statistics:
        """Wait until no session is left; returns the counters."""
        return self.wait_until(lambda s: s.num_sessions == 0 and s.num_halfopen == 0)

    def request_stop(self, drain: float | None = None) -> None:
        """Ask for an orderly stop, and do not wait for it."""
        self.call(lambda: self.server.stop(drain=drain))

    def join(self) -> None:
        """Wait until the server has stopped by itself or by request.

        :raises AssertionError: if it does not, or has left tasks behind.
        """
        self._thread.join(3 * DEADLINE)
        assert not self._thread.is_alive(), "the server does not stop"
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """As :meth:`stop`."""
        self.stop()

    def stop(self) -> None:
        """Stop without a drain, and wait for the end. Once is enough, and twice is no error."""
        if self._thread.is_alive():
            try:
                self.request_stop(drain=0)
            except RuntimeError:  # it has stopped at this very moment
                pass
        self.join()

    def _run(self) -> None:
        try:
            name, options = backend_options(self.backend)
            anyio.run(self._serve, backend=name, backend_options=options)
        except BaseException as raised:
            error = _alone(raised)
            if self._ready.done():
                self._failure = error
            else:
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        before = len(anyio.get_running_tasks())
        async with anyio.from_thread.BlockingPortal() as portal, self.server:
            self._ready.set_result(portal)
            await self.server.wait_stopped()
        left = anyio.get_running_tasks()
        assert len(left) <= before, f"tasks are left: {[task.name for task in left]}"


def _alone(error: BaseException) -> BaseException:
    """What the portal's task group has put into a group by itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) == 1:
            return _alone(group.exceptions[0])
        return group
    return error


Serve = Callable[..., RunningServer]
"""What the fixture ``serve`` gives: a function that takes the arguments of :class:`RunningServer` and starts one."""
