"""The server's life: start, reload, drain, stop, twice in one process, and inside somebody else's program."""

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from neosocksd_core import (
    Address,
    ConfigurationError,
    ControlConnection,
    Decision,
    DialError,
    Forward,
    ListenError,
    NeosocksdError,
    PluginError,
    Reason,
    Request,
    ServerContext,
    SocketAddress,
    hookimpl,
)
from neosocksd_core.log import NOTICE
from neosocksd_core.plugins import Plugins
from neosocksd_core.runtime import NotRunningError
from neosocksd_core.server import Server
from neosocksd_core.services import ControlListener, Service
from neosocksd_core.testing import (
    DEADLINE,
    BlackHole,
    Client,
    EchoServer,
    Peer,
    PlainPlugin,
    RunningServer,
    Serve,
    make_server,
    plain_request,
    run_async,
)
from neosocksd_core.testing.running import Backend

FREE = {"listen": "127.0.0.1:0"}


def open_session(server: RunningServer, target: SocketAddress) -> Client:
    client = Client(server.address)
    client.send(plain_request(target))
    client.expect(b"ok\n")
    return client


def is_refused(address: SocketAddress) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) != 0


class Guarding:
    """A plugin that lets no client reach an address."""

    def __init__(self, address: SocketAddress) -> None:
        self._address = address

    @hookimpl
    def register_guarded_addresses(self) -> Sequence[SocketAddress]:
        return [self._address]


def plain() -> Plugins:
    return Plugins([PlainPlugin], defaults=False)


def free_address() -> str:
    with Peer() as peer:
        return f"127.0.0.1:{peer.port}"


# in somebody's program


def test_a_program_runs_a_server_in_its_own_loop(echo: EchoServer, backend: Backend) -> None:
    async def main() -> None:
        async with Server(FREE, plugins=plain()) as server:
            [address] = server.addresses
            assert server.addresses_of("plain") == [address]
            async with await anyio.connect_tcp(*address[:2]) as stream:
                await stream.send(plain_request(echo.address) + b"hello")
                received = b""
                while len(received) < 8:
                    received += await stream.receive()
                assert received == b"ok\nhello"
        assert server.addresses == []
        assert is_refused(address)

    run_async(main, backend)


@pytest.mark.parametrize("host", [b"\x01\x7f\x00\x00\x01", b"\x03\x09localhost"])
def test_a_program_needs_no_anyio_of_its_own(host: bytes, echo: EchoServer) -> None:
    class Router:
        async def route(self, request: Request) -> Decision:
            await asyncio.sleep(0)
            return Forward(request.target)

    async def main() -> None:
        async with Server({"listen": "127.0.0.1:0"}, router=Router()) as server:
            reader, writer = await asyncio.open_connection(*server.addresses[0][:2])
            request = b"\x05\x01\x00\x05\x01\x00" + host + echo.port.to_bytes(2, "big")
            writer.write(request + b"hello")
            assert (await reader.readexactly(17))[-5:] == b"hello"
            writer.close()
            await writer.wait_closed()

    asyncio.run(asyncio.wait_for(main(), DEADLINE))


def test_a_stopping_server_is_not_reloaded(serve: Serve, echo: EchoServer) -> None:
    server = serve({"listen": "127.0.0.1:0", "drain": 60}, plugins=plain())
    with open_session(server, echo.address):
        server.request_stop()
        server.wait_until(lambda _: not server.server.addresses)
        with pytest.raises(NeosocksdError, match="stopping"):
            server.reload({"listen": "127.0.0.1:0"})
        assert not server.server.addresses


def test_a_program_waits_until_the_server_is_stopped_from_inside(backend: Backend) -> None:
    async def main() -> None:
        server = Server(FREE, plugins=plain())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            while not server.addresses:
                await anyio.sleep(0)
            server.stop(exit_status=3)
        assert server.exit_status == 3

    run_async(main, backend)


def test_a_program_that_is_cancelled_takes_its_server_with_it(
    echo: EchoServer, backend: Backend
) -> None:
    async def main() -> None:
        server = Server(FREE, plugins=plain())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            while not server.addresses:
                await anyio.sleep(0)
            async with await anyio.connect_tcp(*server.addresses[0][:2]) as stream:
                await stream.send(plain_request(echo.address))
                assert await stream.receive() == b"ok\n"
                tasks.cancel_scope.cancel()

    run_async(main, backend)


