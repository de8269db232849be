"""``--tproxy`` on a router between a client and a target: connections that the packet filter diverts go where they were made to."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Command, fails
from tests.peers.daemons import find
from tests.peers.namespaces import (
    inside,
    ip,
    join,
    make_namespace,
    require_namespaces,
    serving,
    set_up,
)

TARGETS = ("198.18.9.9", "2001:db8:9::9")
ROUTER = ("198.18.2.1", "2001:db8:2::1")
"""Of the blocks for benchmarks and for documentation (RFC 2544, RFC 3849), as are all addresses here."""

LISTEN = ("--tproxy", "--listen", ":1080")


@dataclass(frozen=True)
class Places:
    """What stands before commands that run where the client is, and on the router."""

    client: tuple[str, ...]
    router: tuple[str, ...]

    def get(self, url: str) -> "subprocess.CompletedProcess[str]":
        """What the client gets, which knows of no proxy."""
        command = [*self.client, find("curl"), "-sS", "--max-time", "20", url]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    require_namespaces()
    with ExitStack() as stack:
        client, router, target = (
            make_namespace(stack, name) for name in ("client", "router", "target")
        )
        join(client, "out", router, "in")
        join(router, "out", target, "in")
        set_up(client, "out", "198.18.1.2/24", "2001:db8:1::2/64")
        set_up(router, "in", "198.18.1.1/24", "2001:db8:1::1/64")
        set_up(router, "out", "198.18.2.1/24", "2001:db8:2::1/64")
        set_up(target, "in", "198.18.2.2/24", "2001:db8:2::2/64")
        set_up(target, "lo", *TARGETS)
        for family, gateways, table in (
            ("-4", ("198.18.1.1", "198.18.2.2"), "iptables"),
            ("-6", ("2001:db8:1::1", "2001:db8:2::2"), "ip6tables"),
        ):
            ip(family, "-n", client, "route", "add", "default", "via", gateways[0])
            ip(family, "-n", router, "route", "add", "default", "via", gateways[1])
            ip(family, "-n", router, "rule", "add", "fwmark", "1", "lookup", "100")
            ip(
                family,
                "-n",
                router,
                "route",
                "add",
                "local",
                "default",
                "dev",
                "lo",
                "table",
                "100",
            )
            divert = "-t mangle -A PREROUTING -i in -p tcp -j TPROXY --on-port 1080 --tproxy-mark 1"
            subprocess.run(
                [*inside(router), find(table), *divert.split()], check=True, capture_output=True
            )
        for address in TARGETS:
            stack.enter_context(serving(target, address))
        yield Places(inside(client), inside(router))


def url(host: str, port: int = 80) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@pytest.mark.parametrize("number", [0, 1], ids=["IPv4", "IPv6"])
def test_a_connection_goes_to_where_it_was_made_to(places: Places, number: int) -> None:
    target, router = TARGETS[number], ROUTER[number]
    with Command(*LISTEN, "--loglevel", "5", listen=None, prefix=places.router) as command:
        assert places.get(url(target)).stdout == router
        command.wait_for(f"-> {url(target)[7:-1]}: done")


def test_a_ruleset_decides_by_the_address(places: Places, tmp_path: Path) -> None:
    ruleset = tmp_path / "ruleset.lua"
    ruleset.write_text("""
        local function to_80(addr) return (addr:gsub(":%d+$", ":80")) end
        return { route = to_80, route6 = to_80 }""")
    with Command(*LISTEN, "-r", str(ruleset), listen=None, prefix=places.router):
        for target, router in zip(TARGETS, ROUTER, strict=True):
            assert places.get(url(target, 8080)).stdout == router


@pytest.mark.parametrize("host", ["198.18.1.1", "2001:db8:2::1"])
def test_a_connection_to_the_listener_itself_is_refused(places: Places, host: str) -> None:
    with Command(*LISTEN, "--loglevel", "5", listen=None, prefix=places.router) as command:
        assert places.get(url(host, 1080)).returncode != 0
        command.wait_for("is guarded")
        assert places.get(url(TARGETS[0])).stdout == ROUTER[0]


def test_an_api_without_its_guard_is_reached(places: Places) -> None:
    host = "198.18.1.1"
    api = ("--api", f"{host}:9080", "--api-token", "x" * 16, "--api-via-proxy")
    with Command(*LISTEN, *api, "--loglevel", "5", listen=None, prefix=places.router) as command:
        assert places.get(url(host, 9080)).returncode == 0
        command.wait_for(f"-> {host}:9080: done")


def test_a_reload_makes_the_listeners_transparent_and_back(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "neosocksd.toml"
    file.write_text('listen = ":1080"\n')
    with Command("-c", str(file), "--loglevel", "5", listen=None, prefix=places.router) as command:
        file.write_text('listen = ":1080"\ntransparent = true\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("reloaded")
        assert places.get(url(TARGETS[0])).stdout == ROUTER[0]
        file.write_text('listen = ":1080"\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("reloaded")
        assert places.get(url(TARGETS[0])).returncode != 0


def test_the_capability_is_needed_at_the_start_only(places: Places, tmp_path: Path) -> None:
    file = tmp_path / "neosocksd.toml"
    file.write_text('listen = ":1080"\ntransparent = true\nuser_name = "nobody"\n')
    file.chmod(0o644)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    with Command("-c", str(file), "--loglevel", "5", listen=None, prefix=places.router) as command:
        command.send_signal(signal.SIGHUP)
        command.wait_for("reloaded")
        assert places.get(url(TARGETS[0])).stdout == ROUTER[0]


def test_a_reload_that_fails_leaves_the_listeners_transparent(
    places: Places, tmp_path: Path
) -> None:
    file = tmp_path / "neosocksd.toml"
    file.write_text('listen = ":1080"\ntransparent = true\n')
    with Command("-c", str(file), "--loglevel", "5", listen=None, prefix=places.router) as command:
        file.write_text('listen = [":1080", "192.0.2.1:1080"]\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("not reloaded: cannot listen on 192.0.2.1:1080")
        assert places.get(url(TARGETS[0])).stdout == ROUTER[0]


def test_without_the_capability_it_is_an_error_at_the_start() -> None:
    prefix = (find("setpriv"), "--bounding-set=-net_admin,-net_raw")
    line = fails(1, "--tproxy", "-l", "127.0.0.1:0", prefix=prefix)
    assert line == "cannot listen on 127.0.0.1:0: transparent takes the capability CAP_NET_ADMIN"


def test_clients_cannot_be_asked_for_credentials() -> None:
    line = fails(2, "--tproxy", "--auth-required", "-l", "127.0.0.1:0")
    assert line == "--tproxy: clients cannot authenticate, remove auth_required"
