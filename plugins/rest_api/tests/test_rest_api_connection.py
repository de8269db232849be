"""The API's HTTP, over sockets: framing, limits, order, and how it ends."""

import asyncio
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from neosocksd_core import ServerContext, hookimpl
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_core.testing import DEADLINE, Client, PlainPlugin, RunningServer, Serve
from neosocksd_core.testing.connection import Connection
from neosocksd_rest_api import RestApi


class EchoPlugin:
    """Offers a call that answers with what was posted, one that needs nothing, and one that fails."""

    def __init__(self) -> None:
        self.calls: list[EndpointRequest] = []
        self.entered = threading.Event()
        self.released = threading.Event()

    @hookimpl
    def register_endpoints(self, server: ServerContext) -> Sequence[Endpoint]:
        async def echo(request: EndpointRequest) -> EndpointResponse:
            self.calls.append(request)
            return EndpointResponse(200, request.body, "application/x-echo; version=1")

        async def hold(request: EndpointRequest) -> EndpointResponse:
            self.entered.set()
            self.released.wait(DEADLINE)
            return EndpointResponse()

        async def look(request: EndpointRequest) -> EndpointResponse:
            self.calls.append(request)
            return EndpointResponse(200, b"seen")

        async def fail(request: EndpointRequest) -> EndpointResponse:
            raise RuntimeError("the secret cause")

        async def be_cancelled(request: EndpointRequest) -> EndpointResponse:
            raise asyncio.CancelledError  # as of a task that was asked for its result

        async def refuse(request: EndpointRequest) -> EndpointResponse:
            return EndpointResponse(500, b"x" * 100_000)

        post = frozenset({"POST"})
        return (
            Endpoint("/echo", post, echo, "sends it back", needs_body=True),
            Endpoint("/free", post, echo, "needs no body"),
            Endpoint("/hold", post, hold, "stops the whole server until it is released"),
            Endpoint("/look", frozenset({"GET"}), look),
            Endpoint("/fail", post, fail),
            Endpoint("/be_cancelled", post, be_cancelled),
            Endpoint("/refuse", post, refuse),
        )


@pytest.fixture
def plugin() -> EchoPlugin:
    return EchoPlugin()


@pytest.fixture
def start(serve: Serve, plugin: EchoPlugin) -> Callable[..., RunningServer]:
    def start(**settings: object) -> RunningServer:
        return serve(
            {
                "listen": "127.0.0.1:0",
                "rest_api": {"listen": "127.0.0.1:0", "request_timeout": 10.0, **settings},
            },
            plugins=[PlainPlugin, plugin, RestApi],
        )

    return start


@pytest.fixture
def server(start: Callable[..., RunningServer]) -> RunningServer:
    return start()


@pytest.fixture
def caller(server: RunningServer) -> Iterator[Client]:
    with Client(server.addresses[1]) as client:
        yield client


