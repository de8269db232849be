"""ncat through the running command: bytes to an echo server and back."""

import pytest

from neosocksd_core.testing import EchoServer, closed_address
from tests.peers.daemons import LOOPBACK, OurProxy, find, run

TEXT = b"a line\n" * 2000


def ncat(
    proxy: OurProxy,
    how: str,
    target: tuple[str, int],
    *more: str,
    stdin: bytes = TEXT,
    status: int = 0,
) -> bytes:
    port = proxy.http if how == "http" else proxy.socks
    via = ["--proxy", f"{LOOPBACK}:{port}", "--proxy-type", how, *more]
    host, number = target
    return run(find("ncat"), *via, host, str(number), stdin=stdin, status=status).stdout


@pytest.mark.parametrize("how", ["socks4", "socks5", "http"])
def test_bytes_come_back(proxy: OurProxy, echo: EchoServer, how: str) -> None:
    assert ncat(proxy, how, echo.address[:2]) == TEXT


@pytest.mark.parametrize("how", ["socks5", "http"])
def test_names_are_looked_up_by_the_proxy(proxy: OurProxy, echo: EchoServer, how: str) -> None:
    target = ("localhost", echo.address[1])
    assert ncat(proxy, how, target, "--proxy-dns", "remote") == TEXT


@pytest.mark.parametrize("how", ["socks5", "http"])
def test_who_knows_the_password_is_served(
    password_proxy: OurProxy, echo: EchoServer, how: str
) -> None:
    target = echo.address[:2]
    assert ncat(password_proxy, how, target, "--proxy-auth", "alice:s3cret:!") == TEXT


@pytest.mark.parametrize("how", ["socks5", "http"])
def test_who_does_not_is_refused(password_proxy: OurProxy, echo: EchoServer, how: str) -> None:
    told = ncat(password_proxy, how, echo.address[:2], "--proxy-auth", "alice:wrong", status=1)
    assert told == b""


@pytest.mark.parametrize("how", ["socks4", "socks5", "http"])
def test_a_closed_port_is_reported(proxy: OurProxy, how: str) -> None:
    with closed_address() as (host, port, *_):
        assert ncat(proxy, how, (host, port), status=1) == b""
