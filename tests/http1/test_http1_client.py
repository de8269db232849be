"""The client's machine: responses are read as strictly as requests."""

from collections.abc import Callable

import pytest

from neosocksd_http1 import (
    NEED_DATA,
    PAUSED,
    UNTIL_CLOSE,
    ClientConnection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Headers,
    InformationalResponse,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
    Request,
    Response,
    State,
    Wait,
)

Answer = tuple[list[object], bytes]


def ask(method: bytes = b"GET", *headers: tuple[bytes, bytes]) -> ClientConnection:
    client = ClientConnection()
    client.send(Request(method, b"h:1" if method == b"CONNECT" else b"/", Headers(headers)))
    client.send(EndOfMessage())
    return client


def read(client: ClientConnection, pieces: list[bytes], *, ended: bool = False) -> Answer:
    """Return the events but Data, and the body."""
    events: list[object] = []
    body = b""

    def drain() -> bytes:
        data = b""
        while not isinstance(event := client.next_event(), Wait | ConnectionClosed):
            if isinstance(event, Data):
                data += event.data
            else:
                events.append(event)
        return data

    for piece in pieces:
        client.feed(piece)
        body += drain()
    if ended:
        client.feed_eof()
        body += drain()
    return events, body


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


OK = b"HTTP/1.1 200 OK\r\n"

REFUSED = [
    b"garbage",
    b"\r\n" + OK + b"\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\n\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 +20 OK\r\n\r\n",
    b"HTTP/1.1 200OK\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 O\rK\r\n\r\n",
    b"HTTP/1.1 200 O\x1bK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    OK + b"Content-Length: 5, 5\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    OK + b"A : b\r\n\r\n",
    OK + b"A: b\r\n c\r\n\r\n",
    OK + b"A: b\n\r\n",
    OK + b"A: " + b"b" * 70_000,
    OK + b"A: b\r\n" * 129 + b"\r\n",
    b"HTTP/1.1 200 " + b"O" * 70_000,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n",
]


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("raw", REFUSED, ids=range(len(REFUSED)))
def test_malformed_responses_are_the_gateways_502(
    raw: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read(ask(), cut(raw))
    assert caught.value.status == 502


def test_a_header_of_8_mib_is_refused_before_it_is_complete() -> None:
    client = ask()
    line = b"X: " + b"y" * 1000 + b"\r\n"
    assert read(client, [OK, *[line] * 64]) == ([], b"")
    with pytest.raises(RemoteProtocolError):
        read(client, [line] * 8)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.0 200\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n", b""),
    ],
)
def test_a_response_is_read_in_every_split(raw: bytes, body: bytes) -> None:
    expected = read(ask(), [raw])
    (response, end), data = expected
    assert isinstance(response, Response)
    assert (end, data) == (EndOfMessage(), body)
    assert read(ask(), bytewise(raw)) == expected
    for at in range(1, len(raw)):
        assert read(ask(), [raw[:at], raw[at:]]) == expected


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_response_cut_short_is_never_a_clean_end(raw: bytes) -> None:
    for end in range(len(raw)):
        with pytest.raises(RemoteProtocolError, match="ended"):
            read(ask(), [raw[:end]], ended=True)
    assert read(ask(), [raw], ended=True)[1] == b"hello"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    client = ask()
    client.feed(OK + b"\r\nhel")
    assert client.next_event() == Response(200, Headers(), b"OK")
    assert client.framing == UNTIL_CLOSE
    assert client.next_event() == Data(b"hel")
    assert client.next_event() is NEED_DATA
    client.feed(b"lo")
    client.feed_eof()
    assert client.next_event() == Data(b"lo")
    assert client.next_event() == EndOfMessage()
    assert not client.reusable


def test_a_response_to_head_has_no_body_whatever_it_announces() -> None:
    for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        client = ask(b"HEAD")
        (response, end), body = read(client, [OK + framing + b"\r\n"])
        assert isinstance(response, Response)
        assert (end, body) == (EndOfMessage(), b"")
        assert client.reusable