def read_answer(connection: Connection) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and body of the next answer, by its Content-Length."""
    head = connection.receive_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), fields, connection.receive(int(fields["content-length"]))


def post(path: str, body: bytes = b"", *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "", ""]).encode()


def test_requests_on_one_connection_are_answered_in_order(
    backend: str, server: RunningServer, caller: Client
) -> None:
    for number in range(3):
        caller.send(post("/echo", b"%d" % number))
        assert read_answer(caller)[::2] == (200, b"%d" % number)
    caller.send(
        post("/echo", b"a") + get("/healthy") + post("/nothing", b"b") + post("/echo", b"c")
    )
    statuses = [read_answer(caller) for _ in range(4)]
    assert [(status, body) for status, _, body in statuses if status == 200] == [
        (200, b"a"),
        (200, b""),
        (200, b"c"),
    ]
    assert statuses[2][0] == 404
    counts = server.statistics()
    assert (counts.num_api_request, counts.num_api_success) == (7, 6)


def test_who_pipelines_many_requests_does_not_have_the_server_alone(
    backend: str, server: RunningServer, caller: Client, plugin: EchoPlugin
) -> None:
    with Client(server.addresses[1]) as other:
        other.send(get("/healthy"))
        read_answer(other)
        many = 100
        caller.send(post("/hold") + post("/echo", b"pipelined") * many)
        assert plugin.entered.wait(DEADLINE)
        other.send(post("/echo", b"other"))
        plugin.released.set()
        for _ in range(1 + many):
            read_answer(caller)
        assert read_answer(other)[0] == 200
    served = [call.body for call in plugin.calls]
    assert served.index(b"other") < many // 2


def test_a_request_in_single_bytes_is_as_good_as_in_one_piece(caller: Client) -> None:
    for byte in post("/echo", b"hello"):
        caller.send(bytes([byte]))
    assert read_answer(caller)[::2] == (200, b"hello")


def test_a_peer_without_host_is_served_with_a_length(backend: str, caller: Client) -> None:
    caller.send(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
    status, fields, body = read_answer(caller)
    assert (status, body) == (200, b"hi")
    assert fields["content-type"] == "application/x-echo; version=1"
    assert fields["x-content-type-options"] == "nosniff"


def test_a_connection_of_http_1_0_is_closed_after_the_answer(caller: Client) -> None:
    caller.send(b"GET /healthy HTTP/1.0\r\n\r\n")
    answer = caller.receive_all()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        (b"POST /free HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"POST /stats HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 5242880\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n", 417),
        (get("/echo"), 405),
        (b"PUT /stats HTTP/1.1\r\n\r\n", 405),
        (b"GET /../stats HTTP/1.1\r\n\r\n", 404),
        (b"GET //stats HTTP/1.1\r\n\r\n", 404),
        (b"GET /stats/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /stats%00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /stats%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET /stats?%zz=1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /stats HTTP/1.1\r\nA: " + b"a" * 8192 + b"\r\n\r\n", 431),
        (b"GET /stats HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT /healthy HTTP/1.1\r\n\r\n", 405),
        (b"GET http://127.0.0.1/healthy HTTP/1.1\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 404),
        (b"FOO /healthy HTTP/1.1\r\n\r\n", 200),
        (b"POST /ruleset/invoke HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 500),
    ],
)
def test_what_cannot_be_served_has_its_status(caller: Client, raw: bytes, status: int) -> None:
    caller.send(raw)
    caller.finish()
    answer = caller.receive_all()
    assert int(answer.split()[1]) == status
    assert b"Traceback" not in answer
    assert b"\r\naccess-control" not in answer.lower()


@pytest.mark.parametrize(
    ("raw", "allowed"),
    [
        (b"PUT /stats", "get, head, post"),
        (b"POST /metrics", "get, head"),
        (b"POST /", "get, head"),
        (b"PUT /v1/sessions", "delete, get, head"),
        (b"GET /v1/sessions/close", "post"),
        (b"PUT /v1/sessions/1", "delete, get, head"),
        (b"DELETE /v1/sessions/1/2", None),
    ],
)
def test_a_wrong_method_is_told_of_all_that_are_right(
    caller: Client, raw: bytes, allowed: str | None
) -> None:
    caller.send(raw + b" HTTP/1.1\r\n\r\n")
    status, fields, _ = read_answer(caller)
    assert (status, fields.get("allow")) == (405 if allowed else 404, allowed)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    backend: str, start: Callable[..., RunningServer]
) -> None:
    server = start(body_limit=1024)
    with Client(server.addresses[1]) as caller:
        caller.send(b"POST /echo HTTP/1.1\r\nContent-Length: 1025\r\n\r\n")
        status, fields, _ = read_answer(caller)
        assert (status, fields["connection"]) == (413, "close")
        caller.expect_eof()


def test_a_refused_sender_that_goes_on_sending_still_gets_its_answer(caller: Client) -> None:
    caller.send_what_is_taken(post("/echo", bytes(5 << 20)))
    assert read_answer(caller)[0] == 413


def test_a_body_is_asked_for_where_the_client_waits_for_that(caller: Client) -> None:
    caller.send(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    caller.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
    caller.send(b"hi")
    assert read_answer(caller)[::2] == (200, b"hi")


@pytest.mark.parametrize(
    "raw", [b"", b"GET /hea", b"POST /echo HTTP/1.1\r\nContent-Length: 4194304\r\n\r\nabc"]
)
def test_who_does_not_finish_a_request_is_disconnected(
    backend: str, start: Callable[..., RunningServer], raw: bytes
) -> None:
    server = start(idle_timeout=0.05, request_timeout=0.05)
    with Client(server.addresses[1]) as caller:
        caller.send(raw)
        caller.expect_closed()


def test_an_idle_connection_is_closed(start: Callable[..., RunningServer]) -> None:
    server = start(idle_timeout=0.05)
    with Client(server.addresses[1]) as caller:
        caller.send(get("/healthy"))
        assert read_answer(caller)[0] == 200
        caller.expect_closed()


def test_of_too_many_connections_the_newest_is_closed(start: Callable[..., RunningServer]) -> None:
    server = start(max_connections=2)
    address = server.addresses[1]
    with Client(address) as first, Client(address) as second:
        for caller in (first, second):
            caller.send(get("/healthy"))
            assert read_answer(caller)[0] == 200
        with Client(address) as third:
            third.expect_closed()


DEFLATED = zlib.compress(b"hello " * 100)


def gzipped(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("deflate", DEFLATED, 200),
        ("gzip", gzipped(b"hello " * 100), 200),
        ("identity", b"hello " * 100, 200),
        ("br", DEFLATED, 415),
        ("gzip, gzip", gzipped(gzipped(b"")), 415),
        ("deflate", b"garbage", 400),
        ("deflate", b"", 400),
        ("deflate", DEFLATED[:-1], 400),
        ("deflate", DEFLATED + b"x", 400),
        ("gzip", gzipped(b"a") + gzipped(b"b"), 400),
        ("deflate", zlib.compress(bytes(17 << 20)), 413),
        ("deflate", zlib.compress(bytes(16 << 20)), 200),
    ],
)
def test_a_compressed_body_is_expanded_or_refused(
    caller: Client, coding: str, body: bytes, status: int
) -> None:
    caller.send(post("/echo", body, f"Content-Encoding: {coding}"))
    found, _, answer = read_answer(caller)
    assert found == status
    if len(body) < 1000 and status == 200:
        assert answer == b"hello " * 100


def test_answers_are_deflated_for_those_who_accept_it(caller: Client) -> None:
    for body in (b"hello " * 100_000, b"hello " * 100):
        caller.send(post("/echo", body, "Accept-Encoding: gzip, deflate"))
        _, fields, answer = read_answer(caller)
        assert (fields["content-encoding"], zlib.decompress(answer)) == ("deflate", body)
    for accepted in ("gzip", "deflate;q=0", "deflate;q=0.000, *"):
        caller.send(post("/echo", body, f"Accept-Encoding: {accepted}"))
        _, fields, answer = read_answer(caller)
        assert ("content-encoding" in fields, answer) == (False, body)
    caller.send(post("/echo", b"short", "Accept-Encoding: deflate"))
    assert read_answer(caller)[2] == b"short"


@pytest.mark.logs_error("plugin echo_plugin: endpoint /")
@pytest.mark.parametrize("path", ["/fail", "/be_cancelled"])
def test_what_an_endpoint_raises_is_logged_as_its_plugins_and_not_told_to_the_caller(
    backend: str, path: str, caller: Client
) -> None:
    caller.send(post(path))
    status, fields, body = read_answer(caller)
    assert (status, body) == (500, b"internal error\n")
    assert fields["content-type"].startswith("text/plain")
    caller.send(get("/healthy"))
    assert read_answer(caller)[0] == 200


def test_the_text_of_an_error_is_cut(caller: Client) -> None:
    caller.send(post("/refuse"))
    status, _, body = read_answer(caller)
    assert (status, len(body)) == (500, 8192)


def test_an_endpoint_sees_the_query_and_the_header_fields(
    server: RunningServer, plugin: EchoPlugin, caller: Client
) -> None:
    caller.send(post("/free?module=a&chunkname=%40x%0ay&q=", b"", "X-Test: yes"))
    assert read_answer(caller)[0] == 200
    (request,) = plugin.calls
    assert request.query == {"module": "a", "chunkname": "@x\ny", "q": ""}
    assert request.headers["x-test"] == "yes"


def test_head_has_the_fields_of_get_and_no_body(caller: Client) -> None:
    caller.send(b"HEAD /stats HTTP/1.1\r\n\r\n" + get("/healthy"))
    head = caller.receive_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert read_answer(caller)[0] == 200


def test_head_of_an_offered_call_is_its_get(caller: Client, plugin: EchoPlugin) -> None:
    caller.send(b"HEAD /look HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/look"))
    head = caller.receive_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 4\r\n" in head.lower()
    assert read_answer(caller)[::2] == (200, b"seen")
    assert [call.method for call in plugin.calls] == ["GET", "GET"]
    caller.send(post("/look"))
    assert read_answer(caller)[1]["allow"] == "get, head"


def test_it_is_served_on_a_unix_socket_of_its_owner(
    backend: str, start: Callable[..., RunningServer], tmp_path: Path
) -> None:
    path = tmp_path / "api"
    start(listen=f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost"
    ) as client:
        assert client.get("/healthy").status_code == 200
        assert client.get("/v1/version").json()["name"] == "neosocksd"


def test_a_stop_does_not_wait_for_idle_callers_or_readers(
    backend: str, server: RunningServer, caller: Client
) -> None:
    caller.send(get("/v1/events"))
    caller.receive_until(b"event: hello")
    with Client(server.addresses[1]) as idle:
        server.stop()
        idle.expect_closed()
    caller.receive_until_closed()


def test_a_reader_of_events_that_ends_its_side_has_left(backend: str, caller: Client) -> None:
    caller.send(get("/v1/events"))
    caller.receive_until(b"event: hello")
    caller.finish()
    caller.receive_until_closed()


def test_a_caller_that_resets_is_forgotten(server: RunningServer) -> None:
    before = server.count_tasks()
    client = Client(server.addresses[1])
    client.send(get("/v1/events"))
    client.receive_until(b"event: hello")
    client.reset()
    sock = socket.create_connection(server.addresses[1][:2])
    sock.close()
    with Client(server.addresses[1]) as caller:
        while server.count_tasks() > before + 1:
            caller.send(get("/healthy"))
            assert read_answer(caller)[0] == 200
