"""Closing: the last reply arrives, a reset does not overtake what was written, and nothing stays."""

import socket
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest

from neosocksd_core import closing
from neosocksd_core.closing import Closer, unsent
from neosocksd_core.loops import open_reactor
from neosocksd_core.testing import Client, Connection, Peer, run_async
from neosocksd_core.testing.running import Backend


def run(body: Callable[[Closer], Awaitable[None]], backend: Backend = "auto") -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            closer = Closer(reactor)
            try:
                await body(closer)
            finally:
                closer.close()

    run_async(main, backend)


def connected(receive_buffer: int = 0) -> tuple[Client, socket.socket]:
    """A client, and the non-blocking socket at the other end."""
    with Peer() as peer:
        client = Client(peer.address, receive_buffer=receive_buffer)
        server = peer.accept().socket
    server.setblocking(False)
    return client, server


async def closed(sock: socket.socket) -> None:
    with anyio.fail_after(10):
        while sock.fileno() >= 0:
            await anyio.sleep(0)


def in_thread(work: Callable[[], None]) -> Awaitable[None]:
    return anyio.to_thread.run_sync(work)


def test_a_last_reply_is_not_lost_to_a_client_that_is_still_sending(backend: Backend) -> None:
    async def body(closer: Closer) -> None:
        client, server = connected()
        with client:
            client.send(b"x" * 100_000)
            server.send(b"reply")
            closer.linger(server)
            await in_thread(lambda: client.expect(b"reply"))
            await in_thread(client.expect_eof)
            client.send(b"y" * 1000)
            client.close()
            await closed(server)

    run(body, backend)


def test_a_client_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "LINGER_SECONDS", 0.02)

    async def body(closer: Closer) -> None:
        client, server = connected()
        with client:
            closer.linger(server)
            await closed(server)

    run(body)


def test_a_client_that_sends_without_end_is_cut_off() -> None:
    async def body(closer: Closer) -> None:
        client, server = connected()
        with client:
            closer.linger(server)

            def flood() -> None:
                with pytest.raises(OSError, match="reset|pipe"):
                    while True:
                        client.socket.sendall(bytes(1 << 16))

            await in_thread(flood)
            assert server.fileno() < 0

    run(body)


def test_a_client_that_is_gone_already_is_closed_at_once() -> None:
    async def body(closer: Closer) -> None:
        client, server = connected()
        client.reset()
        closer.linger(server)
        await closed(server)

    run(body)


def test_a_reset_waits_until_what_was_written_has_arrived(backend: Backend) -> None:
    async def body(closer: Closer) -> None:
        client, server = connected(receive_buffer=4096)
        with client:
            sent = 0
            try:
                while True:
                    sent += server.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            assert unsent(server)
            closer.reset(server)
            assert len(await anyio.to_thread.run_sync(client.receive, sent)) == sent
            await in_thread(client.expect_reset)

    run(body, backend)


def test_a_reset_does_not_wait_for_a_peer_that_has_reset_itself() -> None:
    async def body(closer: Closer) -> None:
        client, server = connected(receive_buffer=4096)
        with pytest.raises(BlockingIOError):
            while True:
                server.send(bytes(1 << 16))
        client.reset()
        closer.reset(server)
        assert server.fileno() < 0

    run(body)


def test_a_reset_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "DELIVERY_SECONDS", 0.02)

    async def body(closer: Closer) -> None:
        client, server = connected(receive_buffer=4096)
        with client:
            with pytest.raises(BlockingIOError):
                while True:
                    server.send(bytes(1 << 16))
            closer.reset(server)
            await closed(server)

    run(body)


def test_what_is_left_is_closed_at_the_end() -> None:
    left: list[socket.socket] = []
    clients: list[Connection] = []

    async def body(closer: Closer) -> None:
        for _ in range(3):
            client, server = connected(receive_buffer=4096)
            clients.append(client)
            left.append(server)
        closer.linger(left[0])
        for server in left[1:]:
            with pytest.raises(BlockingIOError):
                while True:
                    server.send(bytes(1 << 16))
            closer.reset(server)

    run(body)
    assert all(sock.fileno() < 0 for sock in left)
    for client in clients:
        client.close()
