"""Other readers as oracles: what we accept and write again, each of them reads as we did."""

import io
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_http1 import (
    CHUNKED,
    ClientConnection,
    Data,
    EndOfMessage,
    FixedLength,
    RemoteProtocolError,
    Request,
    ServerConnection,
    Wait,
    end_to_end,
    parse_absolute,
    with_via,
)


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a byte stream: method, target and body of each request."""

    requests: tuple[tuple[bytes, bytes, bytes], ...]


def read_again(raw: bytes) -> bytes | None:
    """Read one request and write it again as a forward proxy does; None if it is refused or
    incomplete.
    """
    server = ServerConnection()
    server.feed(raw)
    client = ClientConnection()
    out = b""
    try:
        while not isinstance(event := server.next_event(), Wait):
            match event:
                case Request():
                    out += client.send(rewritten(event, server))
                case Data() | EndOfMessage():
                    out += client.send(event if isinstance(event, Data) else EndOfMessage())
                case _:
                    return None
            if isinstance(event, EndOfMessage):
                return out
    except RemoteProtocolError:
        return None
    return None


def rewritten(request: Request, server: ServerConnection) -> Request:
    target = parse_absolute(request.target, request.method)
    headers = end_to_end(request.headers).without((b"host", b"content-length", b"expect"))
    headers = headers.plus((b"Host", target.authority.host_field()))
    if server.framing == CHUNKED:
        headers = headers.plus((b"Transfer-Encoding", b"chunked"))
    elif isinstance(server.framing, FixedLength) and b"content-length" in request.headers:
        headers = headers.plus((b"Content-Length", b"%d" % server.framing.length))
    return Request(request.method, target.origin, with_via(headers, b"neosocksd"))


def read_h11(raw: bytes) -> Reading:
    found: list[tuple[bytes, bytes, bytes]] = []
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(raw)
    head: h11.Request | None = None
    body = b""
    while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            found.append((head.method, head.target, body))
    assert reader.trailing_data == (b"", False)
    return Reading(tuple(found))


class _Collector:
    """The callbacks of httptools."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, bytes, bytes]] = []
        self.target = self.body = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.target = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self.target, self.body))


def read_httptools(raw: bytes) -> Reading:
    collector = _Collector()
    collector.parser.feed_data(raw)
    return Reading(tuple(collector.found))


class _Handler(BaseHTTPRequestHandler):
    """The head as http.server reads it; the body by its plain rules."""

    headers: Message

    def __init__(self, raw: bytes) -> None:
        self.rfile = io.BytesIO(raw)
        self.wfile = io.BytesIO()
        self.found: list[tuple[bytes, bytes, bytes]] = []
        self.error: int | None = None
        self.requestline = ""
        while raw_line := self.rfile.readline(65537):
            self.raw_requestline = raw_line
            if not self.parse_request():
                self.error = self.error or 400
                return
            target = raw_line.split(b" ")[1]
            self.found.append((self.command.encode(), target, self.read_body()))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        del message, explain
        self.error = int(code)

    def read_body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().decode("ascii"), 16):
                body += self.rfile.read(size)
                assert self.rfile.read(2) == b"\r\n"
            assert self.rfile.readline() == b"\r\n"
            return body
        return self.rfile.read(int(self.headers.get("content-length", "0")))


def read_http_server(raw: bytes) -> Reading:
    handler = _Handler(raw)
    assert handler.error is None
    return Reading(tuple(handler.found))


def body_of(raw: bytes) -> bytes:
    server = ServerConnection()
    server.feed(raw)
    body = b""
    while not isinstance(event := server.next_event(), EndOfMessage):
        assert not isinstance(event, Wait)
        if isinstance(event, Data):
            body += event.data
    return body


def judge(raw: bytes) -> bool:
    """Return whether we accept *raw*; if so, all oracles must agree on what we made of it."""
    out = read_again(raw)
    if out is None:
        return False
    server = ServerConnection()
    server.feed(raw)
    request = server.next_event()
    assert isinstance(request, Request)
    origin = parse_absolute(request.target, request.method).origin
    expected = Reading(((request.method, origin, body_of(raw)),))
    assert read_h11(out) == expected
    assert read_http_server(out) == expected
    try:
        assert read_httptools(out) == expected
    except httptools.HttpParserInvalidMethodError:
        assert request.method not in KNOWN_METHODS  # it reads no others
    return True


KNOWN_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS")

GET = b"GET http://h/x HTTP/1.1\r\nHost: h\r\n"
POST = b"POST http://h/x HTTP/1.1\r\nHost: h\r\n"
SMUGGLED = b"GET /evil HTTP/1.1\r\nHost: e\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
TE = POST + b"Transfer-Encoding: chunked\r\n"

