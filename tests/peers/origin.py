"""The web server behind the proxies, which answers what the tests need to see."""

import base64
import hashlib
import json
import socketserver
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
PAGE = b"<!DOCTYPE html><title>origin</title><p id=proof>the page came through</p>"
_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for the connections
    block_on_close = True

    def __init__(self, origin: "Origin") -> None:
        self.origin = origin
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is the client's affair."""


@dataclass
class Origin:
    """What the tests may know of the web server."""

    body: Path | None = None
    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(
        default_factory=list[tuple[str, dict[str, str]]]
    )
    """Request line and header of each request that has come, names in lower case."""
    clients: set[Any] = field(default_factory=set[Any])
    """The addresses from which connections came."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def origin(self) -> Origin:
        assert isinstance(self.server, _Server)
        return self.server.origin

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""

    def parse_request(self) -> bool:
        good = super().parse_request()
        if good:
            header = {name.lower(): value for name, value in self.headers.items()}
            self.origin.requests.append((self.requestline, header))
            self.origin.clients.add(self.client_address)
        return good

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._be_a_websocket()
        elif self.path == "/body" and self.origin.body is not None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(self.origin.body.stat().st_size))
            self.end_headers()
            with self.origin.body.open("rb") as file:
                self.connection.sendfile(file)
        elif self.path == "/chunked":
            self.send_response(HTTPStatus.OK)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one ", b"two ", b"three"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self._answer(PAGE, "text/html")

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        digest, size = hashlib.sha256(), 0
        for part in self._body():
            digest.update(part)
            size += len(part)
        self._answer(
            json.dumps({"sha256": digest.hexdigest(), "size": size}).encode(), "application/json"
        )

    do_POST = do_PUT  # noqa: N815

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", "0"))
        while left:
            part = self.rfile.read(min(left, 1 << 20))
            left = left - len(part) if part else 0
            yield part

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _be_a_websocket(self) -> None:
        """The opening handshake of RFC 6455, then every byte comes back as it is."""
        key = self.headers["Sec-WebSocket-Key"] + _WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while data := self.rfile.read1(65536):
            self.wfile.write(data)


@contextmanager
def serve_web(body: Path | None = None, certificate: Path | None = None) -> Generator[Origin]:
    """A web server in a thread; over TLS where there is a *certificate* (with its key in the same file)."""
    origin = Origin(body)
    with _Server(origin) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        with _running(server):
            origin.port = server.server_address[1]
            yield origin


@contextmanager
def _running(server: socketserver.TCPServer) -> Generator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
