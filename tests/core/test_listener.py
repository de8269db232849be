"""Listeners: what they are bound to, and that accepting survives everything."""

import errno
import logging
import socket
from typing import Any

import anyio
import pytest

from neosocksd_core import listener as listener_module
from neosocksd_core.addresses import Address, SocketAddress
from neosocksd_core.errors import ListenError
from neosocksd_core.listener import Listener, bind, set_transparent
from neosocksd_core.loops import open_reactor
from neosocksd_core.settings import Settings
from neosocksd_core.testing import Client, Peer, run_async
from neosocksd_core.testing.running import Backend


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_an_empty_host_is_all_addresses_of_both_families_on_one_port() -> None:
    sockets = bind(Address("", 0), settings())
    assert [sock.getsockname()[0] for sock in sockets] == ["0.0.0.0", "::"]
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    close(sockets)


def test_the_options_of_the_settings_are_set() -> None:
    [sock] = bind(
        Address("127.0.0.1", 0), settings(reuseport=True, tcp_rcvbuf=32768, tcp_nodelay=True)
    )
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 65536
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN)
        assert not sock.getblocking()
        [second] = bind(Address(*sock.getsockname()), settings(reuseport=True, tcp_fastopen=False))
        with second:
            assert not second.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN)


@pytest.mark.parametrize("is_on", [True, False])
def test_clients_are_probed_after_two_minutes_unless_keepalive_is_off(is_on: bool) -> None:
    [listening] = bind(Address("127.0.0.1", 0), settings(tcp_keepalive=is_on))
    with listening, Client(listening.getsockname()):
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert bool(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is is_on
            seconds = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert (seconds == 120) is is_on


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "host.invalid"])
def test_an_address_that_cannot_be_had_is_one_line_that_names_it(host: str) -> None:
    with Peer() as peer, pytest.raises(ListenError) as caught:
        bind(Address(host, peer.port), settings())
    assert f"{host}:{peer.port}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_system_that_knows_nothing_of_transparent_sockets_listens_as_ever() -> None:
    class Ignorant(socket.socket):
        def getsockopt(self, *_: Any) -> Any:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")

        setsockopt = getsockopt

    with Ignorant() as sock:
        set_transparent(sock, False)
        with pytest.raises(OSError, match="not available"):
            set_transparent(sock, True)


def test_where_one_family_cannot_be_had_nothing_is_left_open() -> None:
    with Peer("::1") as peer, pytest.raises(ListenError):
        bind(Address("", peer.port), settings())


class Failing(socket.socket):
    """A listening socket whose accept fails a few times before it works."""

    errors: list[int]

    def accept(self) -> Any:
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, "on purpose")
        return super().accept()


@pytest.mark.parametrize(
    "code",
    [errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EINTR, errno.EHOSTUNREACH],
    ids=errno.errorcode.get,
)
def test_a_connection_that_was_gone_before_it_was_taken_is_passed_over(
    code: int, backend: Backend
) -> None:
    accept_in_spite_of([code, code, code], backend)


@pytest.mark.logs_error("clients have to wait")
@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get
)
def test_where_a_resource_has_run_out_accepting_rests_and_goes_on(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PAUSE_SECONDS", 0.01)
    accept_in_spite_of([code, code], "auto")


def accept_in_spite_of(errors: list[int], backend: Backend) -> None:
    async def main() -> None:
        [bound] = bind(Address("127.0.0.1", 0), settings())
        sock = Failing(fileno=bound.detach())
        sock.setblocking(False)
        sock.errors = errors
        accepted = anyio.Event()

        def on_accept(connection: socket.socket, client: SocketAddress) -> None:
            assert not connection.getblocking()
            assert client == ours.local
            connection.close()
            accepted.set()

        with sock:
            async with open_reactor() as reactor:
                listener = Listener(reactor, sock, on_accept, logging.getLogger("test"))
                with Client(sock.getsockname()) as ours:
                    with anyio.fail_after(10):
                        await accepted.wait()
                listener.stop()
        assert not errors

    run_async(main, backend)


def test_a_client_of_ipv4_on_an_ipv6_listener_has_its_ipv4_address() -> None:
    async def main() -> None:
        [sock] = bind(Address("::", 0), settings())
        seen: list[SocketAddress] = []
        accepted = anyio.Event()

        def on_accept(connection: socket.socket, client: SocketAddress) -> None:
            seen.append(client)
            connection.close()
            accepted.set()

        with sock:
            async with open_reactor() as reactor:
                listener = Listener(reactor, sock, on_accept, logging.getLogger("test"))
                with Client(("127.0.0.1", sock.getsockname()[1])) as client:
                    await accepted.wait()
                    assert seen == [client.local]
                listener.stop()

    run_async(main)


@pytest.mark.logs_error("cannot accept")
def test_a_listener_that_rests_can_be_stopped() -> None:
    async def main() -> None:
        [bound] = bind(Address("127.0.0.1", 0), settings())
        sock = Failing(fileno=bound.detach())
        sock.setblocking(False)
        sock.errors = [errno.EMFILE]
        with sock:
            async with open_reactor() as reactor:
                listener = Listener(
                    reactor, sock, lambda connection, client: None, logging.getLogger("test")
                )
                with Client(sock.getsockname()), anyio.fail_after(10):
                    while sock.errors:
                        await anyio.sleep(0)
                listener.stop()

    run_async(main)