@pytest.mark.parametrize("error", [LookupError("mine"), KeyboardInterrupt()], ids=repr)
def test_what_a_program_raises_while_its_server_runs_comes_out_as_it_is(
    error: BaseException, backend: Backend
) -> None:
    async def main() -> None:
        raised: BaseException | None = None
        server = make_server(plugins=[PlainPlugin])
        try:
            async with server:
                raise error
        except (LookupError, KeyboardInterrupt) as caught:
            raised = caught
        assert raised is error
        assert not server.addresses

    run_async(main, backend)


def test_a_plugin_that_fails_when_the_loop_runs_is_an_error_as_any_other(backend: Backend) -> None:
    class Late:
        @hookimpl
        def register_services(self) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        server = make_server(plugins=[PlainPlugin, Late])
        with pytest.raises(PluginError, match="plugin 'late': register_services failed"):
            await server.run()
        assert not server.addresses

    run_async(main, backend)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("router", open_session, "router is function, expected an object with a method route()"),
        ("router", Guarding, "router is the class Guarding"),
        ("authenticator", object(), "authenticator is object"),
        ("resolver", object(), "resolver is object"),
    ],
)  # fmt: skip
def test_a_program_s_object_that_is_none_is_refused_at_once(
    argument: str, value: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        Server({}, **{argument: value})


def test_one_plugin_may_be_named_without_a_list() -> None:
    assert Server({}, plugins="rest_api").plugins.enabled > {"rest_api"}


def test_two_servers_in_one_loop_share_nothing(echo: EchoServer) -> None:
    async def main() -> None:
        async with Server(FREE, plugins=plain()) as one:
            async with Server({**FREE, "block_loopback": True}, plugins=plain()) as two:
                for server, answer in ((one, b"ok\n"), (two, b"no not allowed\n")):
                    async with await anyio.connect_tcp(*server.addresses[0][:2]) as stream:
                        await stream.send(plain_request(echo.address))
                        assert await stream.receive() == answer
                assert one.statistics().num_success == 1
                assert two.statistics().num_reject_ruleset == 1

    run_async(main)


def test_a_server_can_run_again(backend: Backend) -> None:
    async def main() -> None:
        server = Server(FREE, plugins=plain())
        for _ in range(2):
            async with server:
                assert not is_refused(server.addresses[0])
                with pytest.raises(RuntimeError, match="already"):
                    await server.__aenter__()

    run_async(main, backend)


def test_a_server_that_does_not_run_says_so_and_has_nothing_to_tell() -> None:
    async def main() -> None:
        server = Server(FREE, plugins=plain())
        assert server.addresses == []
        assert server.sessions() == []
        assert not server.close_session(1)
        assert server.statistics().num_accept == 0
        for call in (
            lambda: server.dial(Forward(Address("127.0.0.1", 1))),
            lambda: server.lookup("h"),
            server.wait_stopped,
        ):
            with pytest.raises((RuntimeError, NotRunningError)):
                await call()

    run_async(main)


def test_sockets_may_be_bound_before_there_is_a_loop_and_closed_without_one() -> None:
    server = Server(FREE, plugins=plain())
    server.bind()
    [address] = server.addresses
    server.close()
    assert is_refused(address)


def test_a_server_takes_sockets_that_listen_already(echo: EchoServer, backend: Backend) -> None:
    ready = socket.create_server(("127.0.0.1", 0))
    address = ready.getsockname()
    server = make_server({"listen": ["127.0.0.1:1", "127.0.0.2:0"]}, plugins=[PlainPlugin])
    server.bind({"127.0.0.1:1": ready})
    assert ready.fileno() == -1
    assert server.addresses[0] == address
    early = Client(address)
    early.send(plain_request(echo.address) + b"hi")

    async def main() -> None:
        async with server:
            await anyio.to_thread.run_sync(early.expect, b"ok\nhi")
            server.reload({"listen": "127.0.0.1:1", "timeout": 20})
            assert server.addresses == [address]
            early.close()

    run_async(main, backend)
    assert is_refused(address)


def test_the_file_of_a_unix_socket_that_was_handed_over_stays(tmp_path: Path) -> None:
    async def serve(connection: ControlConnection) -> None: ...

    class Control:
        @hookimpl
        def register_control_listeners(self) -> Sequence[ControlListener]:
            return [ControlListener("control", (where,), serve)]

    path = tmp_path / "control"
    where = f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as ready:
        ready.bind(str(path))
        ready.listen()
        server = make_server(plugins=[PlainPlugin, Control])
        server.bind({where: ready})
        server.close()
    assert path.is_socket()


def test_a_socket_that_cannot_serve_its_address_is_refused_and_not_taken(tmp_path: Path) -> None:
    server = make_server({"listen": "127.0.0.1:0"}, plugins=[PlainPlugin])
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.socket() as deaf,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(str(tmp_path / "unix"))
        unix.listen()
        for bad in (deaf, datagrams, unix):
            with pytest.raises(ListenError, match=r"127.0.0.1:0: that is no listening socket"):
                server.bind({"127.0.0.1:0": bad})
        with pytest.raises(ListenError, match=r"127.0.0.1:1: it is in no setting"):
            server.bind({"127.0.0.1:1": good})
        assert not server.addresses
        server.bind({"127.0.0.1:0": good})
        with (
            socket.create_server(("127.0.0.1", 0)) as more,
            pytest.raises(ListenError, match="bound already"),
        ):
            server.bind({"127.0.0.1:0": more})
        server.close()


def test_where_another_address_cannot_be_bound_what_was_taken_is_closed() -> None:
    with Peer() as peer:
        place = f"127.0.0.1:{peer.port}"
        server = make_server({"listen": ["127.0.0.1:0", place]}, plugins=[PlainPlugin])
        ready = socket.create_server(("127.0.0.1", 0))
        address = ready.getsockname()
        with pytest.raises(ListenError, match=place):
            server.bind({"127.0.0.1:0": ready})
        assert not server.addresses
        assert is_refused(address)


def test_a_port_in_use_is_an_error_that_names_it_and_leaves_nothing_open() -> None:
    with Peer() as peer:
        taken = f"127.0.0.1:{peer.port}"
        server = Server({"listen": ["127.0.0.1:0", taken]}, plugins=plain())
        with pytest.raises(ListenError, match=taken):
            server.bind()
        assert server.addresses == []


def test_credentials_that_nobody_can_judge_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="auth_required"):
        Server({**FREE, "auth_required": True}, plugins=plain())


