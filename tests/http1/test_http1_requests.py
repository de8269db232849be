"""What a request may look like: byte tables for the server's machine, in every delivery."""

from collections.abc import Callable, Iterator

import pytest

from neosocksd_http1 import (
    ConnectionClosed,
    Data,
    EndOfMessage,
    Limits,
    RemoteProtocolError,
    Request,
    ServerConnection,
    ServerEvent,
    Wait,
)

Outcome = tuple[tuple[object, ...], int]
"""The events but for how data is cut, and the status of the error, 0 for none."""


def drain(server: ServerConnection) -> Iterator[ServerEvent]:
    while not isinstance(event := server.next_event(), Wait):
        yield event
        if isinstance(event, ConnectionClosed):
            return


def deliver(pieces: list[bytes], limits: Limits | None = None) -> Outcome:
    """Feed the pieces; return the first message, its body joined."""
    server = ServerConnection(limits) if limits else ServerConnection()
    events: list[object] = []
    body = b""
    try:
        for piece in pieces:
            server.feed(piece)
            for event in drain(server):
                if isinstance(event, Data):
                    body += event.data
                else:
                    events.append(event)
    except RemoteProtocolError as error:
        return (*events, body), error.status
    return (*events, body), 0


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


DELIVERIES = pytest.mark.parametrize("cut", [whole, bytewise])

HEAD = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n"

REFUSED_LINES = [
    b"GET /\r\n",  # HTTP/0.9
    b"GET / HTTP/0.9\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.2\r\n",
    b"GET / HTTP/1.10\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / http/1.1\r\n",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.1\r\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /  HTTP/1.1\r\n",
    b"GET\t/ HTTP/1.1\r\n",
    b"GET /a b HTTP/1.1\r\n",
    b"GET /\x00 HTTP/1.1\r\n",
    b"GET /\x7f HTTP/1.1\r\n",
    b"GET /\xc3\xa4 HTTP/1.1\r\n",
    b" GET / HTTP/1.1\r\n",
    b"GET HTTP/1.1\r\n",
    b"G(T / HTTP/1.1\r\n",
    b"/ HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n",
    b"\nGET / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS ClientHello
    b"\x05\x01\x00",  # SOCKS5
    b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",  # SOCKS4
    b"A" * 100,
]


@DELIVERIES
@pytest.mark.parametrize("raw", REFUSED_LINES)
def test_what_is_no_request_line_is_refused(
    raw: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    assert deliver(cut(raw)) == ((b"",), 400)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16",
        b"\x05",
        b" ",
        b"\n",
        b"\rG",
        b"\r\n\r",
        b"A" * 33,
        b"GET/",
        b"GET  ",
        b"GET /\r",
        b"GET / X",
        b"GET / HTTP/2",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1x",
        b"PRI * HTTP/2",
    ],
)
def test_what_cannot_become_a_request_line_is_refused_at_once(raw: bytes) -> None:
    assert deliver([raw]) == ((b"",), 400)
    assert deliver(bytewise(raw)) == ((b"",), 400)


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\r\n" + HEAD + b"\r\n"])
def test_no_prefix_of_a_good_head_is_refused(raw: bytes) -> None:
    for end in range(len(raw)):
        assert deliver([raw[:end]]) == ((b"",), 0)
    assert deliver([raw])[1] == 0


REFUSED_FIELDS = [
    b"A: b\n",
    b"A: b\rc\r\n",
    b"A: b\r\r\n",
    b"A: b\x00\r\n",
    b"A\x00: b\r\n",
    b"A: b\x0b\r\n",
    b"A: b\x7f\r\n",
    b"A: b\r\n c\r\n",  # obs-fold
    b"A: b\r\n\tc\r\n",
    b" A: b\r\n",
    b"A : b\r\n",
    b"A\t: b\r\n",
    b": b\r\n",
    b"A\r\n",
    b"{bad}: b\r\n",
    b"A,B: b\r\n",
    b"\xc3\xa4: b\r\n",
    b"A(b): c\r\n",
    b"Host: a\r\nHost: a\r\n",
    b"Host: a\r\nhost: b\r\n",
    b"Host: a@b\r\n",
    b"Host: a/b\r\n",
    b"Host: a b\r\n",
    b"Host: [::1].x\r\n",
    b"Host: a:b\r\n",
]


@DELIVERIES
@pytest.mark.parametrize("raw", REFUSED_FIELDS)
def test_malformed_fields_are_refused(raw: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    assert deliver(cut(HEAD + raw + b"\r\n")) == ((b"",), 400)


REFUSED_FRAMINGS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-length: 6\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 5_0\r\n",
    b"Content-Length: 5 0\r\n",
    b"Content-Length: 5.0\r\n",
    b"Content-Length: 5;\r\n",
    b'Content-Length: "5"\r\n',
    b"Content-Length:\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: 9223372036854775808\r\n",
    b"Content-Length: 00000000000000000005\r\n",
    b"Content-Length: \xd9\xa5\r\n",  # Arabic 5
    b"Content-Length: \xb2\r\n",  # superscript two
    b"Content-Length: 5\xa0\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunkedx\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunked,\r\n",
    b"Transfer-Encoding: ,chunked\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b'Transfer-Encoding: "chunked"\r\n',
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer-Encoding: chunked\xa0\r\n",
    b"Transfer-Encoding: c hunked\r\n",
    b"Transfer-Encoding:\r\n",
]


