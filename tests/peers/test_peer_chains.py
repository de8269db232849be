"""Chains through real proxies, mixed with ourselves, of length 1, 2 and 3, in every order of their kinds."""

import re
from itertools import permutations

import pytest

from neosocksd_core.testing import Client, EchoServer
from tests.peers.conftest import StartProxy
from tests.peers.daemons import LOOPBACK, OurProxy, find, run
from tests.peers.origin import PAGE, Origin
from tests.peers.proxies import Proxies

SINGLE = (
    "microsocks",
    "microsocks-password",
    "danted",
    "danted-socks4",
    "tinyproxy",
    "tinyproxy-password",
    "ours-socks5",
    "ours-socks4a",
    "ours-http",
)
DOUBLE = (
    *permutations(("microsocks", "danted", "tinyproxy"), 2),
    ("danted-socks4", "ours-http"),
    ("ours-http", "danted-socks4"),
    ("microsocks", "ours-socks4a"),
    ("ours-socks5", "tinyproxy"),
    ("tinyproxy-password", "microsocks-password"),
)
TRIPLE = (
    *permutations(("microsocks", "danted", "tinyproxy")),
    ("ours-socks5", "tinyproxy", "danted-socks4"),
    ("microsocks", "ours-http", "ours-socks4a"),
)
CHAINS = [*((name,) for name in SINGLE), *DOUBLE, *TRIPLE]


@pytest.mark.parametrize("names", CHAINS, ids=" ".join)
def test_a_chain_carries_bytes(
    names: tuple[str, ...],
    proxies: Proxies,
    start_proxy: StartProxy,
    origin: Origin,
) -> None:
    uris = [proxies(name) for name in names]
    proxy = start_proxy("--proxy", ",".join(uris))
    curl = [find("curl"), "--silent", "--show-error", "--noproxy", ""]
    # Dante knows SOCKS4 only, without names.
    hosts = [LOOPBACK] if names[-1] == "danted-socks4" else [LOOPBACK, "localhost"]
    for host in hosts:
        url = f"http://{host}:{origin.port}/"
        socks, http = f"socks5h://{LOOPBACK}:{proxy.socks}", f"http://{LOOPBACK}:{proxy.http}"
        assert run(*curl, "--proxy", socks, url).stdout == PAGE
        assert run(*curl, "--proxy", http, url).stdout == PAGE
    assert len(origin.requests) == 2 * len(hosts)


@pytest.mark.parametrize("names", [*permutations(("ours-http", "ours-socks5"))], ids=" ".join)
def test_the_first_proxy_of_the_command_line_is_dialled_first(
    names: tuple[str, ...], start_proxy: StartProxy, echo: EchoServer
) -> None:
    """Each of two proxies says in its log what it was asked for: the first one for the second, the second one for the target."""
    first, second = start_proxy(), start_proxy()
    ports = [
        running.http if name == "ours-http" else running.socks
        for name, running in zip(names, (first, second), strict=True)
    ]
    uris = [
        f"{name.removeprefix('ours-')}://{LOOPBACK}:{port}"
        for name, port in zip(names, ports, strict=True)
    ]
    proxy = start_proxy("-x", ",".join(uris))
    with connect(proxy, echo) as client:
        client.send(b"hello")
        client.expect(b"hello")
    first.wait_for(rf"INFO .*{LOOPBACK}:{ports[1]}\b")
    second.wait_for(rf"INFO .*{LOOPBACK}:{echo.address[1]}\b")
    assert not re.search(rf":{echo.address[1]}\b", first.output)


@pytest.mark.parametrize(
    "names", [*permutations(("microsocks", "danted", "tinyproxy"), 2)], ids=" ".join
)
def test_a_long_stream_passes_a_chain(
    names: tuple[str, ...], proxies: Proxies, start_proxy: StartProxy, echo: EchoServer
) -> None:
    part = bytes(range(256)) * 256
    proxy = start_proxy("-x", ",".join(proxies(name) for name in names))
    with connect(proxy, echo) as client:
        for _ in range(8):
            client.send(part)
            client.expect(part)


@pytest.mark.parametrize(
    "names", [*permutations(("ours-http", "ours-socks5", "ours-socks4a"))], ids=" ".join
)
def test_the_end_of_a_stream_comes_after_all_of_it(
    names: tuple[str, ...], proxies: Proxies, start_proxy: StartProxy, echo: EchoServer
) -> None:
    """More than the buffers on the way hold, and then the end of one direction: the other goes on until it is through."""
    data = bytes(range(256)) * 40_000
    proxy = start_proxy("-x", ",".join(proxies(name) for name in names))
    via = ["--proxy", f"{LOOPBACK}:{proxy.socks}", "--proxy-type", "socks5"]
    told = run(find("ncat"), *via, LOOPBACK, str(echo.address[1]), stdin=data)
    assert told.stdout == data, f"{len(told.stdout)} of {len(data)} bytes"


def connect(proxy: OurProxy, echo: EchoServer) -> Client:
    """A client of *proxy* that is connected to the echo server."""
    client = Client((LOOPBACK, proxy.socks))
    address = bytes(map(int, LOOPBACK.split("."))) + echo.address[1].to_bytes(2, "big")
    client.send(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + address)
    client.expect(b"\x05\x00" + b"\x05\x00\x00")
    client.receive(7)
    return client