ACCEPTED = [
    GET + b"\r\n",
    GET + b"\r\n" + SMUGGLED,
    b"\r\n" + GET + b"\r\n",
    b"GET http://h HTTP/1.1\r\n\r\n",
    b"GET http://h?a HTTP/1.0\r\n\r\n",
    b"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD http://[::1]:8080/ HTTP/1.1\r\nHost: other\r\n\r\n",
    GET + b"X: \x80\xff\t.\r\n\r\n",
    GET + b"X:\r\nY:  \t \r\n\r\n",
    GET + b"Connection: X-A, Host, Content-Length, Transfer-Encoding\r\nX-A: b\r\n\r\n",
    GET + b"Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n",
    GET + b"Content-Length: 3\r\n\r\nabc",
    POST + b"Content-Length: 5\r\n\r\nhello" + SMUGGLED,
    POST + b"content-length:\t005 \r\n\r\nhello",
    POST + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
    POST + b"Content-Length: 31\r\nConnection: Content-Length\r\n\r\n" + SMUGGLED,
    POST + b"\r\n" + SMUGGLED,
    TE + b"\r\n" + CHUNKS + SMUGGLED,
    TE + b"Connection: Transfer-Encoding\r\n\r\n" + CHUNKS + SMUGGLED,
    POST + b"transfer-encoding:\tCHUNKED\t\r\n\r\n" + CHUNKS,
    TE + b'\r\n5;a=b;c="d\\""\r\nhello\r\n00;x\r\nContent-Length: 9\r\n\r\n',
    TE + b"Trailer: X\r\n\r\n" + b"1\r\nx\r\n" * 99 + b"0\r\nX: y\r\n\r\n",
    TE + b"\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (70_000, b"z" * 70_000),
    TE + b"\r\n" + b"1f\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
]

REFUSED = [
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + SMUGGLED,
    TE + b"Content-Length: 5\r\n\r\n" + CHUNKS + SMUGGLED,
    TE + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    TE + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello" + SMUGGLED,
    POST + b"Content-Length: 5, 5\r\n\r\nhello",
    POST + b"Content-Length: +5\r\n\r\nhello",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 0x5\r\n\r\nhello",
    POST + b"Content-Length: 5_0\r\n\r\n" + b"a" * 50,
    POST + b"Content-Length: \r\n\r\n",
    POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    POST + b"Content-Length: \xd9\xa5\r\n\r\nhello",
    POST + b"Content-Length : 5\r\n\r\nhello",
    POST + b"Content-Length\x00: 5\r\n\r\nhello",
    POST + b" Content-Length: 5\r\n\r\nhello",
    POST + b"X: y\r\n Content-Length: 5\r\n\r\nhello",
    POST + b"X: y\nContent-Length: 5\r\n\r\nhello",
    POST + b"X: y\rContent-Length: 5\r\n\r\nhello",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding: identity\r\n\r\n" + SMUGGLED,
    POST + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    TE + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n 5\r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n1\r0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    TE + b"\r\n00000000000000005\r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n5\nhello\r\n0\r\n\r\n",
    TE + b"\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    TE + b"\r\n5\r\nhelloXX0\r\n\r\n",
    TE + b"\r\n5\r\nhello\r\n0\r\n",
    GET + b"Host: i\r\n\r\n",
    GET + b"{bad}: x\r\n\r\n",
    GET + b"X: \x00\r\n\r\n",
    b"GET http://h/x HTTP/2.0\r\nHost: h\r\n\r\n",
    b"GET http://h/x\r\n\r\n",
    b"GET  http://h/x HTTP/1.1\r\n\r\n",
    b"GET http://h/x y HTTP/1.1\r\n\r\n",
    b"GET http://h/x HTTP/1.1\n\n",
    b"GET http://u@h/ HTTP/1.1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
]


def test_there_are_vectors_enough() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 54


@pytest.mark.parametrize("raw", ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_is_accepted_is_one_request_to_every_reader(raw: bytes) -> None:
    assert judge(raw)


@pytest.mark.parametrize("raw", REFUSED, ids=range(len(REFUSED)))
def test_what_readers_differ_on_is_refused(raw: bytes) -> None:
    assert not judge(raw)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(ACCEPTED + REFUSED).filter(lambda raw: len(raw) < 5000),
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 2),
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b"0", b"5"]
            )
            | st.binary(max_size=2),
        ),
        max_size=3,
    ),
)
def test_random_mutations_are_refused_or_one_request_to_every_reader(
    raw: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for at, count, text in edits:
        raw = raw[:at] + text + raw[at + count :]
    judge(raw)
