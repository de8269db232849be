"""What no HTTP client and no upstream should send, over the running server: the specification's rows that need sockets.

The machine's own tests go through the spellings; here it is shown that nothing reaches an upstream that should not, that
the client can read its answer, and that nothing is left behind.
"""

import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

from neosocksd_core import Credentials, Forward, Reject, Request, SocketAddress
from neosocksd_core.testing import (
    DELIVERIES,
    BlackHole,
    Client,
    Delivery,
    EchoServer,
    Peer,
    RunningServer,
    Serve,
    closed_address,
    in_one_write,
)


@pytest.fixture
def origin() -> Generator[Peer]:
    """What a request is for. Most of these tests show that it is never connected to."""
    with Peer() as peer:
        yield peer


@pytest.fixture
def proxy(serve: Serve) -> RunningServer:
    """An HTTP proxy."""
    return start(serve)


def start(serve: Serve, settings: dict[str, Any] | None = None, **options: Any) -> RunningServer:
    return serve(
        {"http_listen": "127.0.0.1:0", **(settings or {})},
        plugins=["http_connect", "socks5", "static_auth"],
        **options,
    )


def status_of(answer: bytes) -> int:
    """The status of the one response that *answer* is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 ")
    length = [line for line in lines if line.lower().startswith(b"content-length:")]
    assert int(length[0].partition(b":")[2]) == len(body)
    return int(lines[0].split()[1])


def ask(
    proxy: RunningServer, request: bytes, delivery: Delivery = in_one_write
) -> tuple[int, bytes]:
    """Send *request*; return the status and all of the answer. The connection must end in order after it."""
    with Client(proxy.address) as client:
        for piece in delivery(request):
            client.send_what_is_taken(piece)
        answer = client.receive_all()
    proxy.wait_idle()
    return status_of(answer), answer


def statuses(proxy: RunningServer, request: bytes) -> set[int]:
    """The statuses that *request* gets, delivered in every way: one that does not depend on it is one."""
    return {ask(proxy, request, delivery)[0] for delivery in DELIVERIES}


def get(address: SocketAddress, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    where = f"127.0.0.1:{address[1]}".encode()
    lines = (method + b" http://" + where + b"/ HTTP/1.1", b"Host: " + where, *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("delivery", DELIVERIES, ids=lambda d: d.__name__)
def test_h1_bytes_behind_a_connect_are_forwarded(
    proxy: RunningServer, echo: EchoServer, delivery: Delivery
) -> None:
    with Client(proxy.address) as client:
        for piece in delivery(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nearly" % echo.port):
            client.send(piece)
        assert client.receive(12) == b"HTTP/1.1 200"
        client.receive_until(b"\r\n\r\nearly")
        client.finish()
        client.expect_eof()


@pytest.mark.parametrize(
    "target",
    [
        b"127.0.0.1",
        b"127.0.0.1:0",
        b"127.0.0.1:65536",
        b"127.0.0.1:-1",
        b"127.0.0.1:+80",
        b"/",
        b"http://127.0.0.1:80",
        b"u:p@127.0.0.1:80",
        b":80",
        b"[::1",
    ],
)
def test_h2_a_malformed_connect_target_is_a_bad_request(
    proxy: RunningServer, target: bytes
) -> None:
    assert statuses(proxy, b"CONNECT " + target + b" HTTP/1.1\r\n\r\n") == {400}


def test_h3_a_length_of_a_connect_is_ignored(proxy: RunningServer, echo: EchoServer) -> None:
    with Client(proxy.address) as client:
        client.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcdef" % echo.port)
        assert client.receive_until(b"abcdef").startswith(b"HTTP/1.1 200")


def test_h4_a_refusal_and_an_unknown_name_are_bad_gateway(proxy: RunningServer) -> None:
    with closed_address() as closed:
        assert statuses(proxy, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % closed[1]) == {502}
    assert statuses(proxy, b"CONNECT no-such-name.invalid:80 HTTP/1.1\r\n\r\n") == {502}


def test_h4_a_timeout_is_gateway_timeout(serve: Serve) -> None:
    proxy = start(serve, {"dial_timeout": 0.2})
    with BlackHole() as hole:
        assert ask(proxy, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % hole.port)[0] == 504
    assert proxy.statistics().num_reject_timeout == 1


def test_h4_the_block_list_is_forbidden(serve: Serve, origin: Peer) -> None:
    proxy = start(serve, {"block_loopback": True})
    assert ask(proxy, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % origin.port)[0] == 403
    assert ask(proxy, get(origin.address))[0] == 403
    origin.expect_no_connection()


def test_h4_a_routers_refusal_is_forbidden(serve: Serve) -> None:
    class Router:
        def route(self, request: Request) -> Forward | Reject:
            return Reject(message=f"not {request.target}")

    proxy = start(serve, router=Router())
    assert ask(proxy, b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")[0] == 403


@pytest.mark.parametrize(
    "line", [b"GET /", b"OPTIONS *", b"GET https://example.org/", b"GET ftp://example.org/"]
)
def test_h5_what_is_no_absolute_http_uri_is_a_bad_request(
    proxy: RunningServer, line: bytes
) -> None:
    assert statuses(proxy, line + b" HTTP/1.1\r\nHost: example.org\r\n\r\n") == {400}


SMUGGLING = [
    (b"Content-Length: -1",),
    (b"Content-Length: 0x5",),
    (b"Content-Length: 5_0",),
    (b"Content-Length:",),
    (b"Content-Length: \xd9\xa5",),
    (b"Transfer-Encoding: chunked, chunked",),
    (b"Transfer-Encoding: chunked, gzip",),
    (b"Transfer-Encoding: chunked,",),
    (b"{bad}: a",),
    (b"X-Nul\0: a",),
    (b" X-Lead: a",),
    (b"X-Lf: a\nX-More: b",),
    (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Content-Length: 5", b"Content-Length: 5"),
    (b"Content-Length: 5, 5",),
    (b"Content-Length: +5",),
    (b"Content-Length: 18446744073709551616",),
    (b"Transfer-Encoding: gzip, chunked",),
    (b"Transfer-Encoding: xchunked",),
    (b"Transfer-Encoding: identity",),
    (b"Host: other.example",),
    (b"X-Name : value",),
    (b"X-Fold: a", b" b"),
    (b"X-Nul: a\0b",),
    (b"X-Cr: a\rb",),
]


@pytest.mark.parametrize("fields", SMUGGLING, ids=lambda fields: repr(b" | ".join(fields)))
def test_h6_h7_h10_h11_nothing_ambiguous_reaches_an_upstream(
    proxy: RunningServer, origin: Peer, fields: tuple[bytes, ...]
) -> None:
    request = get(origin.address, *fields, method=b"POST", body=b"0\r\n\r\nGET /smuggled")
    [status] = statuses(proxy, request)
    assert status in (400, 501)
    origin.expect_no_connection()


def test_h8_a_transfer_encoding_of_http_1_0_is_refused(proxy: RunningServer, origin: Peer) -> None:
    request = get(origin.address, b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert statuses(proxy, request) == {400}
    origin.expect_no_connection()


@pytest.mark.parametrize(
    "body", [b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcXX", b"1\r0\r\n"]
)
def test_h9_a_broken_chunk_never_ends_the_upstreams_request(
    proxy: RunningServer, origin: Peer, body: bytes
) -> None:
    with Client(proxy.address) as client:
        client.send(get(origin.address, b"Transfer-Encoding: chunked", method=b"POST"))
        with origin.accept() as upstream:
            client.send(body + b"0\r\n\r\n")
            sent = upstream.receive_until_closed()
            assert not sent.endswith(b"0\r\n\r\n")
        answer = client.receive_all()
        assert not answer or status_of(answer) == 400
    proxy.wait_idle()


@pytest.mark.parametrize(
    "junk",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://h/ HTTP/2.0\r\n",
        b"GET /\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x05\x01\x00",
    ],
)
def test_h12_what_cannot_become_a_request_is_refused_at_once(
    proxy: RunningServer, junk: bytes
) -> None:
    assert statuses(proxy, junk) == {400}


def test_h12_an_unfinished_request_is_a_request_timeout(proxy: RunningServer) -> None:
    proxy.shorten_timeout(0.2)
    assert ask(proxy, b"GET http://example.org/ HTTP/1.1\r\nHost: ")[0] == 408
    assert proxy.statistics().num_reject_timeout == 1


def test_a_client_that_says_nothing_costs_one_timeout(proxy: RunningServer) -> None:
    proxy.shorten_timeout(0.2)
    with Client(proxy.address) as client:
        client.receive_all()
    assert proxy.wait_idle().num_reject_timeout == 1


@pytest.mark.parametrize(
    ("request_line", "field", "status"),
    [
        (b"GET http://example.org/" + b"a" * 70_000, b"X: y", 414),
        (b"GET http://example.org/", b"X: " + b"y" * 70_000, 431),
        (b"GET http://example.org/", b"\r\n".join([b"X: y"] * 10_000), 431),
    ],
)
def test_h13_the_answer_to_a_huge_head_can_be_read(
    proxy: RunningServer, request_line: bytes, field: bytes, status: int
) -> None:
    request = request_line + b" HTTP/1.1\r\nHost: example.org\r\n" + field + b"\r\n\r\n"
    assert ask(proxy, request)[0] == status


def test_h15_credentials_never_reach_the_upstream(proxy: RunningServer, origin: Peer) -> None:
    with Client(proxy.address) as client:
        client.send(get(origin.address, b"Proxy-Authorization: Basic bad base64!"))
        with origin.accept() as upstream:
            head = upstream.receive_until(b"\r\n\r\n")
            assert b"authorization" not in head.lower()
            upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.receive(12) == b"HTTP/1.1 204"


class Judge:
    """Knows one user."""

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
        return credentials == Credentials(b"alice", b"secret") and client[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "value",
    [
        b"Basic !!!",
        b"Basic YWxpY2U=",
        b"Bearer token",
        b"",
        b"Basic /////w==",
        b"Basic YWxpY2U6d3Jvbmc=",
        b"Basic bm9ib2R5OnNlY3JldA==",
    ],
)
def test_h15_h16_bad_credentials_all_get_the_same_answer(
    serve: Serve, origin: Peer, value: bytes
) -> None:
    proxy = start(serve, {"auth_required": True}, authenticator=Judge())
    without = ask(proxy, get(origin.address))
    assert without[0] == 407
    assert b'Proxy-Authenticate: Basic realm="proxy"' in without[1]
    assert ask(proxy, get(origin.address, b"Proxy-Authorization: " + value)) == without
    origin.expect_no_connection()


def test_good_credentials_pass(serve: Serve, echo: EchoServer) -> None:
    proxy = start(serve, {"auth_required": True}, authenticator=Judge())
    with Client(proxy.address) as client:
        client.send(
            b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n"
            b"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n" % echo.port
        )
        assert client.receive(12) == b"HTTP/1.1 200"


def test_h19_our_own_listeners_are_forbidden_in_any_spelling(proxy: RunningServer) -> None:
    port = proxy.address[1]
    for host in (b"127.0.0.1", b"localhost", b"[::ffff:127.0.0.1]", b"0.0.0.0", b"[::]"):
        assert ask(proxy, b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (host, port))[0] == 403
    assert ask(proxy, get(proxy.address))[0] == 403


@pytest.mark.parametrize("via", [b"1.1 neosocksd", b"1.0 other, HTTP/1.1 NEOSOCKSD (x)"])
def test_h19_a_request_that_has_come_round_is_forbidden(
    proxy: RunningServer, origin: Peer, via: bytes
) -> None:
    assert statuses(proxy, get(origin.address, b"Via: " + via)) == {403}
    origin.expect_no_connection()


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 O\x01K\r\n\r\n",
        b"no status line\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"",
    ],
    ids=["both framings", "two lengths", "control", "no status", "huge", "1xx flood", "nothing"],
)
def test_h20_a_broken_response_is_bad_gateway(
    proxy: RunningServer, origin: Peer, response: bytes
) -> None:
    with Client(proxy.address) as client:
        client.send(get(origin.address))
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send_what_is_taken(response)
        answer = client.receive_all()
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    assert status_of(answer) == 502
    proxy.wait_idle()


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"Content-Length: 10", b"abc"), (b"Transfer-Encoding: chunked", b"a\r\nabc")],
    ids=["length", "chunked"],
)
def test_h20_a_truncated_body_is_seen_to_be_truncated(
    proxy: RunningServer, origin: Peer, head: bytes, body: bytes
) -> None:
    with Client(proxy.address) as client:
        client.send(get(origin.address))
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        answer = client.receive_until_closed()
    assert answer.partition(b"\r\n\r\n")[2] in (b"abc", b"3\r\nabc\r\n")
    proxy.wait_idle()


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200 OK"), (b"GET", b"204 None"), (b"GET", b"304 Same")]
)
def test_h21_a_body_that_cannot_be_is_not_forwarded(
    proxy: RunningServer, origin: Peer, method: bytes, status: bytes
) -> None:
    with Client(proxy.address) as client:
        client.send(get(origin.address, b"Connection: close", method=method))
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 3\r\n\r\nabc")
        assert client.receive_all().partition(b"\r\n\r\n")[2] == b""


def test_h22_a_pipelined_request_goes_to_its_own_upstream(
    proxy: RunningServer, origin: Peer
) -> None:
    with Peer() as second, Client(proxy.address) as client:
        client.send(get(origin.address) + get(second.address))
        with origin.accept() as upstream:
            head = upstream.receive_until(b"\r\n\r\n")
            assert b"%d" % second.port not in head
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
            assert upstream.receive_until_closed() == b""
        with second.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
            assert b"first" in client.receive_until(b"second")
    assert proxy.wait_idle().num_request == 2


def test_requests_that_are_sent_far_ahead_are_left_unread_until_their_turn(
    proxy: RunningServer, origin: Peer
) -> None:
    number, length = 60, 7000
    requests = [get(origin.address, b"A: %d%b" % (at, b"x" * length)) for at in range(number)]
    with Client(proxy.address) as client:
        client.send(b"".join(requests))
        for at in range(number):
            with origin.accept() as upstream:
                assert b"\r\nA: %dx" % at in upstream.receive_until(b"\r\n\r\n")
                upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert b"onnection: close" not in client.receive_until(b"\r\n\r\nok")
    assert proxy.wait_idle().num_success == number


def test_who_sends_ahead_without_end_is_not_read_into_memory(serve: Serve, origin: Peer) -> None:
    proxy = start(serve, {"tcp_rcvbuf": 16384})
    number, sent = 60, 0
    with Client(proxy.address) as client, client.socket.dup() as ahead:
        ahead.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        ahead.setblocking(False)
        client.send(get(origin.address) * number)
        for _ in range(number):
            with suppress(BlockingIOError):
                while True:
                    sent += ahead.send(b"x" * 16384)
            with origin.accept() as upstream:
                upstream.receive_until(b"\r\n\r\n")
                upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            client.receive_until(b"\r\n\r\nok")
    proxy.wait_idle()
    assert sent < 1 << 19


@pytest.mark.parametrize("junk", [b"\0", b"\x06", b"\x16\x03\x01", b"@"])
def test_what_is_neither_socks_nor_http_ends_without_a_byte_on_a_shared_port(
    serve: Serve, junk: bytes
) -> None:
    shared = serve({"shared_listen": "127.0.0.1:0"}, plugins=["http_connect", "socks5"])
    with Client(shared.address) as client:
        client.send(junk)
        client.expect_eof()
    shared.wait_idle()


def test_socks_and_http_share_a_port(serve: Serve, echo: EchoServer) -> None:
    shared = serve({"shared_listen": "127.0.0.1:0"}, plugins=["http_connect", "socks5"])
    host = b"\x7f\x00\x00\x01"
    for opening, answer in (
        (b"\x05\x01\x00", b"\x05\x00"),
        (b"\x04\x01" + echo.port.to_bytes(2, "big") + host + b"\0", b"\0\x5a"),
        (b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % echo.port, b"HTTP/1.1 200"),
    ):
        with Client(shared.address) as client:
            client.send(opening)
            assert client.receive(len(answer)) == answer
    shared.wait_idle()


def test_connections_that_wait_for_their_next_request_are_not_half_open(
    serve: Serve, origin: Peer
) -> None:
    proxy = start(serve, {"startup_limit_full": 2})
    waiting: list[Client] = []
    for _ in range(3):
        client = Client(proxy.address)
        waiting.append(client)
        client.send(get(origin.address))
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        client.receive_until(b"ok")
    proxy.wait_until(lambda s: s.num_sessions == 0)
    assert proxy.statistics().num_halfopen == 0
    for client in waiting:
        client.close()
    assert not proxy.wait_until(lambda s: s.num_halfopen == 0).num_reject_timeout
