"""For tests of rulesets: a running server that a script rules, called as its clients and its REST API would.

It builds on :mod:`neosocksd_core.testing`.
"""

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from neosocksd_core.addresses import pack_ip
from neosocksd_core.endpoints import EndpointRequest, EndpointResponse
from neosocksd_core.testing.connection import Connection
from neosocksd_core.testing.running import RunningServer
from neosocksd_lua_ruleset.engine import Engine
from neosocksd_lua_ruleset.rpc import RPC_TYPE


class Ruled:
    """A running server and its ruleset."""

    def __init__(self, running: RunningServer, path: Path | None = None) -> None:
        self.running = running
        self.path = path
        plugins = running.server.plugins
        self._endpoints = plugins.endpoints(running.server)

    def post(self, path: str, body: str | bytes = b"", **query: str) -> EndpointResponse:
        """Call an endpoint, as the REST API does."""
        data = body.encode() if isinstance(body, str) else body
        headers = {"content-type": RPC_TYPE.decode()} if path == "/ruleset/rpcall" else {}
        request = EndpointRequest("POST", query, headers, data)
        response: EndpointResponse = self.running.call(self._endpoints[path].handle, request)
        return response

    def run(self, code: str | bytes) -> None:
        """Run code outside of routines; what it raises is an AssertionError."""
        response = self.post("/ruleset/invoke", code)
        assert response.status == 200, response.body.decode()

    def error(self, code: str | bytes) -> str:
        """The message of the error that code raises outside of routines."""
        response = self.post("/ruleset/invoke", code)
        assert response.status == 500, "it raised nothing"
        return response.body.decode("utf-8", "replace")

    def set_timeout(self, seconds: float) -> None:
        """Make the setting ``timeout`` shorter than users may."""
        server = self.running.server
        server._settings = server.settings.model_copy(update={"timeout": seconds})  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def call(self, code: str | bytes, timeout: float = 0.0) -> str:
        """Run code in a routine; returns what it returned, marshalled. With *timeout*, the setting is that from here on."""
        if timeout:
            self.running.call(_one_round)  # what was begun has read the setting
            self.set_timeout(timeout)
        response = self.post("/ruleset/rpcall", code)
        assert response.status == 200, response.body.decode()
        text = response.body.decode("latin-1")
        assert text.startswith("return true")
        return text.removeprefix("return true").removeprefix(",")

    def connect(
        self, host: str, port: int, user: str | None = None, password: str = ""
    ) -> Connection:
        """A SOCKS5 client that has asked for a connection and waits for the reply."""
        client = Connection(socket.create_connection(self.running.address[:2]))
        if user is None:
            client.send(b"\x05\x01\x00")
            client.expect(b"\x05\x00")
        else:
            client.send(b"\x05\x01\x02")
            client.expect(b"\x05\x02")
            name, secret = user.encode(), password.encode()
            client.send(b"\x01%c%b%c%b" % (len(name), name, len(secret), secret))
            client.expect(b"\x01\x00")
        packed = pack_ip(host)
        if packed is None:
            target = b"\x03%c%b" % (len(host), host.encode())
        else:
            target = (b"\x01" if len(packed) == 4 else b"\x04") + packed
        client.send(b"\x05\x01\x00" + target + struct.pack(">H", port))
        return client

    def reply(self, host: str, port: int, user: str | None = None, password: str = "") -> int:
        """The SOCKS5 reply to a request for that target; 0 is success, and then the echo was heard."""
        client = self.connect(host, port, user, password)
        try:
            _, code, _, address_type = client.receive(4)
            if code == 0:
                client.receive(18 if address_type == 4 else 6)
                client.send(b"hello")
                client.expect(b"hello")
            return code
        finally:
            client.close()


RPC = RPC_TYPE.decode()


class Seen:
    """A request as it came."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.path = handler.path
        self.version = handler.request_version
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.raw = handler.rfile.read(int(self.headers["content-length"]))
        coded = self.headers.get("content-encoding") == "deflate"
        self.body = zlib.decompress(self.raw) if coded else self.raw


@contextmanager
def http_server(answer: Callable[[Seen], tuple[int, bytes]]) -> Generator[tuple[str, list[Seen]]]:
    """A server that answers POSTs; deflated where the peer takes that."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = Seen(self)
            seen.append(request)
            status, body = answer(request)
            self.send_response(status)
            self.send_header("Content-Type", RPC)
            if len(body) > 100 and "deflate" in request.headers.get("accept-encoding", ""):
                body = zlib.compress(body)
                self.send_header("Content-Encoding", "deflate")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def api_of(ruled: Ruled) -> Generator[tuple[str, list[Seen]]]:
    """The endpoints of a server, over HTTP."""

    def answer(request: Seen) -> tuple[int, bytes]:
        response = ruled.post(request.path, request.body)
        return response.status, response.body

    with http_server(answer) as found:
        yield found


def eventually(condition: Callable[[], bool]) -> None:
    """Ask again and again until it holds, 10 seconds at most."""
    deadline, pause = time.monotonic() + 10, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        pause.wait(0.002)


async def _one_round() -> None:
    await anyio.lowlevel.checkpoint()


class Serve(Protocol):
    """Starts servers, see :class:`~neosocksd_core.testing.running.RunningServer`."""

    def __call__(self, settings: Any = None, **options: Any) -> RunningServer: ...


class Rule(Protocol):
    """Starts a server with a ruleset."""

    def __call__(
        self, text: str | bytes = ..., *, plugins: tuple[object, ...] = (), **settings: Any
    ) -> Ruled: ...


class WriteScript(Protocol):
    """Writes a script into a file."""

    def __call__(self, text: str | bytes, name: str = "ruleset.lua") -> Path: ...


MakeEngine = Callable[..., Engine]
"""Makes a machine without a server; the arguments are settings of the plugin."""
