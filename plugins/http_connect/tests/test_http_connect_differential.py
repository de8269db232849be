"""Other readers as oracles on the way back: what the client gets is one response to each of them, or visibly broken to all."""

import http.client
import io
from dataclasses import dataclass
from typing import Any, cast

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_core import Connect, FilterState
from neosocksd_http_connect.forward import Forwarding
from neosocksd_http_connect.handshake import HttpHandshake

Reading = tuple[int, bytes] | None
"""Status and body of the one final response that a reader finds; None where it finds that it lacks its end."""

BAD_GATEWAY = (502, b"502 Bad Gateway\n")


@dataclass(frozen=True)
class Carried:
    """What became of an upstream's bytes."""

    down: bytes
    state: FilterState
    failed: bool


def carry(method: bytes, version: bytes, pieces: list[bytes], *, reset: bool = False) -> Carried:
    """Forward a request, and answer it with *pieces*; then the upstream ends, or breaks."""
    handshake = HttpHandshake(False)
    handshake.receive_data(method + b" http://h/x HTTP/" + version + b"\r\nHost: h\r\n\r\n")
    assert isinstance(handshake.next_event(), Connect)
    passed = handshake.grant(("127.0.0.1", 1))
    assert isinstance(passed, Forwarding)
    down = b""
    for piece in pieces:
        passed.from_upstream(piece)
        down += passed.to_client()
    if passed.state is FilterState.RELAY:
        passed.upstream_failed() if reset else passed.from_upstream(b"")
        down += passed.to_client()
    assert passed.state in (FilterState.NEXT, FilterState.CLOSE, FilterState.ABORT)
    return Carried(down, passed.state, passed.failure is not None)


def by_h11(method: bytes, raw: bytes) -> Reading:
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/x", headers=[("Host", "h")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    reader.receive_data(b"")
    status, body = 0, b""
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert reader.trailing_data[0] == b""
            return status, body
        else:
            assert isinstance(event, h11.InformationalResponse)


class _Collector:
    """The callbacks of httptools, for one final response."""

    def __init__(self) -> None:
        self.body = b""
        self.found: list[tuple[int, bytes]] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.found.append((self.parser.get_status_code(), self.body))


def by_httptools(raw: bytes) -> list[tuple[int, bytes]]:
    collector = _Collector()
    collector.parser.feed_data(raw)
    return collector.found


class _Socket:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.raw)


def by_http_client(method: bytes, raw: bytes) -> Reading:
    while raw.startswith(b"HTTP/1.1 1"):  # of interim responses it knows 100 alone
        raw = raw.partition(b"\r\n\r\n")[2]
    response = http.client.HTTPResponse(cast(Any, _Socket(raw)), method=method.decode())
    try:
        response.begin()
        body = response.read()
    except http.client.HTTPException:
        return None
    return response.status, body


def judge(method: bytes, version: bytes, pieces: list[bytes], *, reset: bool = False) -> Carried:
    """Every reader finds in what the client got one whole response, or that one is missing its end."""
    got = carry(method, version, pieces, reset=reset)
    if got.state is FilterState.ABORT:
        assert got.failed  # the reset tells the client
        return got
    readings = {by_h11(method, got.down), by_http_client(method, got.down)}
    assert len(readings) == 1, (got, readings)
    [reading] = readings
    if got.failed:
        assert (
            reading is None
            or (method == b"HEAD" and reading == (502, b""))
            or reading == BAD_GATEWAY
        )
    else:
        assert reading is not None
        if method != b"HEAD" and version == b"1.1":  # else it may be the end that ends the body
            assert by_httptools(got.down) == [reading]
    return got


OK = b"HTTP/1.1 200 OK\r\n"
TE = OK + b"Transfer-Encoding: chunked\r\n\r\n"

