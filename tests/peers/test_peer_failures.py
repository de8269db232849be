"""Proxies that refuse, never answer, or die in the midst of the handshake: the client gets the documented reply.

SOCKS5 replies are those of RFC 1928 section 6; SOCKS4 knows one refusal, HTTP 403, 502 and 504.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from neosocksd_core.testing import (
    BlackHole,
    Client,
    Connection,
    EchoServer,
    ScriptedPeer,
    closed_address,
)
from tests.peers.conftest import StartProxy
from tests.peers.daemons import LOOPBACK, Daemon, OurProxy, find, free_port
from tests.peers.proxies import Proxies, tinyproxy_config

TARGET = (LOOPBACK, 9)
DIAL_TIMEOUT = "0.5"

Scripts = Callable[[Callable[[Connection], object]], int]


@pytest.fixture
def scripted() -> Iterator[Scripts]:
    """Starts peers that follow a script, and gives their ports."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(ScriptedPeer(script)).address[1]


def expect_replies(
    proxy: OurProxy, reply: int, status: int, target: tuple[str, int] = TARGET
) -> None:
    """The client is told the same in each protocol, and then the end."""
    host, port = target
    address = bytes(map(int, host.split("."))) + port.to_bytes(2, "big")
    with Client((LOOPBACK, proxy.socks)) as client:
        client.send(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + address)
        client.expect(b"\x05\x00" + b"\x05" + bytes((reply,)) + b"\x00\x01" + bytes(6))
        client.expect_eof()
    with Client((LOOPBACK, proxy.socks)) as client:
        client.send(b"\x04\x01" + address[4:] + address[:4] + b"\x00")
        client.expect(b"\x00\x5b" + bytes(6))
        client.expect_eof()
    head = f"HTTP/1.1 {status} ".encode()
    for request in (f"CONNECT {host}:{port}", f"GET http://{host}:{port}/"):
        with Client((LOOPBACK, proxy.http)) as client:
            client.send(f"{request} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            client.expect(head)


# Refusals by real proxies.


@pytest.mark.parametrize(
    ("name", "reply", "status"),
    [
        ("microsocks", 5, 502),
        ("danted", 5, 502),
        ("danted-socks4", 5, 502),
        ("ours-socks5", 5, 502),
        ("ours-socks4a", 5, 502),
        ("ours-http", 5, 502),
        ("tinyproxy", 1, 502),  # it answers 500
    ],
)
def test_a_closed_port_behind_a_proxy(
    name: str, reply: int, status: int, proxies: Proxies, start_proxy: StartProxy
) -> None:
    proxy = start_proxy("-x", proxies(name))
    with closed_address() as (host, port, *_):
        expect_replies(proxy, reply, status, (host, port))


def test_a_target_that_danted_forbids(proxies: Proxies, start_proxy: StartProxy) -> None:
    proxy = start_proxy("-x", proxies("danted"))
    expect_replies(proxy, 2, 403, ("127.0.0.2", 9))


def test_a_target_that_another_of_us_forbids(start_proxy: StartProxy) -> None:
    strict = start_proxy("--block-outbound", "loopback")
    expect_replies(start_proxy("-x", f"socks5://{LOOPBACK}:{strict.socks}"), 2, 403)
    expect_replies(start_proxy("-x", f"http://{LOOPBACK}:{strict.http}"), 2, 403)


def test_a_port_that_tinyproxy_forbids(tmp_path: Path, start_proxy: StartProxy) -> None:
    port = free_port()
    config = tmp_path / "strict.conf"
    config.write_text(tinyproxy_config(port, "ConnectPort 1"))
    with Daemon([find("tinyproxy"), "-d", "-c", str(config)], tmp_path / "strict.log") as daemon:
        daemon.wait_for_port(port)
        expect_replies(start_proxy("-x", f"http://{LOOPBACK}:{port}"), 2, 403)


@pytest.mark.parametrize(
    ("name", "uri", "reply", "status"),
    [
        ("microsocks-password", "socks5://{}", 1, 502),  # offers no method that we have
        ("microsocks-password", "socks5://bob:wrong@{}", 1, 502),
        ("tinyproxy-password", "http://{}", 2, 403),  # 407
        ("tinyproxy-password", "http://bob:wrong@{}", 1, 502),  # 401, which is no proxy's answer
    ],
)
def test_a_password_that_a_proxy_does_not_take(
    name: str, uri: str, reply: int, status: int, proxies: Proxies, start_proxy: StartProxy
) -> None:
    address = proxies(name).rpartition("@")[2]
    expect_replies(start_proxy("-x", uri.format(address)), reply, status)


@pytest.mark.parametrize("scheme", ["socks4a", "socks5", "http"])
def test_a_proxy_that_is_not_there(scheme: str, start_proxy: StartProxy) -> None:
    with closed_address() as (host, port, *_):
        expect_replies(start_proxy("-x", f"{scheme}://{host}:{port}"), 5, 502)


def test_the_second_proxy_is_not_there(proxies: Proxies, start_proxy: StartProxy) -> None:
    with closed_address() as (host, port, *_):
        chain = f"{proxies('microsocks')},http://{host}:{port}"
        expect_replies(start_proxy("-x", chain), 5, 502)


# Proxies that say nothing, or not enough.


@pytest.mark.parametrize("scheme", ["socks4a", "socks5", "http"])
def test_a_proxy_that_never_answers(
    scheme: str, start_proxy: StartProxy, scripted: Scripts
) -> None:
    port = scripted(lambda peer: peer.receive_all())
    proxy = start_proxy("--dial-timeout", DIAL_TIMEOUT, "-x", f"{scheme}://{LOOPBACK}:{port}")
    expect_replies(proxy, 6, 504)


def test_the_second_proxy_never_answers(
    proxies: Proxies, start_proxy: StartProxy, scripted: Scripts
) -> None:
    silent = scripted(lambda peer: peer.receive_all())
    chain = f"{proxies('microsocks')},socks5://{LOOPBACK}:{silent}"
    expect_replies(start_proxy("--dial-timeout", DIAL_TIMEOUT, "-x", chain), 6, 504)


def test_a_proxy_that_does_not_accept(start_proxy: StartProxy) -> None:
    with BlackHole() as hole:
        uri = f"socks5://{LOOPBACK}:{hole.address[1]}"
        expect_replies(start_proxy("--dial-timeout", DIAL_TIMEOUT, "-x", uri), 6, 504)


HALVES = {
    "socks4a": (9, b"\x00\x5a\x00\x00\x00\x00\x00"),
    "socks5": (3, b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00"),
    "http": (40, b"HTTP/1.1 200 OK\r\nServer: x\r\n"),
}
"""For each scheme how many bytes of a request are surely there, and the longest answer that is not a whole one."""


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("scheme", HALVES)
def test_a_proxy_that_dies_in_the_midst_of_the_handshake(
    scheme: str, reset: bool, start_proxy: StartProxy, scripted: Scripts
) -> None:
    size, answer = HALVES[scheme]
    half = b""

    def play(peer: Connection) -> None:
        peer.receive(size)
        peer.send(half)
        if reset:
            peer.reset()

    proxy = start_proxy("-x", f"{scheme}://{LOOPBACK}:{scripted(play)}")
    for end in range(0, len(answer) + 1, 3):
        half = answer[:end]
        expect_replies(proxy, 1, 502)


@pytest.mark.parametrize("scheme", ["socks4a", "socks5", "http"])
def test_a_proxy_that_speaks_another_protocol(
    scheme: str, start_proxy: StartProxy, scripted: Scripts
) -> None:
    port = scripted(lambda peer: peer.send(b"220 mail.example ESMTP\r\n" * 200))
    expect_replies(start_proxy("-x", f"{scheme}://{LOOPBACK}:{port}"), 1, 502)


def test_a_proxy_that_dies_later_ends_the_session(
    proxies: Proxies, tmp_path: Path, start_proxy: StartProxy, echo: EchoServer
) -> None:
    port = free_port()
    command = [find("microsocks"), "-i", LOOPBACK, "-p", str(port)]
    with Daemon(command, tmp_path / "microsocks.log") as daemon:
        daemon.wait_for_port(port)
        proxy = start_proxy("-x", f"socks5://{LOOPBACK}:{port}")
        with Client((LOOPBACK, proxy.socks)) as client:
            address = bytes(map(int, LOOPBACK.split("."))) + echo.address[1].to_bytes(2, "big")
            client.send(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + address + b"early")
            client.receive(12)
            client.expect(b"early")
            daemon.process.kill()
            client.expect_closed()
