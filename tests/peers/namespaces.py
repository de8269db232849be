"""Hosts on one machine: network namespaces, joined by pairs of virtual Ethernet ends, and a web server in one of them."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from tests.peers.daemons import find

SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 80), family=family) as server:
    print("ready", flush=True)
    while True:
        client, address = server.accept()
        with client:
            client.recv(4096)
            body = address[0].encode()
            client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
"""


def require_namespaces() -> None:
    """Skip the test where none can be made."""
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False, timeout=30)
    if os.geteuid() != 0 or made.returncode != 0:
        pytest.skip("only root can make network namespaces, and not everywhere")


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run([find("ip"), *arguments], check=True, capture_output=True, timeout=30)


def inside(name: str) -> tuple[str, ...]:
    """What stands before a command that runs in a namespace."""
    return (find("ip"), "netns", "exec", name)


def make_namespace(stack: ExitStack, name: str) -> str:
    """A namespace that goes with *stack*; returns its name, which no other process's tests have."""
    full = f"{name}-{os.getpid()}"
    ip("netns", "add", full)
    stack.callback(ip, "netns", "del", full)
    ip("-n", full, "link", "set", "lo", "up")
    return full


def join(one: str, near: str, other: str, far: str) -> None:
    """Lead a cable from device *near* of namespace *one* to device *far* of *other*."""
    ip("-n", one, "link", "add", near, "type", "veth", "peer", "name", far, "netns", other)


def set_up(name: str, device: str, *addresses: str) -> None:
    """Give a device its addresses, and switch it on."""
    for address in addresses:
        # An IPv6 address would be probed for a second before it can be used.
        flags = ("nodad",) if ":" in address else ()
        ip("-n", name, "address", "add", address, "dev", device, *flags)
    ip("-n", name, "link", "set", device, "up")


@contextmanager
def serving(name: str, address: str) -> Generator[None]:
    """A web server in a namespace, on port 80 of *address*, that answers with the address that it was reached from."""
    command: Sequence[str] = [*inside(name), sys.executable, "-c", SERVER, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            server.kill()
