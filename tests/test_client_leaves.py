"""A client that ends its side before it is answered: where it can have nothing more to say it has gone, and so has all that was
done for it; where it has said something, or its request is itself forwarded, the end is a half-close."""

import anyio
import pytest

from neosocksd_core import Decision, Forward, Request
from neosocksd_core.testing import Client, EchoServer, Peer, RunningServer, Serve

SETTINGS = {"shared_listen": "127.0.0.1:0"}


class Thinking:
    """Decides when it is let, and tells whether it was cancelled over it."""

    def __init__(self) -> None:
        self.ended = ""
        self.gate: anyio.Event | None = None

    async def route(self, request: Request) -> Decision:
        self.gate = anyio.Event()
        self.ended = "cancelled"
        await self.gate.wait()
        self.ended = "decided"
        return Forward(request.target)

    def decide(self) -> None:
        assert self.gate is not None
        self.gate.set()


def thinking_server(serve: Serve, backend: str) -> tuple[RunningServer, Thinking]:
    router = Thinking()
    plugins = ["socks5", "http_connect"]
    return serve(SETTINGS, plugins=plugins, router=router, backend=backend), router


def socks4(host: str, port: int) -> bytes:
    return b"\x04\x01" + port.to_bytes(2, "big") + bytes(map(int, host.split("."))) + b"\0"


def socks5(host: str, port: int) -> bytes:
    request = b"\x05\x01\x00\x01" + bytes(map(int, host.split("."))) + port.to_bytes(2, "big")
    return b"\x05\x01\x00" + request


def connect(host: str, port: int) -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


TUNNELS = {"socks4": socks4, "socks5": socks5, "connect": connect}


@pytest.mark.parametrize("protocol", TUNNELS)
def test_a_client_that_ends_with_nothing_said_has_left(
    serve: Serve, backend: str, protocol: str
) -> None:
    server, router = thinking_server(serve, backend)
    with Client(server.address) as client:
        client.send(TUNNELS[protocol]("127.0.0.1", 9))
        server.wait_until(lambda s: s.num_request == 1)
        client.finish()
        server.wait_idle()
    server.stop()
    assert router.ended == "cancelled"


@pytest.mark.parametrize("protocol", TUNNELS)
@pytest.mark.parametrize("together", [True, False])
def test_a_client_that_has_said_something_is_answered(
    serve: Serve, echo: EchoServer, protocol: str, together: bool
) -> None:
    server, router = thinking_server(serve, "auto")
    with Client(server.address) as client:
        request = TUNNELS[protocol](*echo.address)
        if together:
            client.send(request + b"question")
        else:
            client.send(request)
            server.wait_until(lambda s: s.num_request == 1)
            client.send(b"question")
        client.finish()
        server.wait_until(lambda s: s.num_request == 1)
        server.call(router.decide)
        assert client.receive_until_closed().endswith(b"question")
    server.wait_idle()


def test_a_request_that_is_forwarded_is_answered_after_its_end(serve: Serve) -> None:
    server, router = thinking_server(serve, "auto")
    with Peer() as origin, Client(server.address) as client:
        host, port = origin.address
        client.send(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        client.finish()
        server.wait_until(lambda s: s.num_request == 1)
        server.call(router.decide)
        with origin.accept() as accepted:
            accepted.receive_until(b"\r\n\r\n")
            accepted.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            assert client.receive_until(b"\r\n\r\nhi").startswith(b"HTTP/1.1 200")
    server.wait_idle()
