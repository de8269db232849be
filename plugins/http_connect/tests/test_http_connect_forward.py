"""Forwarded exchanges: what the upstream gets, what the client gets, and how each failure shows."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_core import Connect, Filter, FilterState
from neosocksd_http1 import (
    ClientConnection,
    Data,
    EndOfMessage,
    Headers,
    Request,
    Response,
    ServerConnection,
    Wait,
)
from neosocksd_http_connect.forward import MAX_PIPELINED
from neosocksd_http_connect.handshake import HttpHandshake

BOUND = ("127.0.0.1", 1)
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
VIA = b"Via: 1.1 neosocksd\r\n"
WHOLE = 1 << 20


class Exchange:
    """A client's connection through the proxy; the test is client and upstream.

    Bytes are fed in pieces of *size*.
    """

    def __init__(self, raw: bytes, size: int = WHOLE) -> None:
        self.handshake = HttpHandshake(False)
        self.size = size
        self.target = ""
        self.begin(raw)

    def begin(self, raw: bytes = b"") -> None:
        """Feed the handshake until it asks for a connection, and the rest to the filter."""
        pieces = self.cut(raw)
        event = self.handshake.next_event()
        while event is None:
            self.handshake.receive_data(pieces.pop(0))
            event = self.handshake.next_event()
        assert isinstance(event, Connect)
        self.target = str(event.target)
        passed = self.handshake.grant(BOUND)
        assert passed is not None
        assert self.handshake.trailing_data() == self.handshake.data_to_send() == b""
        self.filter: Filter = passed
        self.up = self.down = b""
        self.take()
        for piece in pieces:
            self.from_client(piece)

    def cut(self, raw: bytes) -> list[bytes]:
        return [raw[at : at + self.size] for at in range(0, len(raw), self.size)]

    def from_client(self, raw: bytes) -> None:
        for piece in self.cut(raw) or [b""]:
            self.filter.from_client(piece)
            self.take()

    def from_upstream(self, raw: bytes) -> None:
        for piece in self.cut(raw) or [b""]:
            self.filter.from_upstream(piece)
            self.take()

    def fail_upstream(self) -> None:
        self.filter.upstream_failed()
        self.take()

    def take(self) -> None:
        self.down += self.filter.to_client()
        self.up += self.filter.to_upstream()

    def state(self) -> FilterState:
        assert not self.filter.client_ended
        assert not self.filter.upstream_ended
        return self.filter.state


SIZES = pytest.mark.parametrize("size", [WHOLE, 1, 7])

GET = b"GET http://h/ HTTP/1.1\r\n\r\n"


@SIZES
@pytest.mark.parametrize(
    ("raw", "target", "up"),
    [
        (
            b"GET http://h:8080/x?y HTTP/1.1\r\nHost: other\r\nA: b\r\na: c\r\n\r\n",
            "h:8080",
            b"GET /x?y HTTP/1.1\r\nHost: h:8080\r\nA: b\r\na: c\r\n" + VIA,
        ),
        (b"GET http://h HTTP/1.0\r\n\r\n", "h:80", b"GET / HTTP/1.1\r\nHost: h\r\n" + VIA),
        (
            b"OPTIONS http://[::1] HTTP/1.1\r\n\r\n",
            "[::1]:80",
            b"OPTIONS * HTTP/1.1\r\nHost: [::1]\r\n" + VIA,
        ),
        (
            (
                b"GET http://h/ HTTP/1.1\r\nVia: 1.0 a\r\nKeep-Alive: 5\r\n"
                b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n"
                b"TE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
                b"Connection: Upgrade, X-A, Host\r\nX-A: b\r\n\r\n"
            ),
            "h:80",
            b"GET / HTTP/1.1\r\nHost: h\r\nVia: 1.0 a\r\n" + VIA,
        ),
        (
            b"POST http://h/ HTTP/1.0\r\nExpect: x\r\nContent-Length: 0\r\n\r\n",
            "h:80",
            b"POST / HTTP/1.1\r\nHost: h\r\n" + VIA + b"Content-Length: 0\r\n",
        ),
        (
            b"OPTIONS http://h/ HTTP/1.1\r\nMax-Forwards: 10\r\nA: b\r\n\r\n",
            "h:80",
            b"OPTIONS / HTTP/1.1\r\nHost: h\r\nA: b\r\n" + VIA + b"Max-Forwards: 9\r\n",
        ),
        (
            b"TRACE http://h/ HTTP/1.1\r\nMax-Forwards: 0%b\r\n\r\n" % (b"7" * 5000),
            "h:80",
            b"TRACE / HTTP/1.1\r\nHost: h\r\n" + VIA + b"Max-Forwards: 999999998\r\n",
        ),
        (
            b"TRACE http://h/ HTTP/1.1\r\nMax-Forwards: -1\r\n\r\n",
            "h:80",
            b"TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: -1\r\n" + VIA,
        ),
        (
            b"GET http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n",
            "h:80",
            b"GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n" + VIA,
        ),
        (
            b"GET http://h/ HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "h:80",
            b"GET / HTTP/1.1\r\nHost: h\r\n" + VIA,
        ),
    ],
)
def test_a_request_is_written_anew(raw: bytes, target: str, up: bytes, size: int) -> None:
    exchange = Exchange(raw, size)
    assert exchange.target == target
    assert exchange.up == up + b"Connection: close\r\n\r\n"
    assert exchange.state() is FilterState.RELAY


def body_of(raw: bytes) -> bytes:
    """The body of the one request that an upstream reads in *raw*."""
    server = ServerConnection()
    server.feed(raw)
    body = b""
    while not isinstance(event := server.next_event(), EndOfMessage):
        assert not isinstance(event, Wait), "incomplete"
        if isinstance(event, Data):
            body += event.data
    assert not server.buffered
    return body


@SIZES
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 005\r\n", b"hello"),
        (b"Content-Length: 5\r\nConnection: Content-Length\r\n", b"hello"),
        (b"Transfer-Encoding:\tCHUNKED\t\r\n", b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        (
            b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n",
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
    ],
)
def test_a_body_is_forwarded_and_nothing_behind_it(framing: bytes, body: bytes, size: int) -> None:
    raw = b"POST http://h/ HTTP/1.1\r\n" + framing + b"\r\n" + body
    exchange = Exchange(raw + b"GET http://evil/ HTTP/1.1\r\n\r\n", size)
    assert body_of(exchange.up) == b"hello"
    assert b"evil" not in exchange.up
    assert b"005" not in exchange.up
    exchange.from_upstream(EMPTY)
    assert exchange.state() is FilterState.NEXT
    exchange.begin()
    assert exchange.target == "evil:80"


REFUSED_CHUNKS = [
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"1_0\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"1\r0\r\n",
    b"00000000000000003\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcXX0\r\n\r\n",
    b"3;a=" + b"b" * 5000,
    b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 200,
    b"3\r\nabc\r\n0\r\n folded\r\n\r\n",
]


@pytest.mark.parametrize("size", [WHOLE, 1])
@pytest.mark.parametrize("chunks", REFUSED_CHUNKS)
def test_a_malformed_body_gets_400_and_the_upstream_no_end(chunks: bytes, size: int) -> None:
    raw = b"POST http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    exchange = Exchange(raw, size)
    assert exchange.state() is FilterState.CLOSE
    assert exchange.down.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert b"0\r\n\r\n" not in exchange.up.partition(b"\r\n\r\n")[2]


def test_a_malformed_body_after_the_response_began_cuts_it_short() -> None:
    exchange = Exchange(b"POST http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange.from_upstream(OK + b"Content-Length: 9\r\n\r\nabc")
    exchange.from_client(b"xx\r\n")
    assert exchange.state() is FilterState.CLOSE
    assert exchange.down.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("framing", "part"),
    [(b"Content-Length: 5\r\n", b"hel"), (b"Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n")],
)
def test_a_client_that_leaves_within_a_body_gives_the_upstream_no_end(
    framing: bytes, part: bytes
) -> None:
    exchange = Exchange(b"POST http://h/ HTTP/1.1\r\n" + framing + b"\r\n" + part)
    before = exchange.up
    exchange.from_client(b"")
    assert exchange.up == before
    assert exchange.state() is FilterState.CLOSE
    assert exchange.down.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_half_closes_gets_its_response() -> None:
    exchange = Exchange(GET)
    exchange.from_client(b"")
    assert exchange.state() is FilterState.RELAY
    exchange.from_upstream(EMPTY)
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert exchange.state() is FilterState.CLOSE


@SIZES
@pytest.mark.parametrize(
    ("response", "down"),
    [
        (
            OK + b"A: b\r\nContent-Length: 5\r\nConnection: X-A\r\nX-A: c\r\n\r\nhello",
            OK + b"A: b\r\nContent-Length: 5\r\n" + VIA + b"\r\nhello",
        ),
        (
            b"HTTP/1.0 404\r\nContent-Length: 2\r\nKeep-Alive: x\r\n\r\nno",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n" + VIA + b"\r\nno",
        ),
        (
            OK + b"Content-Length: 005\r\nA: b\r\n\r\nhello",
            OK + b"A: b\r\n" + VIA + b"Content-Length: 5\r\n\r\nhello",
        ),
        (
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 204 No Content\r\n" + VIA + b"\r\n",
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" + VIA + b"\r\n",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nA: b\r\nConnection: x\r\n\r\n" + EMPTY,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
            + OK
            + b"Content-Length: 0\r\n"
            + VIA
            + b"\r\n",
        ),
    ],
)
def test_a_response_is_written_anew(response: bytes, down: bytes, size: int) -> None:
    exchange = Exchange(GET, size)
    exchange.from_upstream(response)
    assert exchange.down == down
    assert exchange.state() is FilterState.NEXT


def read_body(raw: bytes, *, ended: bool = False) -> bytes:
    """The body of the response that a client reads in *raw*."""
    client = ClientConnection()
    client.send(Request(b"GET", b"/"))
    client.send(EndOfMessage())
    client.feed(raw)
    if ended:
        client.feed_eof()
    body = b""
    while not isinstance(event := client.next_event(), EndOfMessage):
        assert not isinstance(event, Wait), "incomplete"
        if isinstance(event, Data):
            body += event.data
    return body


@SIZES
@pytest.mark.parametrize(
    ("response", "close"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nX: y\r\n\r\n", False),
        (OK + b"\r\nhello", True),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", True),
    ],
)
def test_a_body_of_unknown_length_is_framed_for_the_client(
    response: bytes, close: bool, size: int
) -> None:
    exchange = Exchange(GET, size)
    exchange.from_upstream(response)
    assert (exchange.state() is FilterState.RELAY) is close
    if close:
        exchange.from_upstream(b"")
    assert exchange.state() is FilterState.NEXT
    assert read_body(exchange.down) == b"hello"
    exchange = Exchange(GET.replace(b"1.1", b"1.0"), size)
    exchange.from_upstream(response)
    if close:
        exchange.from_upstream(b"")
    assert exchange.state() is FilterState.CLOSE
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert b"Transfer-Encoding" not in exchange.down
    assert read_body(exchange.down, ended=True) == b"hello"


def test_a_response_to_head_has_no_body() -> None:
    for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        exchange = Exchange(b"HEAD http://h/ HTTP/1.1\r\n\r\n")
        exchange.from_upstream(OK + framing + b"\r\nhello")
        assert exchange.down.endswith(b"\r\n\r\n")
        assert exchange.down.count(b"\r\n\r\n") == 1
        assert exchange.state() is FilterState.NEXT


REFUSED_RESPONSES = [
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 O\x1bK\r\n\r\n",
    b"garbage",
    b"hello\r\n\r\n",
    OK + b"A: " + b"b" * 70_000,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"",
    b"HTTP/1.1 200",
    OK + b"A: b\r\n",
]


@pytest.mark.parametrize("size", [WHOLE, 1])
@pytest.mark.parametrize("response", REFUSED_RESPONSES)
def test_a_malformed_response_is_502(response: bytes, size: int) -> None:
    exchange = Exchange(GET, size)
    if response:
        exchange.from_upstream(response)
    exchange.from_upstream(b"")
    interim = exchange.down.count(b"HTTP/1.1 100 Continue\r\n\r\n")
    final = exchange.down[interim * 25 :]
    assert final.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"\r\nConnection: close\r\n" in final
    assert exchange.state() is FilterState.CLOSE


def end_upstream(exchange: Exchange) -> None:
    exchange.from_upstream(b"")


@pytest.mark.parametrize("fail", [Exchange.fail_upstream, end_upstream])
def test_an_upstream_that_fails_before_the_response_is_502(
    fail: Callable[[Exchange], None],
) -> None:
    exchange = Exchange(GET)
    fail(exchange)
    assert exchange.down.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert exchange.state() is FilterState.CLOSE


@pytest.mark.parametrize(
    "response",
    [
        OK + b"Content-Length: 5\r\n\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nxx\r\n",
    ],
)
def test_a_response_cut_short_looks_cut_short(response: bytes) -> None:
    exchange = Exchange(GET)
    exchange.from_upstream(response)
    exchange.from_upstream(b"")
    assert exchange.state() is FilterState.CLOSE
    assert b"hel" in exchange.down
    with pytest.raises(AssertionError, match="incomplete"):
        read_body(exchange.down)


def test_an_open_ended_response_that_breaks_is_not_ended() -> None:
    exchange = Exchange(GET)
    exchange.from_upstream(OK + b"\r\nhel")
    exchange.fail_upstream()
    assert exchange.state() is FilterState.CLOSE
    with pytest.raises(AssertionError, match="incomplete"):
        read_body(exchange.down)


@pytest.mark.parametrize("framing", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_where_a_close_would_look_like_the_end_a_broken_response_resets(framing: bytes) -> None:
    exchange = Exchange(GET.replace(b"1.1", b"1.0"))
    exchange.from_upstream(OK + framing + b"\r\n")
    exchange.fail_upstream()
    assert exchange.state() is FilterState.ABORT


def test_the_next_request_is_a_new_one_through_the_router() -> None:
    exchange = Exchange(GET)
    exchange.from_upstream(EMPTY)
    assert exchange.state() is FilterState.NEXT
    exchange.begin(b"GET http://i/ HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert exchange.target == "i:80"
    exchange.from_upstream(EMPTY)
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert exchange.state() is FilterState.CLOSE


def test_a_tunnel_may_follow_an_exchange() -> None:
    exchange = Exchange(GET + b"CONNECT i:443 HTTP/1.1\r\n\r\nearly")
    exchange.from_upstream(EMPTY)
    event = exchange.handshake.next_event()
    assert isinstance(event, Connect)
    assert str(event.target) == "i:443"
    assert exchange.handshake.grant(BOUND) is None
    assert exchange.handshake.trailing_data() == b"early"


def test_pipelined_requests_are_served_in_order() -> None:
    hosts = ["a", "b", "c"]
    exchange = Exchange(b"".join(b"GET http://%b/ HTTP/1.1\r\n\r\n" % h.encode() for h in hosts))
    for at, host in enumerate(hosts):
        if at:
            exchange.begin()
        assert exchange.target == f"{host}:80"
        assert exchange.up.count(b"HTTP/1.1") == 1
        exchange.from_upstream(EMPTY)
        assert exchange.state() is FilterState.NEXT


def test_a_client_that_sends_far_ahead_is_left_unread_until_its_turn() -> None:
    exchange = Exchange(GET)
    ahead = GET * (MAX_PIPELINED // len(GET))
    exchange.from_client(ahead)
    assert exchange.state() is FilterState.RELAY
    exchange.from_client(GET)
    assert exchange.state() is FilterState.HOLD
    exchange.from_upstream(EMPTY)
    assert b"Connection: close" not in exchange.down
    assert exchange.state() is FilterState.NEXT
    exchange.begin()
    assert exchange.state() is FilterState.RELAY
    exchange = Exchange(b"POST http://h/ HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
    exchange.from_client(b"x" * MAX_PIPELINED)
    assert exchange.state() is FilterState.RELAY


def test_a_client_that_leaves_within_its_response_has_no_next_request() -> None:
    exchange = Exchange(GET)
    exchange.from_upstream(OK + b"Content-Length: 2\r\n\r\na")
    exchange.from_client(b"")
    exchange.from_upstream(b"b")
    assert exchange.down.endswith(b"\r\n\r\nab")
    assert exchange.state() is FilterState.CLOSE


def test_a_client_that_ends_behind_several_requests_gets_a_response_to_each() -> None:
    exchange = Exchange(GET * 2)
    exchange.from_client(b"")
    exchange.from_upstream(EMPTY)
    assert b"Connection: close" not in exchange.down
    assert exchange.state() is FilterState.NEXT
    exchange.begin()
    exchange.from_client(b"")  # as the socket says again
    exchange.from_upstream(EMPTY)
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert exchange.state() is FilterState.CLOSE


def test_an_expectation_is_passed_on_and_so_is_the_answer() -> None:
    head = b"POST http://h/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    exchange = Exchange(head)
    assert b"\r\nExpect: 100-continue\r\n" in exchange.up
    exchange.from_upstream(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert exchange.down == b"HTTP/1.1 100 Continue\r\n\r\n"
    exchange.from_client(b"ab")
    assert body_of(exchange.up) == b"ab"
    exchange.from_upstream(EMPTY)
    assert exchange.state() is FilterState.NEXT


def test_a_response_before_the_end_of_the_request_ends_the_connection() -> None:
    exchange = Exchange(b"POST http://h/ HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
    exchange.from_upstream(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in exchange.down
    assert exchange.state() is FilterState.CLOSE
    exchange.fail_upstream()
    exchange.from_upstream(b"x")
    assert exchange.state() is FilterState.CLOSE


def test_what_follows_a_response_is_dropped() -> None:
    exchange = Exchange(GET)
    exchange.from_upstream(EMPTY + b"HTTP/1.1 200 OK\r\n\r\nsmuggled")
    assert b"smuggled" not in exchange.down
    assert exchange.state() is FilterState.NEXT


WEBSOCKET = (
    b"GET http://h/chat HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket, h2c\r\nSec-WebSocket-Key: k\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: a\r\n\r\n"
)


@SIZES
def test_a_websocket_is_a_tunnel_once_the_server_agrees(size: int) -> None:
    exchange = Exchange(WEBSOCKET + b"\x81\x00", size)
    assert exchange.up == (
        b"GET /chat HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\n"
        + VIA
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )  # and no frame yet
    exchange.from_upstream(SWITCHING + b"\x82\x01x")
    assert exchange.down == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x82\x01x"
    )
    assert exchange.up.endswith(b"\r\n\r\n\x81\x00")
    assert exchange.state() is FilterState.TUNNEL
    exchange.from_client(b"up")
    exchange.from_upstream(b"down")
    assert exchange.up.endswith(b"up")
    assert exchange.down.endswith(b"down")


def test_a_websocket_that_the_server_declines_is_an_exchange() -> None:
    exchange = Exchange(WEBSOCKET)
    exchange.from_upstream(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert exchange.down.startswith(b"HTTP/1.1 403 No\r\n")
    assert exchange.state() is FilterState.NEXT


@pytest.mark.parametrize("early", [b"", b"x", b"x" * (MAX_PIPELINED + 1)])
@pytest.mark.parametrize("ended", [False, True])
def test_a_websocket_whose_client_is_early_lacks_nothing(early: bytes, ended: bool) -> None:
    exchange = Exchange(WEBSOCKET)
    if early:
        exchange.from_client(early)
    if ended:
        exchange.from_client(b"")
    assert not exchange.filter.upstream_ended
    exchange.from_upstream(SWITCHING)
    assert exchange.down.startswith(b"HTTP/1.1 101 ")
    assert exchange.up.endswith(b"\r\n\r\n" + early)
    assert exchange.filter.state is FilterState.TUNNEL
    assert exchange.filter.upstream_ended is ended


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b""])
def test_a_server_switches_to_nothing_else(protocol: bytes) -> None:
    exchange = Exchange(WEBSOCKET)
    exchange.from_upstream(SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: " + protocol))
    assert exchange.down.startswith(b"HTTP/1.1 502 ")
    assert exchange.state() is FilterState.CLOSE


@settings(deadline=None)
@given(
    st.none() | st.binary(max_size=200),
    st.none() | st.binary(max_size=200),
    st.booleans(),
    st.booleans(),
    st.integers(1, 60),
)
def test_an_exchange_arrives_whole_however_it_is_cut(
    question: bytes | None, answer: bytes | None, chunked: bool, again: bool, size: int
) -> None:
    client, server = ClientConnection(), ServerConnection()
    framing = (b"Content-Length", b"%d" % len(question or b""))
    if chunked and question is not None:
        framing = (b"Transfer-Encoding", b"chunked")
    raw = client.send(Request(b"POST", b"http://h/", Headers([framing])))
    raw += client.send(Data(question or b"")) + client.send(EndOfMessage())
    exchange = Exchange(raw + (GET if again else b""), size)
    assert body_of(exchange.up) == (question or b"")
    server.feed(exchange.up)
    while not isinstance(server.next_event(), Wait):
        pass
    response = server.send(Response(200))
    response += server.send(Data(answer or b"")) + server.send(EndOfMessage())
    exchange.from_upstream(response)
    assert read_body(exchange.down) == (answer or b"")
    assert exchange.state() is FilterState.NEXT


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.integers(1, 10), st.booleans())
def test_random_responses_never_escape_the_filter(raw: bytes, size: int, head: bool) -> None:
    exchange = Exchange(GET, size)
    exchange.from_upstream((OK if head else b"") + raw)
    exchange.from_upstream(b"")
    assert exchange.state() is not FilterState.RELAY
