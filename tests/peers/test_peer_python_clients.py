"""PySocks and python-socks (asyncio, trio) through the running command."""

import importlib
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import anyio
import pytest

from neosocksd_core.testing import EchoServer, closed_address
from tests.command import Command
from tests.peers.daemons import LOOPBACK, OurProxy, missing

TEXT = bytes(range(256)) * 100
PASSWORD = "s3cret:!"


def library(name: str, distribution: str) -> Any:
    """A client library; it brings no types that would be worth checking against."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return missing(distribution)


# PySocks


def pysocks(proxy: OurProxy, how: str, target: tuple[str, int], **user: str) -> bytes:
    """What comes back from *target* for TEXT, and all of it before the end."""
    socks = library("socks", "PySocks")
    kind, port = {
        "socks4": (socks.SOCKS4, proxy.socks),
        "socks5": (socks.SOCKS5, proxy.socks),
        "http": (socks.HTTP, proxy.http),
    }[how]
    with closing(socks.socksocket()) as sock:
        sock.settimeout(30)
        sock.set_proxy(kind, LOOPBACK, port, rdns=True, **user)
        sock.connect(target)
        sock.sendall(TEXT)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while data := sock.recv(65536):
            received += data
        return received


@pytest.mark.parametrize("host", [LOOPBACK, "localhost"])
@pytest.mark.parametrize("how", ["socks4", "socks5", "http"])
def test_pysocks_bytes_come_back(proxy: OurProxy, echo: EchoServer, how: str, host: str) -> None:
    assert pysocks(proxy, how, (host, echo.address[1])) == TEXT


def test_pysocks_datagrams_come_back() -> None:
    socks = library("socks", "PySocks")
    with (
        Command("--enable-socks5-udp") as command,
        closing(socks.socksocket(type=socket.SOCK_DGRAM)) as client,
        socket.socket(type=socket.SOCK_DGRAM) as host,
    ):
        host.bind((LOOPBACK, 0))
        host.settimeout(30)
        client.settimeout(30)
        client.set_proxy(socks.SOCKS5, *command.address)
        client.sendto(b"hello", host.getsockname())
        payload, relay = host.recvfrom(65535)
        host.sendto(payload.upper(), relay)
        assert client.recvfrom(65535) == (b"HELLO", host.getsockname())


def test_pysocks_who_knows_the_password_is_served(
    password_proxy: OurProxy, echo: EchoServer
) -> None:
    target = (LOOPBACK, echo.address[1])
    told = pysocks(password_proxy, "socks5", target, username="alice", password=PASSWORD)
    assert told == TEXT


def test_pysocks_who_does_not_is_refused(password_proxy: OurProxy, echo: EchoServer) -> None:
    target = (LOOPBACK, echo.address[1])
    socks = library("socks", "PySocks")
    with pytest.raises(socks.ProxyError, match="authentication failed"):
        pysocks(password_proxy, "socks5", target, username="alice", password="wrong")


@pytest.mark.parametrize(
    ("how", "reply"), [("socks4", "0x5b"), ("socks5", "0x05"), ("http", "502")]
)
def test_pysocks_a_closed_port_is_reported(proxy: OurProxy, how: str, reply: str) -> None:
    socks = library("socks", "PySocks")
    with closed_address() as (host, port, *_), pytest.raises(socks.ProxyError, match=reply):
        pysocks(proxy, how, (host, port))


# python-socks

Talk = Callable[[str, tuple[str, int]], Awaitable[bytes]]


async def talk_asyncio(uri: str, target: tuple[str, int]) -> bytes:
    import asyncio

    proxy = library("python_socks.async_.asyncio", "python-socks").Proxy.from_url(uri, rdns=True)
    sock = await proxy.connect(*target, timeout=30)
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        writer.write(TEXT)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def talk_trio(uri: str, target: tuple[str, int]) -> bytes:
    import trio

    proxy = library("python_socks.async_.trio", "python-socks").Proxy.from_url(uri, rdns=True)
    stream = trio.SocketStream(await proxy.connect(*target, timeout=30))
    async with stream:
        received = b""
        await stream.send_all(TEXT)
        await stream.send_eof()
        async for data in stream:
            received += data
        return received


def python_socks(backend: str, uri: str, target: tuple[str, int]) -> bytes:
    library("python_socks", "python-socks")
    talk: Talk = talk_trio if backend == "trio" else talk_asyncio
    return anyio.run(talk, uri, target, backend=backend)


def uri_of(proxy: OurProxy, how: str, user: str = "") -> str:
    return f"{how}://{user}{LOOPBACK}:{proxy.http if how == 'http' else proxy.socks}"


@pytest.mark.parametrize("host", [LOOPBACK, "localhost"])
@pytest.mark.parametrize("how", ["socks4", "socks5", "http"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_python_socks_bytes_come_back(
    proxy: OurProxy, echo: EchoServer, backend: str, how: str, host: str
) -> None:
    assert python_socks(backend, uri_of(proxy, how), (host, echo.address[1])) == TEXT


@pytest.mark.parametrize("how", ["socks5", "http"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_python_socks_who_knows_the_password_is_served(
    password_proxy: OurProxy, echo: EchoServer, backend: str, how: str
) -> None:
    uri = uri_of(password_proxy, how, "alice:s3cret%3A%21@")
    assert python_socks(backend, uri, (LOOPBACK, echo.address[1])) == TEXT


@pytest.mark.parametrize("how", ["socks5", "http"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_python_socks_who_does_not_is_refused(
    password_proxy: OurProxy, echo: EchoServer, backend: str, how: str
) -> None:
    error = library("python_socks", "python-socks").ProxyError
    uri = uri_of(password_proxy, how, "alice:wrong@")
    with pytest.raises(error):
        python_socks(backend, uri, (LOOPBACK, echo.address[1]))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_python_socks_a_closed_port_is_reported(proxy: OurProxy, backend: str) -> None:
    error = library("python_socks", "python-socks").ProxyError
    with closed_address() as (host, port, *_), pytest.raises(error) as caught:
        python_socks(backend, uri_of(proxy, "socks5"), (host, port))
    assert caught.value.error_code == 5
