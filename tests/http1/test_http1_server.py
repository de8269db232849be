"""The server's machine: cycles, framing of responses, answers to errors, tunnels."""

import pytest

from neosocksd_http1 import (
    CHUNKED,
    NEED_DATA,
    PAUSED,
    Data,
    EndOfMessage,
    FixedLength,
    Headers,
    InformationalResponse,
    LocalProtocolError,
    RemoteProtocolError,
    Request,
    Response,
    ServerConnection,
    State,
)


def serve(raw: bytes) -> ServerConnection:
    """Return a machine that has read the head of *raw* and, where it has none or all of it, the
    body.
    """
    server = ServerConnection()
    server.feed(raw)
    assert isinstance(server.next_event(), Request)
    while isinstance(server.next_event(), Data):
        pass
    return server


def test_a_connection_serves_pipelined_requests_one_after_the_other() -> None:
    server = ServerConnection()
    server.feed(
        b"GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /3 HTTP/1"
    )
    assert server.next_event() == Request(b"GET", b"/1")
    assert server.next_event() == EndOfMessage()
    assert server.next_event() is PAUSED
    assert not server.reusable
    assert server.respond(200, b"one") == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    assert server.next_event() is PAUSED
    assert server.reusable
    server.start_next_cycle()
    assert server.request is None
    request = server.next_event()
    assert isinstance(request, Request)
    assert request.target == b"/2"
    assert server.framing == FixedLength(2)
    assert server.next_event() == Data(b"ab")
    assert server.next_event() == EndOfMessage()
    server.respond(200)
    server.start_next_cycle()
    assert server.next_event() is NEED_DATA
    assert server.buffered
    server.feed(b".1\r\n\r\n")
    assert server.next_event() == Request(b"GET", b"/3")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    ],
)
def test_a_connection_that_cannot_go_on_says_so(raw: bytes) -> None:
    server = serve(raw)
    assert b"\r\nConnection: close\r\n" in server.respond(404, b"no")
    assert not server.reusable
    with pytest.raises(LocalProtocolError):
        server.start_next_cycle()


def test_a_response_that_closes_ends_the_connection() -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    head = server.respond(200, headers=Headers([(b"Connection", b"close")]))
    assert head.count(b"Connection") == 1
    assert not server.reusable


def test_a_cycle_is_over_only_when_the_request_has_been_read() -> None:
    server = serve(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab")
    server.respond(200)
    assert not server.reusable
    server.feed(b"c")
    assert server.next_event() == Data(b"c")
    assert server.next_event() == EndOfMessage()
    assert server.reusable


def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    assert server.send(Response(200)) == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.send(Data(b"abc")) == b"3\r\nabc\r\n"
    assert server.send(EndOfMessage()) == b"0\r\n\r\n"
    assert server.reusable


@pytest.mark.parametrize("last", [b"cde", b""])
def test_a_body_is_finished_with_its_last_piece(last: bytes) -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        server.finish(last)
    server.send(Response(200, Headers([(b"Content-Length", b"%d" % (2 + len(last)))])))
    assert server.send(Data(b"ab")) + server.finish(last) == b"ab" + last
    assert server.reusable
    with pytest.raises(LocalProtocolError):
        server.finish()


def test_a_chunked_body_is_finished_with_its_last_chunk() -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    server.send(Response(200))
    assert server.finish(b"abc") == b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize("body", [b"ab", b"abcd"])
def test_a_body_of_another_length_than_announced_is_not_finished(body: bytes) -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    server.send(Response(200, Headers([(b"Content-Length", b"3")])))
    with pytest.raises(LocalProtocolError):
        server.finish(body)


@pytest.mark.parametrize("headers", [Headers(), Headers([(b"Transfer-Encoding", b"chunked")])])
def test_a_body_of_unknown_length_ends_with_the_connection_in_http_1_0(headers: Headers) -> None:
    server = serve(b"GET / HTTP/1.0\r\n\r\n")
    assert server.send(Response(200, headers)) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    assert server.send(Data(b"abc")) + server.send(EndOfMessage()) == b"abc"


@pytest.mark.parametrize(
    ("method", "status", "shown"),
    [(b"HEAD", 200, True), (b"GET", 304, True), (b"GET", 204, False)],
)
def test_what_has_no_body_gets_none(method: bytes, status: int, shown: bool) -> None:
    server = serve(method + b" / HTTP/1.1\r\n\r\n")
    head = server.send(Response(status, Headers([(b"Content-Length", b"9")])))
    assert (b"Content-Length: 9" in head) is shown
    with pytest.raises(LocalProtocolError):
        server.send(Data(b"x"))
    assert server.send(EndOfMessage()) == b""
    assert server.reusable


def test_a_whole_response_to_head_has_the_length_and_no_body() -> None:
    server = serve(b"HEAD / HTTP/1.1\r\n\r\n")
    assert server.respond(200, b"abc") == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


def test_a_response_without_a_body_is_not_given_a_framing() -> None:
    server = serve(b"HEAD / HTTP/1.1\r\n\r\n")
    assert server.send(Response(200)) == b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"1"), (b"Content-Length", b"1")],
        [(b"Content-Length", b"x")],
        [(b"Transfer-Encoding", b"gzip")],
    ],
)
def test_an_ambiguous_response_is_not_written(headers: list[tuple[bytes, bytes]]) -> None:
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        server.send(Response(200, Headers(headers)))