# several listeners


def test_many_listeners_of_both_families_serve(serve: Serve, echo: EchoServer) -> None:
    server = serve({"listen": ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]}, plugins=[PlainPlugin])
    assert len(server.addresses) == 3
    for address in server.addresses:
        with Client(address) as client:
            client.send(plain_request(echo.address))
            client.expect(b"ok\n")


def test_no_client_reaches_the_server_itself_or_what_is_guarded(serve: Serve) -> None:
    with Peer() as peer:
        server = serve(
            {"listen": ["127.0.0.1:0", "127.0.0.1:0"]},
            plugins=[PlainPlugin, Guarding(peer.address)],
        )
        for target in (*server.addresses, peer.address, ("0.0.0.0", peer.port)):
            with Client(server.address) as client:
                client.send(plain_request(target))
                client.expect(b"no not allowed\n")
        peer.expect_no_connection()


def test_a_router_may_send_a_client_to_what_is_guarded(serve: Serve) -> None:
    with Peer() as peer:

        class To:
            def route(self, request: Request) -> Decision:
                return Forward(Address(*peer.address))

        server = serve(plugins=[PlainPlugin, Guarding(peer.address)], router=To())
        with Client(server.address) as client:
            client.send(plain_request(("192.0.2.1", 80)))
            client.expect(b"ok\n")


# names


def test_a_name_is_looked_up_and_the_checked_address_is_the_dialled_one(
    serve: Serve, names_of: Callable[[dict[str, tuple[str, ...]]], object]
) -> None:
    with EchoServer("::1") as six:
        names = {
            "six.example": ("::1",),
            "local.example": ("10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"),
        }
        server = serve(
            {**FREE, "block_local": True}, plugins=[PlainPlugin], resolver=names_of(names)
        )
        with Client(server.address) as client:
            client.send(plain_request(Address("six.example", six.port)) + b"hi")
            client.expect(b"ok\nhi")
        for host, answer in (
            ("local.example", b"no not allowed\n"),
            ("unknown.example", b"no name not resolved\n"),
        ):
            with Client(server.address) as client:
                client.send(plain_request(Address(host, six.port)))
                client.expect(answer)
        statistics = server.wait_idle()
        assert (statistics.num_dns_query, statistics.num_dns_success) == (3, 2)


def test_the_system_resolves_for_those_who_ask(serve: Serve) -> None:
    server = serve(plugins=[PlainPlugin])
    assert "127.0.0.1" in server.call(server.server.lookup, "127.0.0.1")
    with pytest.raises(DialError) as caught:
        server.call(server.server.lookup, "nowhere.invalid")
    assert caught.value.reason is Reason.NAME_NOT_RESOLVED


# reload


