"""The reactor: descriptors, timers, tasks and threads, on each loop and with each poller."""

import os
import select
import socket
import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from neosocksd_core.loops import open_reactor
from neosocksd_core.poller import HANGUP, READ, WRITE, Poller, SelectorPoller
from neosocksd_core.reactor import Reactor, Watch
from neosocksd_core.sockets import reset
from neosocksd_core.testing import run_async
from neosocksd_core.testing.running import Backend

POLLERS: dict[str, Callable[[], Poller]] = {"selector": SelectorPoller}
if hasattr(select, "epoll"):
    POLLERS["epoll"] = select.epoll

Body = Callable[[Reactor], Awaitable[None]]


@pytest.fixture(params=list(POLLERS))
def run(request: pytest.FixtureRequest, backend: Backend) -> Callable[[Body], None]:
    """Run a body with a reactor."""

    def start(body: Body) -> None:
        async def main() -> None:
            async with open_reactor(POLLERS[request.param]()) as reactor:
                await body(reactor)

        run_async(main, backend)

    return start


def pair() -> tuple[socket.socket, socket.socket]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def test_a_readable_descriptor_is_reported(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        left, right = pair()
        seen = anyio.Event()
        with left, right:

            def on_left(events: int) -> None:
                assert events & READ
                assert left.recv(10) == b"x"
                seen.set()

            watch = reactor.watch(left.fileno(), READ, on_left)
            right.send(b"x")
            await seen.wait()
            watch.close()

    run(body)


def test_what_is_watched_for_can_change_and_end(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        left, right = pair()
        events_seen: list[int] = []
        seen = anyio.Event()
        with left, right:

            def on_left(events: int) -> None:
                events_seen.append(events)
                watch.want(0)
                seen.set()

            watch = reactor.watch(left.fileno(), 0, on_left)
            right.send(b"x")
            watch.want(WRITE)
            await seen.wait()
            assert events_seen == [WRITE]
            watch.close()
            watch.close()

    run(body)


def test_a_descriptor_can_be_handed_over(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        left, right = pair()
        seen = anyio.Event()
        with left, right:

            def first(events: int) -> None:
                raise AssertionError("not its any more")

            def second(events: int) -> None:
                left.recv(10)
                seen.set()

            watch = reactor.watch(left.fileno(), READ, first)
            watch.callback = second
            right.send(b"x")
            await seen.wait()
            watch.close()

    run(body)


def test_an_event_of_a_closed_descriptor_does_not_reach_the_next_owner_of_its_number(
    run: Callable[[Body], None],
) -> None:
    async def body(reactor: Reactor) -> None:
        one, one_peer = pair()
        two, two_peer = pair()
        fresh: list[socket.socket] = []
        watches: dict[int, Watch] = {}
        wrong: list[int] = []
        done = anyio.Event()

        def replace(mine: socket.socket, other: socket.socket) -> Callable[[int], None]:
            def on_ready(events: int) -> None:
                mine.recv(10)
                if fresh:
                    return
                number = other.fileno()
                watches[number].close()
                other.close()
                fresh.extend(pair())
                assert number in (fresh[0].fileno(), fresh[1].fileno())
                watches[number] = reactor.watch(number, READ, wrong.append)
                done.set()

            return on_ready

        for sock, other in ((one, two), (two, one)):
            watches[sock.fileno()] = reactor.watch(sock.fileno(), READ, replace(sock, other))
        one_peer.send(b"x")
        two_peer.send(b"x")
        await done.wait()
        turn = anyio.Event()
        reactor.call_later(0, turn.set)
        await turn.wait()
        assert not wrong
        for watch in watches.values():
            watch.close()
        for sock in (one, two, one_peer, two_peer, *fresh):
            sock.close()

    run(body)


def test_timers_ring_in_the_order_of_their_times_and_not_when_cancelled(
    run: Callable[[Body], None],
) -> None:
    async def body(reactor: Reactor) -> None:
        rung: list[str] = []
        done = anyio.Event()
        reactor.call_later(0.03, done.set)
        reactor.call_later(0.02, lambda: rung.append("second"))
        reactor.call_later(0.001, lambda: rung.append("first"))
        cancelled = reactor.call_later(0.01, lambda: rung.append("cancelled"))
        cancelled.cancel()
        await done.wait()
        assert rung == ["first", "second"]

    run(body)


def test_a_timer_may_set_another(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        done = anyio.Event()

        def set_another() -> None:
            reactor.call_later(0, done.set)

        reactor.call_later(0, set_another)
        await done.wait()

    run(body)


def test_what_raises_is_reported_and_the_rest_goes_on(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        errors: list[str] = []
        reactor.on_error = lambda error: errors.append(str(error))
        left, right = pair()
        done = anyio.Event()

        def fail(where: str) -> None:
            raise ValueError(where)

        def on_left(events: int) -> None:
            left.recv(10)
            fail("watch")

        async def work() -> None:
            fail("task")

        with left, right:
            watch = reactor.watch(left.fileno(), READ, on_left)
            right.send(b"x")
            reactor.call_later(0, lambda: fail("timer"))
            reactor.call_threadsafe(lambda: fail("thread"))
            reactor.spawn(work, "work")
            reactor.call_later(0.02, done.set)
            await done.wait()
            watch.close()
        assert sorted(errors) == ["task", "thread", "timer", "watch"]

    run(body)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")
def test_what_rests_is_woken_by_wanted_events_alone(backend: Backend) -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            left, right = pair()
            seen: list[int] = []
            woken, turn = anyio.Event(), anyio.Event()

            def on_left(events: int) -> None:
                seen.append(events)
                watch.rest()
                woken.set()

            watch = reactor.watch(left.fileno(), READ, on_left)
            with left, right:
                watch.rest()
                right.close()
                watch.want(0)
                reactor.call_later(0, turn.set)
                await turn.wait()
                assert not seen
                watch.want(READ)
                await woken.wait()
                assert seen
                watch.close()

    run_async(main, backend)


def test_a_task_is_cancelled_by_its_scope_and_by_the_end(run: Callable[[Body], None]) -> None:
    ended: list[str] = []

    async def body(reactor: Reactor) -> None:
        first_runs, first_ended = anyio.Event(), anyio.Event()

        async def first() -> None:
            first_runs.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("first")
                first_ended.set()

        async def second() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("second")

        scope = reactor.spawn(first, "first")
        await first_runs.wait()
        reactor.spawn(second, "second")
        scope.cancel()
        await first_ended.wait()
        assert ended == ["first"]

    run(body)
    assert ended == ["first", "second"]


def test_a_task_that_fails_when_it_is_cancelled_ends_nobody_else(
    run: Callable[[Body], None],
) -> None:
    async def body(reactor: Reactor) -> None:
        runs, reported = anyio.Event(), anyio.Event()
        errors: list[BaseException] = []

        def report(error: BaseException) -> None:
            errors.append(error)
            reported.set()

        async def fail() -> None:
            runs.set()
            try:
                await anyio.sleep_forever()
            finally:
                raise ZeroDivisionError

        reactor.on_error = report
        scope = reactor.spawn(fail, "fail")
        await runs.wait()
        scope.cancel()
        await reported.wait()
        assert [type(error) for error in errors] == [ZeroDivisionError]

    run(body)


@pytest.mark.parametrize("by", ["its scope", "the end"])
def test_a_task_of_which_a_part_fails_when_it_is_cancelled_ends_nobody_else(
    run: Callable[[Body], None], by: str
) -> None:
    errors: list[BaseException] = []

    async def body(reactor: Reactor) -> None:
        runs, reported = anyio.Event(), anyio.Event()

        def report(error: BaseException) -> None:
            errors.append(error)
            reported.set()

        async def fail() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ZeroDivisionError

        async def work() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                tasks.start_soon(anyio.sleep_forever)
                await anyio.lowlevel.checkpoint()
                runs.set()
                await anyio.sleep_forever()

        reactor.on_error = report
        scope = reactor.spawn(work, "work")
        await runs.wait()
        if by == "its scope":
            scope.cancel()
            await reported.wait()

    run(body)
    assert len(errors) == 1


def test_another_thread_can_wake_the_loop(run: Callable[[Body], None]) -> None:
    async def body(reactor: Reactor) -> None:
        done = anyio.Event()
        count = 0

        def on_call() -> None:
            nonlocal count
            count += 1
            if count == 100:
                done.set()

        def call() -> None:
            for _ in range(100):
                reactor.call_threadsafe(on_call)

        thread = threading.Thread(target=call)
        thread.start()
        await done.wait()
        thread.join()

    run(body)


def test_a_thread_that_comes_after_the_end_writes_nowhere(backend: Backend) -> None:
    kept: list[Reactor] = []

    async def main() -> None:
        async with open_reactor() as reactor:
            kept.append(reactor)

    run_async(main, backend)
    # Whoever opens descriptors now gets the numbers that the reactor had.
    pipes = [os.pipe() for _ in range(8)]
    try:
        for read, _ in pipes:
            os.set_blocking(read, False)
        kept[0].call_threadsafe(lambda: None)
        for read, _ in pipes:
            with pytest.raises(BlockingIOError):
                os.read(read, 1)
    finally:
        for read, write in pipes:
            os.close(read)
            os.close(write)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll")
def test_epoll_reports_a_reset_to_who_watches_for_nothing(backend: Backend) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        seen = anyio.Event()
        with server:
            async with open_reactor() as reactor:

                def on_server(events: int) -> None:
                    assert events & HANGUP
                    watch.rest()
                    seen.set()

                watch = reactor.watch(server.fileno(), 0, on_server)
                reset(client)
                await seen.wait()
                watch.close()

    run_async(main, backend)
