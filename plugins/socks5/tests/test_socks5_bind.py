"""BIND through a running server: both replies, who may connect, and what ends the wait."""

import os
import resource
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest

import neosocksd_socks5
from neosocksd_core import DialError, Reason, Resolution, SocketAddress
from neosocksd_core.testing import Client, RunningServer, Serve

SECTION = neosocksd_socks5.__name__.removeprefix("neosocksd_")
HOST = "127.0.0.1"
ANYBODY = b"\x01" + bytes(6)
LOCALHOST = b"\x01\x7f\x00\x00\x01\x00\x15"

pytestmark = pytest.mark.usefixtures("backend")


class Names:
    """A resolver that knows one name."""

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        if host != "peer.example":
            raise DialError(Reason.NAME_NOT_RESOLVED, host)
        return Resolution(("127.0.0.1",))


def served(serve: Serve, listen: str = f"{HOST}:0", **settings: object) -> RunningServer:
    return serve(
        {"listen": listen, SECTION: {"bind": True}, **settings},
        plugins=[neosocksd_socks5],
        resolver=Names(),
    )


def failure(reply: int) -> bytes:
    return bytes((5, reply, 0, 1)) + bytes(6)


def read_reply(client: Client) -> SocketAddress:
    """The address in a reply that grants."""
    client.expect(b"\x05\x00\x00")
    family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[client.receive(1)[0]]
    host = socket.inet_ntop(family, client.receive(size))
    return host, int.from_bytes(client.receive(2), "big")


@contextmanager
def bound(
    server: RunningServer, target: bytes, early: bytes = b""
) -> Generator[tuple[Client, SocketAddress]]:
    """A client that waits for its peer, and where that is to connect."""
    with Client(server.address) as client:
        client.send(b"\x05\x01\x00\x05\x02\x00" + target + early)
        client.expect(b"\x05\x00")
        yield client, read_reply(client)
    server.wait_idle()


@pytest.mark.parametrize("target", [ANYBODY, LOCALHOST, b"\x03\x0cpeer.example\x00\x15"])
def test_the_peer_connects_and_bytes_go_both_ways(serve: Serve, target: bytes) -> None:
    server = served(serve)
    with bound(server, target) as (client, address):
        assert address[0] == HOST
        [session] = server.sessions()
        assert (session.protocol, session.outcome) == ("socks5-bind", "listening")
        with Client(address) as peer:
            assert read_reply(client) == peer.local
            peer.send(b"220 hello")
            client.expect(b"220 hello")
            client.send(b"from the client")
            peer.expect(b"from the client")
            peer.finish()
            client.expect_eof()
    statistics = server.statistics()
    assert (statistics.num_request, statistics.num_success) == (1, 1)
    assert (statistics.byt_up, statistics.byt_down) == (15, 9)


def test_it_works_over_ipv6(serve: Serve) -> None:
    server = served(serve, "[::1]:0")
    with bound(server, b"\x04" + bytes(15) + b"\x01\x00\x15") as (client, address):
        with Client(address) as peer:
            assert read_reply(client) == peer.local[:2]
            client.send(b"hello")
            peer.expect(b"hello")


def test_only_the_first_peer_is_taken(serve: Serve) -> None:
    with bound(served(serve), LOCALHOST) as (client, address), Client(address) as peer:
        read_reply(client)
        with pytest.raises(ConnectionRefusedError):
            Client(address)
        client.send(b"to the first")
        peer.expect(b"to the first")


def test_what_the_client_sends_early_reaches_the_peer(serve: Serve) -> None:
    with bound(served(serve), LOCALHOST, b"early") as (client, address), Client(address) as peer:
        peer.expect(b"early")
        read_reply(client)


def test_another_peer_than_expected_is_taken_with_a_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with bound(served(serve), LOCALHOST) as (client, address):
        with Client(address, source="127.0.0.2") as peer:
            assert read_reply(client) == peer.local
    [warning] = warnings(caplog)
    assert warning.startswith("127.0.0.2:")
    assert warning.endswith("has connected where 127.0.0.1:21 was waited for")


def warnings(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_peers_that_are_blocked_are_turned_away_and_the_wait_goes_on(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = served(serve, block_loopback=True)
    with bound(server, ANYBODY) as (client, address):
        for _ in range(3):
            with Client(address) as peer:
                peer.expect_closed()
        client.finish()
    [warning] = warnings(caplog)
    assert "which is blocked, has connected" in warning


def test_without_a_descriptor_for_the_peer_the_wait_ends(serve: Serve) -> None:
    with bound(served(serve), LOCALHOST) as (client, address), socket.socket() as peer:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(peer.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            peer.connect(address)
            client.expect(failure(1))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("target", "reply"),
    [
        (b"\x01\xe0\x00\x00\x01\x00\x15", 2),
        (b"\x03\x0fnowhere.example\x00\x15", 4),
        (b"\x03\x05127.1\x00\x15", 4),
        (b"\x02", 8),
    ],
)
def test_a_target_that_is_none_is_refused(serve: Serve, target: bytes, reply: int) -> None:
    server = served(serve)
    with Client(server.address) as client:
        client.send(b"\x05\x01\x00\x05\x02\x00" + target)
        client.expect(b"\x05\x00" + failure(reply))
        client.expect_eof()
    server.wait_idle()


def test_nobody_connects_in_time(serve: Serve) -> None:
    server = served(serve)
    server.shorten_timeout(0.05)
    with bound(server, LOCALHOST) as (client, address):
        client.expect(failure(6))
        client.expect_eof()
        with pytest.raises(ConnectionRefusedError):
            Client(address)
    assert server.statistics().num_reject_timeout == 1


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_client_that_leaves_ends_the_wait(serve: Serve, how: str) -> None:
    server = served(serve)
    with bound(server, LOCALHOST) as (client, address):
        getattr(client, how)()
        server.wait_idle()
        with pytest.raises(ConnectionRefusedError):
            Client(address)


def test_a_stop_ends_the_wait(serve: Serve) -> None:
    server = served(serve)
    with Client(server.address) as client:
        client.send(b"\x05\x01\x00\x05\x02\x00" + ANYBODY)
        client.expect(b"\x05\x00")
        read_reply(client)
        server.close()
        client.expect_closed()


def test_it_is_of_socks5_only(serve: Serve) -> None:
    with Client(served(serve).address) as client:
        client.send(b"\x04\x02\x00\x15\x7f\x00\x00\x01\x00")
        client.expect(b"\x00\x5b" + bytes(6))


def test_hundreds_wait_at_once(serve: Serve) -> None:
    server = served(serve)
    waiting: Sequence[Client] = [Client(server.address) for _ in range(200)]
    for client in waiting:
        client.send(b"\x05\x01\x00\x05\x02\x00" + LOCALHOST)
    for client in waiting:
        client.expect(b"\x05\x00")
        with Client(read_reply(client)) as peer:
            assert read_reply(client) == peer.local
        client.close()
    server.wait_idle()


def test_it_listens_on_a_port_of_those_that_it_may_have(serve: Serve) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    settings = {"bind": True, "ports": f"{port}-{port}"}
    server = serve({"listen": f"{HOST}:0", SECTION: settings}, plugins=[neosocksd_socks5])
    for _ in range(2):  # the port is to be had again, whatever is left of the connection before
        with bound(server, LOCALHOST) as (client, address), Client(address) as peer:
            assert address == (HOST, port)
            read_reply(client)
            client.close()
            peer.expect_eof()
