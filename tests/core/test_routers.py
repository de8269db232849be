"""Routers that misbehave, and observers that interfere: what they do stays in their own session."""

import asyncio
import socket
from collections.abc import Sequence

import anyio
import pytest

from neosocksd_core import (
    Address,
    Decision,
    DialError,
    Forward,
    Observer,
    Reject,
    Request,
    Router,
    SessionInfo,
    Upstream,
    hookimpl,
)
from neosocksd_core.server import Server
from neosocksd_core.testing import (
    BlackHole,
    Client,
    EchoServer,
    Peer,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
    run_async,
)
from neosocksd_core.testing.running import Backend

TARGET = ("192.0.2.1", 80)


def ask(server: RunningServer, request: bytes, answer: bytes) -> None:
    with Client(server.address) as client:
        client.send(request)
        client.expect(answer)
        client.expect_eof()
    server.wait_idle()


def routed(serve: Serve, router: Router, **settings: object) -> RunningServer:
    return serve({"listen": "127.0.0.1:0", **settings}, plugins=[PlainPlugin], router=router)


@pytest.mark.logs_error("router raised ValueError")
def test_a_router_that_answers_with_a_closed_connection_fails_that_request_alone(
    serve: Serve, echo: EchoServer
) -> None:
    class Careless:
        async def route(self, request: Request) -> Decision:
            upstream = await request.dial(Forward(request.target))
            upstream.close()
            return upstream

    ask(routed(serve, Careless()), plain_request(echo.address), b"no not allowed\n")


@pytest.mark.logs_error("router raised ValueError")
def test_a_router_that_gives_one_connection_to_two_clients_fails_the_second_alone(
    serve: Serve, echo: EchoServer
) -> None:
    class Pooling:
        def __init__(self) -> None:
            self.upstream: Upstream | None = None

        async def route(self, request: Request) -> Decision:
            self.upstream = self.upstream or await request.dial(Forward(request.target))
            return self.upstream

    server = routed(serve, Pooling())
    with Client(server.address) as first, Client(server.address) as second:
        first.send(plain_request(echo.address))
        first.expect(b"ok\n")
        second.send(plain_request(echo.address))
        second.expect(b"no not allowed\n")
        second.expect_eof()
        first.send(b"still here")
        first.expect(b"still here")
    server.wait_idle()


def test_a_router_may_answer_with_a_blocking_socket_that_it_opened_itself(
    serve: Serve,
) -> None:
    opened: list[socket.socket] = []
    with Peer() as peer:

        class Own:
            def route(self, request: Request) -> Decision:
                sock = socket.create_connection(peer.address)
                opened.append(sock)
                return Upstream(sock, request.target, (), sock.getsockname())

        server = routed(serve, Own())
        with Client(server.address) as client:
            client.send(plain_request(TARGET) + b"hello")
            client.expect(b"ok\n")
            with peer.accept() as accepted:
                accepted.expect(b"hello")
                assert not server.call(opened[0].getblocking)
    server.wait_idle()


def test_a_router_whose_client_has_left_dials_no_more(serve: Serve) -> None:
    running: list[RunningServer] = []
    ended: list[str] = []
    with Peer() as peer:

        class Shielding:
            async def route(self, request: Request) -> Decision:
                with anyio.CancelScope(shield=True):
                    while running[0].server.sessions():
                        await anyio.sleep(0)
                    try:
                        return await request.dial(Forward(request.target))
                    except DialError as error:
                        ended.append(str(error))
                return Reject()

        running.append(routed(serve, Shielding()))
        client = Client(running[0].address)
        client.send(plain_request(peer.address))
        running[0].wait_until(lambda s: s.num_request == 1)
        client.reset()
        running[0].wait_idle()
        running[0].stop()
        peer.expect_no_connection()
    assert ended == ["the session has ended"]


def test_a_stop_ends_the_dial_of_a_router_that_shields_it(serve: Serve, backend: str) -> None:
    ended: list[str] = []
    with BlackHole() as hole:

        class Shielding:
            async def route(self, request: Request) -> Decision:
                with anyio.CancelScope(shield=True):
                    try:
                        return await request.dial(Forward(Address(*hole.address)))
                    except DialError as error:
                        ended.append(str(error))
                return Reject()

        server = routed(serve, Shielding(), drain=0)
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            server.wait_until(lambda s: s.num_request == 1)
            server.stop()
            client.expect_closed()
    assert [text.rpartition(": ")[2] for text in ended] == ["the session has ended"]


@pytest.mark.logs_error("router raised CancelledError")
def test_a_router_that_awaits_a_cancelled_task_fails_that_request_at_once(serve: Serve) -> None:
    class Awaiting:
        async def route(self, request: Request) -> Decision:
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task
            raise AssertionError

    ask(routed(serve, Awaiting()), plain_request(TARGET), b"no not allowed\n")


@pytest.mark.logs_error("router raised CancelledError")
def test_a_router_that_raises_a_cancellation_fails_that_request_alone(serve: Serve) -> None:
    class Raising:
        def route(self, request: Request) -> Decision:
            raise asyncio.CancelledError

    server = routed(serve, Raising())
    ask(server, plain_request(TARGET), b"no not allowed\n")
    ask(server, plain_request(TARGET), b"no not allowed\n")


class Closing:
    """Two observers, of which the first closes each session as it opens."""

    def __init__(self) -> None:
        self.server: RunningServer | None = None
        self.told: list[str] = []

    @hookimpl
    def register_observers(self) -> Sequence[Observer]:
        return [self, self]

    def session_opened(self, session: SessionInfo) -> None:
        self.told.append(session.outcome)
        assert self.server is not None
        assert self.server.server.close_session(session.id)

    def session_closed(self, session: SessionInfo) -> None:
        self.told.append(session.outcome)


def test_an_observer_can_close_the_session_that_it_is_told_of(
    serve: Serve, echo: EchoServer
) -> None:
    closing = Closing()
    closing.server = server = serve(plugins=[PlainPlugin, closing])
    with Client(server.address) as client:
        client.send(plain_request(echo.address))
        client.receive_until_closed()
    server.wait_idle()
    assert closing.told == ["relaying", "closed by request", "closed by request"]


def test_a_program_that_is_cancelled_while_a_router_thinks_logs_no_error(backend: Backend) -> None:
    async def main() -> None:
        thinking = anyio.Event()

        class Thinking:
            async def route(self, request: Request) -> Decision:
                thinking.set()
                await anyio.sleep_forever()
                raise AssertionError

        settings = {"listen": "127.0.0.1:0"}
        with anyio.CancelScope() as scope:
            async with Server(settings, plugins=[PlainPlugin], router=Thinking()) as server:
                async with await anyio.connect_tcp(*server.addresses[0][:2]) as client:
                    await client.send(plain_request(TARGET))
                    await thinking.wait()
                    scope.cancel()
                    await anyio.sleep_forever()
        assert scope.cancelled_caught

    run_async(main, backend)
