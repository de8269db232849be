"""The relay, by splice and by copying, on each loop: bytes, half-closes, resets, and peers that do not read."""

import hashlib
import os
import random
import threading
from collections.abc import Callable

import pytest

from neosocksd_core.pipes import HAS_SPLICE
from neosocksd_core.testing import (
    Client,
    Connection,
    EchoServer,
    Peer,
    PlainPlugin,
    RunningServer,
    plain_request,
)

MIB = 1 << 20

Joined = tuple[Client, Connection]
Join = Callable[..., Joined]


@pytest.fixture(params=[True, False] if HAS_SPLICE else [False], ids=lambda p: f"pipe={p}")
def server(request: pytest.FixtureRequest, serve: Callable[..., RunningServer]) -> RunningServer:
    return serve({"listen": "127.0.0.1:0", "pipe": request.param}, plugins=[PlainPlugin])


@pytest.fixture
def join(server: RunningServer) -> Join:
    """A client and an upstream that are joined by a relay."""

    def connect(early: bytes = b"", receive_buffer: int = 0) -> Joined:
        with Peer(receive_buffer=receive_buffer) as peer:
            client = Client(server.address, receive_buffer=receive_buffer)
            client.send(plain_request(peer.address) + early)
            client.expect(b"ok\n")
            return client, peer.accept()

    return connect


def fill(connection: Connection) -> int:
    """Send until nobody takes any more; returns how much that was."""
    sent = 0
    connection.socket.settimeout(0.2)
    try:
        while True:
            sent += connection.socket.send(bytes(1 << 16))
    except TimeoutError:
        return sent
    finally:
        connection.socket.settimeout(10)


@pytest.mark.usefixtures("backend")
def test_bytes_pass_both_ways_and_are_counted(server: RunningServer, join: Join) -> None:
    client, upstream = join(b"early")
    with client, upstream:
        upstream.expect(b"early")
        for number in range(50):
            client.send(b"up%d" % number)
            upstream.expect(b"up%d" % number)
            upstream.send(b"down%d" % number)
            client.expect(b"down%d" % number)
        client.finish()
        upstream.expect_eof()
        upstream.close()
        client.expect_eof()
    statistics = server.wait_idle()
    up = sum(len(b"up%d" % n) for n in range(50))
    assert (statistics.byt_up, statistics.byt_down) == (5 + up, up + 100)


@pytest.mark.usefixtures("backend")
def test_the_clients_end_is_passed_on_and_the_other_way_goes_on(
    server: RunningServer, join: Join
) -> None:
    client, upstream = join()
    with client, upstream:
        client.send(b"question")
        client.finish()
        upstream.expect(b"question")
        upstream.expect_eof()
        upstream.send(b"answer" * 100_000)
        upstream.close()
        client.expect(b"answer" * 100_000)
        client.expect_eof()
    server.wait_idle()


@pytest.mark.usefixtures("backend")
def test_the_upstreams_end_is_passed_on_and_the_other_way_goes_on(
    server: RunningServer, join: Join
) -> None:
    client, upstream = join()
    with client, upstream:
        upstream.send(b"banner")
        upstream.finish()
        client.expect(b"banner")
        client.expect_eof()
        client.send(b"late" * 100_000)
        client.finish()
        upstream.expect(b"late" * 100_000)
        upstream.expect_eof()
    server.wait_idle()


@pytest.mark.usefixtures("backend")
def test_a_reset_is_passed_on_as_a_reset_either_way(server: RunningServer, join: Join) -> None:
    client, upstream = join()
    with client:
        upstream.reset()
        client.expect_reset()
    client, upstream = join()
    with upstream:
        client.reset()
        upstream.expect_reset()
    server.wait_idle()


def test_what_came_before_a_reset_is_delivered(server: RunningServer, join: Join) -> None:
    data = random.Random(1).randbytes(MIB)
    client, upstream = join()
    with client:
        upstream.send(data)
        received = client.receive(len(data))
        upstream.reset()
        client.expect_reset()
        assert received == data
    server.wait_idle()


def test_an_answer_that_came_before_the_upstream_broke_is_delivered(
    server: RunningServer, join: Join
) -> None:
    for _ in range(10):
        client, upstream = join()
        with client:
            client.send(b"x" * 100_000)
            upstream.expect(b"x")
            upstream.send(b"go away")
            upstream.close()  # with unread input: a reset follows the answer
            client.expect(b"go away")
            client.send(b"more")
            client.expect_closed()
    server.wait_idle()


def test_a_peer_that_does_not_read_stops_the_other_and_loses_nothing(
    server: RunningServer, join: Join
) -> None:
    client, upstream = join(receive_buffer=4096)
    with client, upstream:
        sent = fill(upstream)
        assert sent < 64 * MIB
        session = server.sessions()[0]
        assert session.bytes_down <= sent
        received = client.receive(sent)
        assert len(received) == sent
        upstream.send(b"end")
        client.expect(b"end")
        # and the other way
        sent = fill(client)
        upstream.receive(sent)
        client.finish()
        upstream.expect_eof()
    server.wait_idle()


def test_an_end_behind_a_backlog_comes_after_it(server: RunningServer, join: Join) -> None:
    client, upstream = join(receive_buffer=4096)
    with client:
        sent = fill(upstream)
        upstream.close()
        client.receive(sent)
        client.expect_eof()
    server.wait_idle()


def test_a_reset_behind_a_backlog_is_passed_on_and_costs_nothing_meanwhile(
    server: RunningServer, join: Join
) -> None:
    client, upstream = join(receive_buffer=4096)
    with client:
        fill(upstream)
        upstream.reset()
        # What had not been read from the upstream's socket is lost with it; what had been is not.
        received = client.receive(64 * 1024)
        assert not any(received)
        with pytest.raises(ConnectionResetError):
            while client.socket.recv(MIB):
                pass
    server.wait_idle()


def test_two_peers_that_do_not_read_and_then_break_leave_nothing(
    server: RunningServer, join: Join
) -> None:
    for broken in (0, 1):
        ends = join(receive_buffer=4096)
        fill(ends[0])
        fill(ends[1])
        ends[broken].reset()
        other = ends[1 - broken]
        with pytest.raises(ConnectionResetError):
            while other.socket.recv(MIB):
                pass
        other.close()
        server.wait_idle()


@pytest.mark.usefixtures("backend")
def test_megabytes_pass_unharmed_both_ways_at_once(server: RunningServer, echo: EchoServer) -> None:
    data = random.Random(2).randbytes(8 * MIB)
    with Client(server.address) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")

        def send() -> None:
            client.send(data)
            client.finish()

        sender = threading.Thread(target=send)
        sender.start()
        received = client.receive_all()
        sender.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
    statistics = server.wait_idle()
    assert statistics.byt_up == statistics.byt_down == len(data)


def test_an_idle_relay_holds_two_sockets_and_nothing_else(
    server: RunningServer, join: Join
) -> None:
    first = join()
    first[0].send(b"x")
    first[1].expect(b"x")
    before, tasks = len(os.listdir("/proc/self/fd")), server.count_tasks()
    sessions = [join(b"x") for _ in range(20)]
    for _, upstream in sessions:
        upstream.expect(b"x")
    # ours, and the server's
    assert len(os.listdir("/proc/self/fd")) == before + 20 * (2 + 2)
    assert server.count_tasks() == tasks
    for client, upstream in [first, *sessions]:
        client.close()
        upstream.close()
    server.wait_idle()
