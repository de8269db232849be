"""``-i DEVICE`` between two real devices that lead to one target: each is a pair of virtual Ethernet ends between two network namespaces."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

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

TARGET = "198.18.9.9"
"""Of the block for benchmarks, as are all addresses here (RFC 2544)."""


@dataclass(frozen=True)
class Places:
    """The namespaces: where the proxy is, and where the target is, which answers with the address that it was reached from."""

    here: tuple[str, ...]
    there: tuple[str, ...]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    require_namespaces()
    with ExitStack() as stack:
        here, there = (make_namespace(stack, name) for name in ("here", "there"))
        ip("-n", there, "address", "add", f"{TARGET}/32", "dev", "lo")
        for number in (1, 2):
            near, far = f"near{number}", f"far{number}"
            join(here, near, there, far)
            set_up(here, near, f"198.18.{number}.1/24")
            set_up(there, far, f"198.18.{number}.2/24")
            gateway = ("via", f"198.18.{number}.2", "dev", near, "metric", str(number))
            ip("-n", here, "route", "add", f"{TARGET}/32", *gateway)
            # The way back may be another than the best way there.
            for device in ("all", near):
                path = f"/proc/sys/net/ipv4/conf/{device}/rp_filter"
                subprocess.run([*inside(here), "sh", "-c", f"echo 0 > {path}"], check=True)
        stack.enter_context(serving(there, TARGET))
        yield Places(inside(here), inside(there))


@pytest.mark.parametrize(
    ("flags", "source"),
    [
        ((), "198.18.1.1"),
        (("-i", "near1"), "198.18.1.1"),
        (("-i", "near2"), "198.18.2.1"),
    ],
    ids=["none", "near1", "near2"],
)
def test_connections_leave_by_the_device_that_was_asked_for(
    places: Places, flags: tuple[str, ...], source: str
) -> None:
    with Command(*flags, prefix=places.here) as command:
        client = [find("curl"), "-sS", "--socks5", command.addresses[0], f"http://{TARGET}/"]
        got = subprocess.run(
            [*places.here, *client], capture_output=True, text=True, check=True, timeout=30
        )
        assert got.stdout == source


def test_a_device_that_does_not_lead_there_is_not_gone_round(places: Places) -> None:
    with Command("-i", "lo", "--dial-timeout", "0.5", prefix=places.here) as command:
        client = [find("curl"), "-sS", "--socks5", command.addresses[0], f"http://{TARGET}/"]
        got = subprocess.run([*places.here, *client], capture_output=True, check=False, timeout=30)
        assert got.returncode == 97  # the proxy said no


def test_a_device_of_another_namespace_is_an_error_at_the_start(places: Places) -> None:
    line = fails(2, "-i", "near1", "-l", "127.0.0.1:0", prefix=places.there)
    assert line == "-i: there is no network device 'near1'"
