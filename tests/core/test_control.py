"""Waiting for a socket that the reactor watches, on each loop and with each poller."""

import math
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from neosocksd_core.control import ControlConnection
from neosocksd_core.loops import open_reactor
from neosocksd_core.poller import Poller, SelectorPoller
from neosocksd_core.reactor import Reactor
from neosocksd_core.testing import DEADLINE, run_async
from neosocksd_core.testing.running import Backend


class Counting:
    """A poller that counts what it is told of descriptors."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.fileno = poller.fileno
        self.poll = poller.poll
        self.close = poller.close
        self.count = 0

    def register(self, fd: int, eventmask: int) -> None:
        self.count += 1
        self._poller.register(fd, eventmask)

    def modify(self, fd: int, eventmask: int) -> None:
        self.count += 1
        self._poller.modify(fd, eventmask)

    def unregister(self, fd: int) -> None:
        self.count += 1
        self._poller.unregister(fd)


POLLERS: dict[str, Callable[[], Poller]] = {"selector": SelectorPoller}
if hasattr(select, "epoll"):
    POLLERS["epoll"] = select.epoll

Body = Callable[[ControlConnection, socket.socket, Counting], Awaitable[None]]


@pytest.fixture(params=list(POLLERS))
def run(request: pytest.FixtureRequest, backend: Backend) -> Callable[[Body], None]:
    """Run a body with a connection and the socket of its peer."""

    async def serve(reactor: Reactor, body: Body, poller: Counting) -> None:
        mine, peer = socket.socketpair()
        mine.setblocking(False)
        peer.setblocking(False)
        with peer:
            connection = ControlConnection(reactor, mine)
            try:
                await body(connection, peer, poller)
            finally:
                connection.close()
            assert mine.fileno() == -1

    def start(body: Body) -> None:
        async def main() -> None:
            poller = Counting(POLLERS[request.param]())
            async with open_reactor(poller) as reactor:
                await serve(reactor, body, poller)

        run_async(main, backend)

    return start


def test_a_socket_is_watched_once_for_all_waits(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        before = poller.count

        async def echo() -> None:
            for _ in range(9):
                await connection.wait_readable(time.monotonic() + 60)
                connection.socket.send(connection.socket.recv(10))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(echo)
            await anyio.wait_all_tasks_blocked()
            for number in range(9):
                peer.send(bytes([number]))
                assert await receive(peer) == bytes([number])
        assert poller.count == before

    run(body)


def test_an_end_and_a_failure_are_waited_for_too(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        peer.close()
        await connection.wait_readable()
        assert connection.socket.recv(10) == b""
        await connection.wait_writable()
        with pytest.raises(BrokenPipeError):
            connection.socket.send(b"x")

    run(body)


def test_a_wait_ends_at_its_deadline_whatever_the_one_before(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        for before in (math.inf, time.monotonic() + 60, time.monotonic()):
            peer.send(b"x")
            await connection.wait_readable(max(before, time.monotonic() + 30))
            connection.socket.recv(10)
            with pytest.raises(TimeoutError):
                await connection.wait_readable(time.monotonic() + 0.01)

    run(body)


def test_a_wait_after_its_deadline_is_late_whatever_has_come(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        peer.send(b"x")
        await connection.wait_readable()
        with pytest.raises(TimeoutError):
            await connection.wait_readable(time.monotonic())
        assert connection.socket.recv(10) == b"x"

    run(body)


def test_a_deadline_of_one_wait_is_not_anothers(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        fill(connection.socket)
        late = anyio.Event()

        async def write() -> None:
            with pytest.raises(TimeoutError):
                await connection.wait_writable(time.monotonic() + 0.02)
            late.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(connection.wait_readable, time.monotonic() + 60))
            tasks.start_soon(write)
            await late.wait()
            peer.send(b"x")
        assert connection.socket.recv(10) == b"x"

    run(body)


def test_one_task_waits_to_read_while_another_waits_to_write(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        fill(connection.socket)
        ended: list[str] = []

        async def wait(wait: Callable[[], Awaitable[None]], name: str) -> None:
            await wait()
            ended.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, connection.wait_readable, "read")
            tasks.start_soon(wait, connection.wait_writable, "write")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await connection.wait_readable()
            drain(peer)
            while not ended:
                await anyio.lowlevel.checkpoint()
            assert ended == ["write"]
            peer.send(b"x")
        assert ended == ["write", "read"]

    run(body)


def test_what_nobody_waits_for_is_reported_no_more_until_somebody_does(
    run: Callable[[Body], None],
) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        before = poller.count
        peer.send(b"x")
        while poller.count == before:
            await anyio.lowlevel.checkpoint()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert poller.count == before + 1
        await connection.wait_readable()
        assert connection.socket.recv(10) == b"x"

    run(body)


def test_a_wait_that_was_cancelled_makes_way_for_the_next(run: Callable[[Body], None]) -> None:
    async def body(connection: ControlConnection, peer: socket.socket, poller: Counting) -> None:
        with anyio.move_on_after(0.01):
            await connection.wait_readable()
        peer.send(b"x")
        await connection.wait_readable()
        assert connection.socket.recv(10) == b"x"

    run(body)


async def receive(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(10)
        except BlockingIOError:
            await anyio.lowlevel.checkpoint()


def fill(sock: socket.socket) -> None:
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def drain(sock: socket.socket) -> None:
    try:
        while True:
            sock.recv(65536)
    except BlockingIOError:
        pass


def test_a_socket_that_its_plugin_has_closed_is_no_longer_watched_and_its_number_anothers(
    backend: Backend,
) -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            (closed, first), (mine, second) = socket.socketpair(), socket.socketpair()
            connection = ControlConnection(reactor, closed)
            number = closed.fileno()
            closed.close()
            os.dup2(mine.fileno(), number)
            mine.close()
            with first, second:
                other = ControlConnection(reactor, socket.socket(fileno=number))
                connection.close()
                second.send(b"x")
                await other.wait_readable(time.monotonic() + DEADLINE)
                assert other.socket.recv(10) == b"x"
                other.close()
                other.close()

    run_async(main, backend)
