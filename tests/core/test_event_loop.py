"""The loop that shares its poller: what the loop itself watches goes on beside what reactors watch."""

import asyncio
import socket
import sys

import anyio
import pytest

from neosocksd_core.event_loop import new_event_loop
from neosocksd_core.loops import open_reactor
from neosocksd_core.plugins import Plugins
from neosocksd_core.poller import READ
from neosocksd_core.server import Server
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    plain_request,
    run_async,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs epoll")


def test_the_loop_and_two_reactors_are_each_told_of_their_own() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with open_reactor() as first, open_reactor() as second:
            got: list[str] = []
            done = anyio.Event()
            pairs = [socket.socketpair() for _ in range(3)]

            def note(who: str, sock: socket.socket) -> None:
                sock.recv(1)
                got.append(who)
                if len(got) == 3:
                    done.set()

            mine, one, two = (inside for inside, _ in pairs)
            loop.add_reader(mine, note, "loop", mine)
            watches = [
                first.watch(one.fileno(), READ, lambda events: note("first", one)),
                second.watch(two.fileno(), READ, lambda events: note("second", two)),
            ]
            for _, outside in pairs:
                outside.send(b"x")
            await done.wait()
            assert sorted(got) == ["first", "loop", "second"]
            loop.remove_reader(mine)
            for watch in watches:
                watch.close()
            for inside, outside in pairs:
                inside.close()
                outside.close()

    run_async(main, "auto")


def test_threads_timers_and_subprocesses_work_as_in_any_loop() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(lambda: 7) == 7
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        result = await anyio.run_process(["echo", "out"])
        assert result.stdout == b"out\n"

    run_async(main, "auto")


def test_two_servers_share_one_loop(echo: EchoServer) -> None:
    def talk(server: Server) -> None:
        host, port, *_ = server.addresses[0]
        with Client((host, port)) as client:
            client.send(plain_request(echo.address) + b"x")
            client.expect(b"ok\nx")

    async def main() -> None:
        async with plain_server() as one, plain_server() as two:
            await anyio.to_thread.run_sync(talk, one)
            await anyio.to_thread.run_sync(talk, two)

    def plain_server() -> Server:
        return Server({"listen": "127.0.0.1:0"}, plugins=Plugins([PlainPlugin], defaults=False))

    run_async(main, "auto")


def test_the_loop_runs_programs_by_itself() -> None:
    async def main() -> str:
        await asyncio.sleep(0)
        return "done"

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(main()) == "done"


def test_closing_it_leaves_no_descriptor() -> None:
    new_event_loop().close()
    with RunningServer(plugins=[PlainPlugin], backend="auto"):
        pass