WHOLE = [
    (OK + b"Content-Length: 5\r\n\r\nhello", (200, b"hello")),
    (OK + b"Content-Length: 0\r\n\r\n", (200, b"")),
    (OK + b"Content-Length: 5\r\nConnection: Content-Length\r\n\r\nhello", (200, b"hello")),
    (OK + b"Content-Length: 5\r\n\r\nhello" + OK + b"\r\nevil", (200, b"hello")),
    (OK + b"\r\nto the end", (200, b"to the end")),
    (b"HTTP/1.0 200 OK\r\n\r\nold", (200, b"old")),
    (b"HTTP/1.0 200\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nold", (200, b"old")),
    (TE + b"5\r\nhello\r\n0\r\n\r\n", (200, b"hello")),
    (TE + b"5;a=b;c=\"d\"\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n", (200, b"hello")),
    (TE + b"1\r\nx\r\n" * 300 + b"0\r\n\r\n", (200, b"x" * 300)),
    (TE + b"1c\r\n" + OK + b"\r\nevil1234\x30\r\n0\r\n\r\n", (200, OK + b"\r\nevil1234\x30")),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", (200, b"ok")),
    (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 4\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok",
        (200, b"ok"),
    ),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", (204, b"")),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, b"")),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (304, b"")),
    (b"HTTP/1.1 500 \xff\r\nX:\t\x80 \r\nContent-Length: 0\r\n\r\n", (500, b"")),
]  # fmt: skip

BROKEN = [
    b"",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b" HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 +20 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    OK + b"Content-Length: 5, 5\r\n\r\nhello",
    OK + b"Content-Length: -5\r\n\r\nhello",
    OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    OK + b"Content-Length : 5\r\n\r\nhello",
    OK + b"Content-Length: 5\r\n x\r\n\r\nhello",
    OK + b"X: a\0b\r\n\r\n",
    OK + b"X: a\rb\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 9\r\n\r\nhello",
    TE + b"5\r\nhello\r\n",
    TE + b"5\r\nhello\r\n0\r\n",
    TE + b"5\r\nhelloXX0\r\n\r\n",
    TE + b"0x5\r\nhello\r\n0\r\n\r\n",
    TE + b"-5\r\nhello\r\n0\r\n\r\n",
    TE + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    TE + b"ffffffffffffffff\r\nhello",
    TE + b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK + b"Content-Length: 0\r\n\r\n",
]

METHODS = pytest.mark.parametrize("method", [b"GET", b"HEAD"])
VERSIONS = pytest.mark.parametrize("version", [b"1.1", b"1.0"])


@METHODS
@VERSIONS
@pytest.mark.parametrize(("raw", "expected"), WHOLE, ids=range(len(WHOLE)))
def test_a_whole_response_is_the_same_to_every_reader(
    raw: bytes, expected: tuple[int, bytes], method: bytes, version: bytes
) -> None:
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        got = judge(method, version, pieces)
        assert not got.failed
        status, body = expected
        assert by_h11(method, got.down) == (status, b"" if method == b"HEAD" else body)


@VERSIONS
@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_response_is_whole_to_no_reader(raw: bytes, version: bytes) -> None:
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        assert judge(b"GET", version, pieces).failed


VECTORS = [raw for raw, _ in WHOLE] + BROKEN


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(VECTORS).filter(lambda raw: len(raw) < 3000),
    st.lists(
        st.tuples(
            st.integers(0, 150),
            st.integers(0, 3),
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\0", b":", b",", b"0", b";"])
            | st.binary(max_size=2),
        ),
        max_size=3,
    ),
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([b"1.1", b"1.0"]),
    st.integers(1, 40),
    st.booleans(),
)
def test_random_mutations_are_one_response_to_every_reader_or_broken_to_all(
    raw: bytes,
    edits: list[tuple[int, int, bytes]],
    method: bytes,
    version: bytes,
    size: int,
    reset: bool,
) -> None:
    for at, count, text in edits:
        raw = raw[:at] + text + raw[at + count :]
    judge(method, version, [raw[at : at + size] for at in range(0, len(raw), size)], reset=reset)
