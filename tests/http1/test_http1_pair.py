"""Server and client as a connected pair: what one says, the other hears, however it is cut."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_http1 import (
    ClientConnection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Headers,
    InformationalResponse,
    RemoteProtocolError,
    Request,
    Response,
    ServerConnection,
    Wait,
)

METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"PROPFIND", b"x-~!"])
TARGETS = st.from_regex(rb"/[!-~]{0,30}", fullmatch=True)
NAMES = st.from_regex(rb"X-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
VALUES = st.from_regex(rb"[!-~\x80-\xff]([\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?|", fullmatch=True)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.none() | st.lists(st.binary(min_size=1, max_size=300), max_size=4)


def pieces(raw: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(raw), size):
        yield raw[at : at + size]


def hear(machine: ServerConnection | ClientConnection, raw: bytes, size: int) -> list[object]:
    """Feed *raw* in pieces of *size*; return the events, adjacent Data joined."""
    heard: list[object] = []
    for piece in pieces(raw, size):
        machine.feed(piece)
        while not isinstance(event := machine.next_event(), Wait):
            if isinstance(event, Data) and heard and isinstance(heard[-1], Data):
                heard[-1] = Data(heard[-1].data + event.data)
            else:
                heard.append(event)
    return heard


@settings(deadline=None)
@given(METHODS, TARGETS, HEADERS, BODIES, HEADERS, BODIES, st.booleans(), st.integers(1, 50))
def test_an_exchange_is_heard_as_it_was_said(
    method: bytes,
    target: bytes,
    asked: list[tuple[bytes, bytes]],
    question: list[bytes] | None,
    told: list[tuple[bytes, bytes]],
    answer: list[bytes] | None,
    fixed: bool,
    size: int,
) -> None:
    client, server = ClientConnection(), ServerConnection()
    for _ in range(2):  # the second cycle over the same connection
        framing = (b"Transfer-Encoding", b"chunked")
        if question is None or fixed:
            framing = (b"Content-Length", b"%d" % len(b"".join(question or ())))
        request = Request(method, target, Headers([*asked, framing]))
        raw = client.send(request)
        for data in question or ():
            raw += client.send(Data(data))
        raw += client.send(EndOfMessage())
        said: list[object] = [request, EndOfMessage()]
        if question:
            said.insert(1, Data(b"".join(question)))
        assert hear(server, raw, size) == said

        response = Response(200, Headers(told), b"OK")
        raw = server.send(InformationalResponse(103)) + server.send(response)
        bodiless = method == b"HEAD"
        for data in () if bodiless else answer or ():
            raw += server.send(Data(data))
        raw += server.send(EndOfMessage())
        interim, head, *body, end = hear(client, raw, size)
        assert isinstance(interim, InformationalResponse)
        assert isinstance(head, Response)
        assert list(head.headers)[: len(told)] == told
        assert body == ([Data(b"".join(answer))] if answer and not bodiless else [])
        assert end == EndOfMessage()
        assert client.reusable
        assert server.reusable
        client.start_next_cycle()
        server.start_next_cycle()


@settings(deadline=None)
@given(st.binary(), st.binary(), st.integers(1, 50))
def test_a_tunnel_keeps_every_early_byte(up: bytes, down: bytes, size: int) -> None:
    client, server = ClientConnection(), ServerConnection()
    raw = client.send(Request(b"CONNECT", b"h:443")) + client.send(EndOfMessage()) + up
    hear(server, raw, size)
    hear(client, server.send(Response(200)) + down, size)
    assert server.trailing_data() == up
    assert client.trailing_data() == down


def outcome(machine: ServerConnection | ClientConnection, parts: list[bytes]) -> list[object]:
    heard: list[object] = []
    body = b""
    try:
        for part in [*parts, None]:
            if part is None:
                machine.feed_eof()
            else:
                machine.feed(part)
            while not isinstance(event := machine.next_event(), Wait):
                if isinstance(event, Data):
                    body += event.data
                else:
                    heard.append(event)
                if isinstance(event, ConnectionClosed):
                    break
    except RemoteProtocolError as error:
        heard.append(error.status)
    return [*heard, body]


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"POST http://h/ HTTP/1.0\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"Host: h\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"A: b\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\x00",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"abc",
            b":",
        ]
    )
    | st.binary(max_size=3),
    max_size=12,
).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(FRAGMENTS, st.booleans(), st.data())
def test_random_input_has_one_outcome_however_it_is_cut(
    raw: bytes, ask: bool, data: st.DataObject
) -> None:
    def machine() -> ServerConnection | ClientConnection:
        if not ask:
            return ServerConnection()
        client = ClientConnection()
        client.send(Request(b"GET", b"/"))
        client.send(EndOfMessage())
        return client

    expected = outcome(machine(), [raw])
    assert outcome(machine(), [raw[i : i + 1] for i in range(len(raw))]) == expected
    at = data.draw(st.integers(0, len(raw)))
    assert outcome(machine(), [raw[:at], raw[at:]]) == expected