def test_interim_responses_come_first() -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
    events, _ = read(ask(), bytewise(raw + b"Content-Length: 0\r\n\r\n"))
    assert [type(event) for event in events] == [
        InformationalResponse,
        InformationalResponse,
        Response,
        EndOfMessage,
    ]


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        OK + b"Content-Length: 5\r\n\r\n",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_all_that_follows_a_granted_connect_is_the_tunnels(head: bytes) -> None:
    for pieces in ([head + b"hello"], [*bytewise(head), b"hello"]):
        client = ask(b"CONNECT")
        events, body = read(client, pieces)
        assert isinstance(events[-1], Response)
        assert body == b""
        assert client.reading is client.writing is State.SWITCHED
        assert client.next_event() is PAUSED
        assert client.trailing_data() == b"hello"


def test_a_refused_connect_has_a_body_and_ends_the_connection() -> None:
    client = ask(b"CONNECT")
    _, body = read(client, [b"HTTP/1.1 407 Who?\r\nContent-Length: 2\r\n\r\nno"])
    assert body == b"no"
    assert not client.reusable


def test_an_accepted_upgrade_is_a_tunnel() -> None:
    client = ask(b"GET", (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    client.feed(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    assert client.next_event() == InformationalResponse(
        101, Headers([(b"Upgrade", b"websocket")]), b"Go"
    )
    assert client.next_event() is PAUSED
    assert client.trailing_data() == b"\x81\x00"


def test_a_connection_is_used_again() -> None:
    client = ask()
    read(client, [OK + b"Content-Length: 1\r\n\r\na"])
    client.start_next_cycle()
    assert client.send(Request(b"GET", b"/2")) == b"GET /2 HTTP/1.1\r\n\r\n"
    client.send(EndOfMessage())
    assert read(client, [OK + b"Content-Length: 1\r\n\r\nb"])[1] == b"b"


def test_bytes_that_answer_no_request_are_an_error() -> None:
    client = ask()
    read(client, [OK + b"Content-Length: 0\r\n\r\n" + OK + b"\r\n"])
    client.start_next_cycle()
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    with pytest.raises(LocalProtocolError):
        client.send(Request(b"GET", b"/"))


def test_an_idle_connection_may_close() -> None:
    client = ClientConnection()
    assert client.next_event() is NEED_DATA
    client.feed_eof()
    assert client.next_event() == ConnectionClosed()


@pytest.mark.parametrize(
    ("sent", "response"),
    [
        ((b"Connection", b"close"), OK + b"Content-Length: 0\r\n\r\n"),
        ((b"A", b"b"), OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n"),
        ((b"A", b"b"), b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_a_connection_that_closes_is_not_used_again(
    sent: tuple[bytes, bytes], response: bytes
) -> None:
    client = ask(b"GET", sent)
    read(client, [response])
    assert not client.reusable
    with pytest.raises(LocalProtocolError):
        client.start_next_cycle()


def test_a_response_may_come_before_the_request_is_complete() -> None:
    client = ClientConnection()
    client.send(Request(b"POST", b"/", Headers([(b"Content-Length", b"9")])))
    assert read(client, [b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"])[0]
    assert not client.reusable
    client.send(Data(b"123456789"))
    client.send(EndOfMessage())
    assert client.reusable


@pytest.mark.parametrize(
    "request_",
    [
        Request(b"CONNECT", b"h:1", Headers([(b"Content-Length", b"0")])),
        Request(b"POST", b"/", Headers([(b"Content-Length", b"-1")])),
        Request(b"POST", b"/", Headers([(b"Content-Length", b"1"), (b"Content-Length", b"1")])),
        Request(b"GET", b"/ HTTP/1.1\r\nA: b"),
    ],
)
def test_an_ambiguous_request_is_not_written(request_: Request) -> None:
    with pytest.raises(LocalProtocolError):
        ClientConnection().send(request_)


def test_a_request_has_a_body_only_if_it_declares_one() -> None:
    client = ClientConnection()
    client.send(Request(b"POST", b"/"))
    with pytest.raises(LocalProtocolError):
        client.send(Data(b"x"))


def test_a_body_of_a_response_can_be_bounded() -> None:
    client = ClientConnection(Limits(body=3))
    client.send(Request(b"GET", b"/"))
    with pytest.raises(RemoteProtocolError):
        read(client, [OK + b"Content-Length: 4\r\n\r\n"])
