"""What exists while a server runs: services, and the listeners that plugins serve by themselves."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from neosocksd_core import ControlConnection, ListenError, hookimpl
from neosocksd_core.plugins import Plugins
from neosocksd_core.services import ControlListener, Service
from neosocksd_core.testing import (
    Client,
    Connection,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
)


class Greeter:
    """Says hello to whoever comes, and waits until they leave; ``listen`` is where."""

    def __init__(self, *listen: str, most: int = 2) -> None:
        self.listen = listen
        self.most = most

    @hookimpl
    def register_control_listeners(self) -> Sequence[ControlListener]:
        return [ControlListener("greeter", self.listen, self.greet, self.most)]

    async def greet(self, connection: ControlConnection) -> None:
        connection.socket.send(b"hello\n")
        await connection.wait_readable()
        if connection.socket.recv(100) == b"fail":
            raise RuntimeError("as it was told")


def start(serve: Serve, greeter: Greeter) -> RunningServer:
    return serve({"listen": "127.0.0.1:0"}, plugins=Plugins([PlainPlugin, greeter], defaults=False))


def test_a_plugin_serves_its_own_listener(serve: Serve, backend: str) -> None:
    server = start(serve, Greeter("127.0.0.1:0"))
    for _ in range(3):
        with Client(server.addresses[1]) as client:
            client.expect(b"hello\n")
            client.send(b"bye")
            client.expect_eof()
    assert server.statistics().num_accept == 0


def test_no_client_reaches_a_control_listener_through_the_proxy(serve: Serve) -> None:
    server = start(serve, Greeter("127.0.0.1:0"))
    with Client(server.address) as client:
        client.send(plain_request(server.addresses[1]))
        client.expect(b"no not allowed\n")


def test_of_too_many_control_connections_the_newest_is_closed(serve: Serve) -> None:
    server = start(serve, Greeter("127.0.0.1:0", most=1))
    with Client(server.addresses[1]) as first:
        first.expect(b"hello\n")
        with Client(server.addresses[1]) as second:
            second.expect_closed()
        first.send(b"bye")
        first.expect_eof()
    with Client(server.addresses[1]) as third:
        third.expect(b"hello\n")


@pytest.mark.logs_error("as it was told")
def test_a_control_connection_that_fails_is_reported_and_closed(serve: Serve) -> None:
    server = start(serve, Greeter("127.0.0.1:0"))
    for _ in range(2):
        with Client(server.addresses[1]) as client:
            client.expect(b"hello\n")
            client.send(b"fail")
            client.expect_eof()


def test_a_stop_ends_control_connections(serve: Serve) -> None:
    server = start(serve, Greeter("127.0.0.1:0"))
    with Client(server.addresses[1]) as client:
        client.expect(b"hello\n")
        server.stop()
        client.expect_eof()


def test_a_unix_socket_is_its_owners_alone_and_goes_with_the_server(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = start(serve, Greeter(f"unix:{path}"))
    assert path.stat().st_mode & 0o777 == 0o600
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    with Connection(sock) as client:
        client.expect(b"hello\n")
    server.stop()
    assert not path.exists()


def test_a_unix_socket_in_use_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(path))
        used.listen()
        with pytest.raises(ListenError, match="control: Address already in use"):
            RunningServer(plugins=Plugins([PlainPlugin, Greeter(f"unix:{path}")], defaults=False))
        assert path.exists()


@pytest.mark.logs_error("it broke")
def test_a_service_that_fails_is_reported_and_the_server_goes_on(serve: Serve) -> None:
    class Broken:
        @hookimpl
        def register_services(self) -> Sequence[Service]:
            return [Service("broken", self.run)]

        async def run(self) -> None:
            raise RuntimeError("it broke")

    server = serve(plugins=Plugins([PlainPlugin, Broken()], defaults=False))
    assert server.wait_until(lambda s: s.lasterror == "plugin broken: service broken: it broke")
    with Client(server.address) as client:
        client.send(plain_request(server.address))
        client.expect(b"no not allowed\n")
