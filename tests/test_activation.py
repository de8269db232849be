"""Socket activation: the command serves on sockets that somebody else has opened and handed over."""

import socket
import sys
from pathlib import Path

import pytest

from neosocksd_core.testing import Client, EchoServer
from tests.command import Command, fails

LAUNCH = """
import os, socket, sys
kind, address, *command = sys.argv[1:]
if kind == "file":
    sock = open(address)
elif kind == "unix":
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    sock.listen()
else:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, int(port)), family=family, dualstack_ipv6=host == "::")
os.dup2(sock.fileno(), 3) if sock.fileno() != 3 else os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="x")
os.execv(command[0], command)
"""


def handing_over(address: str, kind: str = "tcp") -> tuple[str, ...]:
    """What stands before the command so that it gets a socket that listens there."""
    return (sys.executable, "-c", LAUNCH, kind, address)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        number: int = sock.getsockname()[1]
        return number


@pytest.mark.parametrize(
    ("host", "listen"), [("127.0.0.1", "127.0.0.1"), ("::", ""), ("127.0.0.1", "localhost")]
)
def test_clients_are_served_on_a_socket_that_was_handed_over(
    echo: EchoServer, port: int, host: str, listen: str
) -> None:
    # Where the command opened one of its own, the address would be in use.
    with Command(listen=f"{listen}:{port}", prefix=handing_over(f"{host}:{port}")):
        with Client(("127.0.0.1", port)) as client:
            target = b"\x01\x7f\0\0\1" + echo.address[1].to_bytes(2, "big")
            client.send(b"\x05\1\0\x05\1\0" + target + b"hello")
            client.receive(12)
            client.expect(b"hello")


def test_a_unix_socket_is_taken_and_its_file_is_not_ours(tmp_path: Path, port: int) -> None:
    path = tmp_path / "api"
    prefix = handing_over(str(path), "unix")
    with Command("--api", f"unix:{path}", listen=f"127.0.0.1:{port}", prefix=prefix) as command:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"GET /healthy HTTP/1.1\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        command.stop()
    assert path.exists()


def test_a_socket_that_no_setting_names_is_an_error(port: int) -> None:
    line = fails(1, "-l", "127.0.0.1:1", prefix=handing_over(f"127.0.0.1:{port}"))
    assert line.startswith(f"cannot take the socket that listens at ('127.0.0.1', {port})")


def test_a_host_that_cannot_be_looked_up_is_an_error_that_names_it(port: int) -> None:
    line = fails(1, "-l", f"host.invalid:{port}", prefix=handing_over(f"127.0.0.1:{port}"))
    assert line.startswith("cannot listen on host.invalid: ")


def test_a_descriptor_that_is_no_socket_is_an_error() -> None:
    line = fails(1, "-l", "127.0.0.1:0", prefix=handing_over("/dev/null", "file"))
    assert line == "cannot take descriptor 3: Socket operation on non-socket"


def test_what_was_meant_for_another_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "3")
    with Command() as command, Client(command.address) as client:
        client.send(b"\x05\1\0")
        client.expect(b"\x05\0")