@DELIVERIES
@pytest.mark.parametrize("raw", REFUSED_FRAMINGS)
def test_ambiguous_framing_is_refused(raw: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    assert deliver(cut(POST + raw + b"\r\n")) == ((b"",), 400)


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    raw = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert deliver([raw]) == ((b"",), 400)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"content-length:5\r\n", b"hello"),
        (b"Content-Length: \t 005 \t\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: Chunked\t\r\n", b"2\r\nhe\r\n3;a=b\r\nllo\r\n000\r\nX: y\r\n\r\n"),
    ],
)
def test_a_body_is_read_in_every_split(framing: bytes, body: bytes) -> None:
    raw = POST + b"Host: h\r\n" + framing + b"\r\n" + body
    expected = deliver([raw])
    (request, end, data), status = expected
    assert isinstance(request, Request)
    assert isinstance(end, EndOfMessage)
    assert (data, status) == (b"hello", 0)
    assert deliver(bytewise(raw)) == expected
    for at in range(1, len(raw)):
        assert deliver([raw[:at], raw[at:]]) == expected


def test_a_head_is_taken_apart() -> None:
    raw = b"OPTIONS * HTTP/1.0\r\nX-A:\tb c \r\nx-a: d\r\nE:\r\n\r\n"
    (request, *_), _ = deliver([raw])
    assert isinstance(request, Request)
    assert (request.method, request.target, request.version) == (b"OPTIONS", b"*", b"1.0")
    assert list(request.headers) == [(b"X-A", b"b c"), (b"x-a", b"d"), (b"E", b"")]


@pytest.mark.parametrize(
    "host", [b"", b"h", b"h:80", b"h:", b"127.0.0.1:1", b"[::1]:80", b"a_b.c-d"]
)
def test_a_host_field_may_be_absent_or_any_host(host: bytes) -> None:
    assert deliver([HEAD + b"\r\n"])[1] == 0
    assert deliver([HEAD + b"Host: " + host + b"\r\n\r\n"])[1] == 0


@DELIVERIES
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (HEAD + b"A: " + b"b" * 9000 + b"\r\n\r\n", 431),
        (HEAD + b"A: " + b"b" * 9000, 431),
        (HEAD + b"A: b\r\n" * 129 + b"\r\n", 431),
        (HEAD + (b"A: " + b"b" * 7000 + b"\r\n") * 10 + b"\r\n", 431),
    ],
)
def test_a_head_is_bounded(raw: bytes, status: int, cut: Callable[[bytes], list[bytes]]) -> None:
    assert deliver(cut(raw)) == ((b"",), status)


@DELIVERIES
def test_the_bounds_themselves_are_allowed(cut: Callable[[bytes], list[bytes]]) -> None:
    line = b"GET /%b HTTP/1.1" % (b"a" * (8192 - 14))
    field = b"A: %b\r\n" % (b"b" * (8192 - 3))
    raw = line + b"\r\n" + field * 7 + b"B: c\r\n" * 121 + b"\r\n"
    assert len(line) == 8192
    assert deliver(cut(raw))[1] == 0


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 11\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"6\r\nhello \r\n5\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\n"),
    ],
)
def test_a_body_can_be_bounded(framing: bytes, body: bytes) -> None:
    limits = Limits(body=10)
    assert deliver([POST + framing + b"\r\n" + body], limits)[1] == 413
    assert deliver([POST + b"Content-Length: 10\r\n\r\n"], limits)[1] == 0


def test_the_stream_may_end_between_requests_only() -> None:
    server = ServerConnection()
    server.feed_eof()
    assert server.next_event() == ConnectionClosed()
    assert server.next_event() == ConnectionClosed()
    raw = POST + b"Content-Length: 2\r\n\r\nab"
    for end in range(1, len(raw)):
        server = ServerConnection()
        server.feed(raw[:end])
        server.feed_eof()
        with pytest.raises(RemoteProtocolError, match="ended"):
            list(drain(server))


def test_an_error_is_told_again_and_ends_the_reading() -> None:
    server = ServerConnection()
    server.feed(b"\x05\x01\x00")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            server.next_event()
        assert caught.value.status == 400
    server.feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(RemoteProtocolError):
        server.next_event()


def test_a_message_of_an_error_never_quotes_the_peer() -> None:
    server = ServerConnection()
    server.feed(b"GET /secret  HTTP/1.1\r\n\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert "secret" not in str(caught.value)
