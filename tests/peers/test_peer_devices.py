"""``-i DEVICE`` between two real devices that lead to one target: each is a pair of virtual Ethernet ends between two network namespaces."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.command import Command, fails
from tests.peers.daemons import find

TARGET = "198.18.9.9"
"""Of the block for benchmarks, as are all addresses here (RFC 2544)."""

SERVER = """
import socket
with socket.create_server(("198.18.9.9", 80)) as server:
    print("ready", flush=True)
    while True:
        client, address = server.accept()
        with client:
            client.recv(4096)
            body = address[0].encode()
            client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
"""


@dataclass(frozen=True)
class Places:
    """The namespaces: where the proxy is, and where the target is, which answers with the address that it was reached from."""

    here: tuple[str, ...]
    there: tuple[str, ...]


def ip(*arguments: str) -> None:
    subprocess.run([find("ip"), *arguments], check=True, capture_output=True, timeout=30)


def can_make_namespaces() -> bool:
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False, timeout=30)
    return os.geteuid() == 0 and made.returncode == 0


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    if not can_make_namespaces():
        pytest.skip("only root can make network namespaces, and not everywhere")
    here, there = f"here-{os.getpid()}", f"there-{os.getpid()}"
    with ExitStack() as stack:
        for name in (here, there):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", there, "address", "add", f"{TARGET}/32", "dev", "lo")
        for number in (1, 2):
            near, far = f"near{number}", f"far{number}"
            ip("-n", here, "link", "add", near, "type", "veth", "peer", "name", far, "netns", there)
            for name, device, host in ((here, near, 1), (there, far, 2)):
                ip(
                    "-n", name, "address", "add", f"198.18.{number}.{host}/24", "dev", device
                )  # fmt: skip
                ip("-n", name, "link", "set", device, "up")
            gateway = ("via", f"198.18.{number}.2", "dev", near, "metric", str(number))
            ip("-n", here, "route", "add", f"{TARGET}/32", *gateway)
            # The way back may be another than the best way there.
            for device in ("all", near):
                path = f"/proc/sys/net/ipv4/conf/{device}/rp_filter"
                ip("netns", "exec", here, "sh", "-c", f"echo 0 > {path}")
        inside = [(find("ip"), "netns", "exec", name) for name in (here, there)]
        with subprocess.Popen(
            [*inside[1], sys.executable, "-c", SERVER], stdout=subprocess.PIPE
        ) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield Places(*inside)
            server.kill()


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