def test_an_error_can_be_answered_once_and_closes() -> None:
    server = ServerConnection()
    server.feed(b"GET / HTTP/9.9\r\n\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert server.respond(caught.value.status, b"bad") == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"
    )
    assert server.reading is State.FAULTY
    assert not server.reusable
    with pytest.raises(LocalProtocolError):
        server.respond(400)


def test_an_error_in_a_body_can_be_answered() -> None:
    server = ServerConnection()
    server.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n")
    assert isinstance(server.next_event(), Request)
    assert server.framing == CHUNKED
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.respond(400).endswith(b"\r\nConnection: close\r\n\r\n")


def test_a_refused_connect_with_an_error_is_not_a_tunnel() -> None:
    server = ServerConnection()
    server.feed(b"CONNECT h:1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    with pytest.raises(LocalProtocolError):
        server.respond(200)
    assert b"Connection: close" in server.respond(400)


def test_a_request_that_is_too_slow_can_be_answered() -> None:
    server = ServerConnection()
    server.feed(b"GET / HT")
    assert server.next_event() is NEED_DATA
    assert server.respond(408).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert not server.reusable


def test_a_granted_connect_is_a_tunnel_and_its_declared_body_is_none() -> None:
    server = ServerConnection()
    server.feed(b"CONNECT h:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == EndOfMessage()
    head = server.send(Response(200, Headers([(b"Content-Length", b"0")])))
    assert head == b"HTTP/1.1 200 OK\r\n\r\n"
    assert server.next_event() is PAUSED
    assert server.trailing_data() == b"hello"
    assert server.trailing_data() == b""
    assert server.reading is server.writing is State.SWITCHED
    with pytest.raises(LocalProtocolError):
        server.send(Data(b"x"))


def test_a_whole_response_to_a_granted_connect_is_its_head() -> None:
    assert serve(b"CONNECT h:1 HTTP/1.1\r\n\r\n").respond(200) == b"HTTP/1.1 200 OK\r\n\r\n"


UPGRADE = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_an_accepted_upgrade_is_a_tunnel() -> None:
    server = serve(UPGRADE + b"\x81\x00")
    switching = InformationalResponse(101, Headers([(b"Upgrade", b"websocket")]))
    assert server.send(switching) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    )
    assert server.trailing_data() == b"\x81\x00"


def test_an_upgrade_that_was_not_asked_for_is_not_written() -> None:
    for raw in (b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", UPGRADE.replace(b"1.1", b"1.0")):
        with pytest.raises(LocalProtocolError):
            serve(raw).send(InformationalResponse(101))
    incomplete = UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        serve(incomplete).send(InformationalResponse(101))


def test_interim_responses_come_before_the_final_one() -> None:
    server = serve(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
    assert server.request is not None
    assert server.request.expects_continue
    assert server.send(InformationalResponse(100)) == b"HTTP/1.1 100 Continue\r\n\r\n"
    server.respond(200)
    with pytest.raises(LocalProtocolError):
        server.send(InformationalResponse(100))


def test_interim_responses_to_http_1_0_are_dropped() -> None:
    server = serve(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert server.request is not None
    assert not server.request.expects_continue
    assert server.send(InformationalResponse(100)) == b""


def test_what_is_not_due_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        ServerConnection().send(InformationalResponse(100))
    with pytest.raises(LocalProtocolError):
        ServerConnection().send(Data(b""))
    server = serve(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        server.send(InformationalResponse(200))
    with pytest.raises(LocalProtocolError):
        server.send(Response(100))
    server.feed_eof()
    with pytest.raises(LocalProtocolError):
        server.feed(b"")