def test_a_reload_adds_and_removes_listeners_and_keeps_every_session(
    serve: Serve, echo: EchoServer, backend: Backend
) -> None:
    first, second = free_address(), free_address()
    server = serve({"listen": first}, plugins=[PlainPlugin])
    with open_session(server, echo.address) as client:
        server.reload({"listen": [first, second]})
        assert len(server.call(lambda: server.server.addresses)) == 2
        server.reload({"listen": second})
        assert is_refused(server.address)
        [address] = server.call(lambda: server.server.addresses)
        with Client(address) as other:
            other.send(plain_request(echo.address))
            other.expect(b"ok\n")
        client.send(b"still here")
        client.expect(b"still here")
    server.wait_idle()


def test_where_it_listens_after_a_reload_is_told_if_that_has_changed(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        return [line for line in lines if line.startswith("listening on ")]

    caplog.set_level(NOTICE, "neosocksd")
    server = serve(FREE, plugins=[PlainPlugin])
    server.reload(FREE | {"timeout": 20})
    assert len(told()) == 1
    server.reload({"listen": ["127.0.0.1:0", "127.0.0.2:0"]})
    places = server.call(lambda: [f"{host}:{port}" for host, port, *_ in server.server.addresses])
    assert told()[1:] == [f"listening on {', '.join(places)}"]


def test_a_reload_takes_over_policy_chain_and_limits(serve: Serve, echo: EchoServer) -> None:
    listen = {"listen": free_address()}
    server = serve(listen, plugins=[PlainPlugin])
    with open_session(server, echo.address) as client:
        server.reload({**listen, "block_loopback": True})
        with Client(server.address) as other:
            other.send(plain_request(echo.address))
            other.expect(b"no not allowed\n")
        client.send(b"x")
        client.expect(b"x")
    with Peer() as hop:
        server.reload({**listen, "proxy": f"plain://127.0.0.1:{hop.port}"})
        with Client(server.address) as other:
            other.send(plain_request(echo.address))
            with hop.accept() as connection:
                connection.expect(plain_request(echo.address))


@pytest.mark.parametrize(
    "settings",
    [{"timeout": 1}, {"nonsense": 1}, {"proxy": "nonsense://h"}, {"listen": "nonsense"}],
    ids=str,
)
def test_a_reload_that_cannot_be_used_changes_nothing(
    serve: Serve, echo: EchoServer, settings: dict[str, object]
) -> None:
    server = serve(plugins=[PlainPlugin])
    before = server.server.settings
    with pytest.raises(ConfigurationError):
        server.reload({**FREE, **settings})
    assert server.server.settings is before
    open_session(server, echo.address).close()


def test_a_plugin_may_refuse_a_reload(serve: Serve) -> None:
    seen: list[float] = []

    class Fussy:
        @hookimpl
        def reload(self, server: ServerContext) -> None:
            seen.append(server.settings.drain)
            if server.settings.drain == 2:
                raise ConfigurationError("drain: not two")

    server = serve(FREE | {"drain": 1}, plugins=Plugins([PlainPlugin, Fussy()], defaults=False))
    with pytest.raises(ConfigurationError, match="not two"):
        server.reload(FREE | {"drain": 2})
    assert server.server.settings.drain == 1
    assert seen == [2, 1]
    server.reload(FREE | {"drain": 3})
    assert server.server.settings.drain == 3


def test_a_reload_for_which_a_plugin_has_no_guard_changes_nothing(
    serve: Serve, echo: EchoServer
) -> None:
    class Guard:
        works = True

        @hookimpl
        def register_guarded_addresses(self) -> Sequence[SocketAddress]:
            if not self.works:
                raise ZeroDivisionError
            return []

    guard = Guard()
    server = serve({"listen": "127.0.0.1:0"}, plugins=[PlainPlugin, guard])
    guard.works = False
    with pytest.raises(PluginError, match="plugin 'guard': register_guarded_addresses failed"):
        server.reload({"listen": ["127.0.0.1:0", "127.0.0.2:0"], "timeout": 5})
    assert server.call(lambda: (server.server.settings.timeout, server.server.addresses)) == (
        60,
        [server.address],
    )
    with Client(server.address) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")


def test_a_reload_to_a_port_in_use_changes_nothing(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    with Peer() as peer, pytest.raises(ListenError):
        server.reload({"listen": ["127.0.0.1:0", f"127.0.0.1:{peer.port}"]})
    open_session(server, echo.address).close()


@pytest.mark.parametrize(("old", "new"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_a_reload_may_widen_or_narrow_an_address_on_its_port(
    serve: Serve, echo: EchoServer, old: str, new: str
) -> None:
    port = free_address().rpartition(":")[2]
    server = serve({"listen": f"{old}:{port}"}, plugins=[PlainPlugin])
    at_hand = ("127.0.0.1", int(port))
    with Client(at_hand) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
        with Peer() as peer, pytest.raises(ListenError):
            server.reload({"listen": [f"{new}:{port}", f"127.0.0.1:{peer.port}"]})
        assert server.call(lambda: server.server.addresses) == [(old, int(port))]
        server.reload({"listen": f"{new}:{port}"})
        assert server.call(lambda: server.server.addresses) == [(new, int(port))]
        client.send(b"still here")
        client.expect(b"still here")
    with Client(at_hand) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
    server.wait_idle()


def test_hundreds_of_reloads_under_load_fail_no_session(serve: Serve, echo: EchoServer) -> None:
    listen = {"listen": free_address()}
    server = serve(listen, plugins=[PlainPlugin])
    done = threading.Event()
    failures: list[BaseException] = []
    count = 0

    def load() -> None:
        nonlocal count
        try:
            while not done.is_set():
                with Client(server.address) as client:
                    client.send(plain_request(echo.address) + b"hi")
                    client.expect(b"ok\nhi")
                    count += 1
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    for number in range(200):
        server.reload({**listen, "dial_timeout": 5 + number % 2})
    done.set()
    thread.join()
    assert not failures
    assert server.wait_idle().num_success == count > 0


# stop and drain


def test_a_stop_closes_the_listeners_first_and_gives_sessions_time(
    serve: Serve, echo: EchoServer, backend: Backend
) -> None:
    server = serve(plugins=[PlainPlugin])
    with open_session(server, echo.address) as client:
        server.request_stop(drain=60)
        server.wait_until(lambda _: not server.server.addresses)
        assert is_refused(server.address)
        client.send(b"last words")
        client.expect(b"last words")
        client.finish()
        client.expect_eof()
    server.join()


def test_sessions_that_outlive_the_drain_are_reset(serve: Serve, echo: EchoServer) -> None:
    server = serve({**FREE, "drain": 0.02}, plugins=[PlainPlugin])
    with open_session(server, echo.address) as client:
        server.request_stop()
        client.expect_reset()
    server.join()


def test_a_second_stop_ends_the_drain_at_once(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    with open_session(server, echo.address) as client:
        server.request_stop(drain=3600)
        server.wait_until(lambda _: not server.server.addresses)
        server.request_stop()
        client.expect_reset()
    server.join()


def test_a_stop_in_every_phase_leaves_nothing(
    serve: Serve, echo: EchoServer, backend: Backend
) -> None:
    class Thinking:
        async def route(self, request: Request) -> Decision:
            if request.target.host == "192.0.2.1":
                await anyio.sleep_forever()
            return Forward(request.target)

    server = serve(plugins=[PlainPlugin], router=Thinking())
    with BlackHole() as hole:
        targets = [("192.0.2.1", 80), hole.address, echo.address]
        clients = [Client(server.address) for _ in range(len(targets) * 20)]
        for number, client in enumerate(clients):
            if number % 4:
                client.send(plain_request(targets[number % 3]))
        server.wait_until(lambda s: s.num_request == 45)
        server.stop()
        for client in clients:
            client.close()


def test_a_stop_before_the_start_is_a_start_that_stops() -> None:
    server = Server(FREE, plugins=plain())
    server.stop()
    run_async(server.run)


# services


def test_services_run_with_the_server_and_end_with_it(serve: Serve, backend: Backend) -> None:
    told: list[str] = []

    class Serving:
        @hookimpl
        def register_services(self, server: ServerContext) -> Sequence[Service]:
            async def run() -> None:
                told.append(f"listening on {len(server.addresses)}")
                try:
                    await anyio.sleep_forever()
                finally:
                    told.append("ended")

            return [Service("test", run)]

    server = serve(plugins=[PlainPlugin, Serving])
    server.wait_until(lambda _: told)
    server.stop()
    assert told == ["listening on 1", "ended"]


@pytest.mark.logs_error("service test raised ZeroDivisionError")
def test_a_service_that_raises_leaves_the_server_running(serve: Serve, echo: EchoServer) -> None:
    class Serving:
        @hookimpl
        def register_services(self) -> Sequence[Service]:
            async def run() -> None:
                raise ZeroDivisionError

            return [Service("test", run)]

    server = serve(plugins=[PlainPlugin, Serving])
    open_session(server, echo.address).close()
    server.wait_idle()


def test_a_service_can_stop_the_server(serve: Serve) -> None:
    class Serving:
        @hookimpl
        def register_services(self, server: ServerContext) -> Sequence[Service]:
            async def run() -> None:
                server.stop(7)

            return [Service("test", run)]

    server = serve(plugins=[PlainPlugin, Serving])
    server.join()
    assert server.server.exit_status == 7
