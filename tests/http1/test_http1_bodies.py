"""Chunked bodies, fixed ones and open-ended ones: what is refused, what is cut short, what it
costs.
"""

import pytest

from neosocksd_http1 import CHUNKED, UNTIL_CLOSE, Data, EndOfMessage, FixedLength, Framing, Limits
from neosocksd_http1.bodies import body_reader
from neosocksd_http1.buffer import Buffer
from neosocksd_http1.errors import RemoteProtocolError
from neosocksd_http1.headers import Headers


def read(framing: Framing, pieces: list[bytes], *, ended: bool = False) -> tuple[bytes, object]:
    """Return the body and the end of it, None while that has not come."""
    buffer = Buffer()
    reader = body_reader(framing, Limits())
    body = b""
    for piece in pieces:
        buffer.feed(piece)
        while isinstance(event := reader.next_event(buffer, False), Data):
            body += event.data
        if isinstance(event, EndOfMessage):
            return body, event
    if ended:
        event = reader.next_event(buffer, True)
        return body, event if isinstance(event, EndOfMessage) else None
    return body, None


REFUSED_CHUNKS = [
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"\t3\r\nabc\r\n0\r\n\r\n",
    b"1\r0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    b"00000000000000003\r\nabc\r\n0\r\n\r\n",  # 17 digits
    b"10000000000000000\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
    b"3;\r\nabc\r\n0\r\n\r\n",
    b"3;a=\r\nabc\r\n0\r\n\r\n",
    b'3;a="b\r\nabc\r\n0\r\n\r\n',
    b"3 a\r\nabc\r\n0\r\n\r\n",
    b"3,4\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcXX0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\r0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n",
    b"\r\n",
    b"g\r\n",
    b"\xd9\xa3\r\nabc\r\n0\r\n\r\n",
    b"3;a=" + b"b" * 1024 * 1024,
    b"3;a=" + b"b" * 1024 * 1024 + b"\r\nabc\r\n0\r\n\r\n",
    b"".join(b"1;a=%b\r\nx\r\n" % (b"b" * 1000) for _ in range(17)) + b"0\r\n\r\n",
    b"0\r\n\n",
    b"0\r\nXX",
    b"0\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    b"0\r\nA: " + b"b" * 70_000,
    b"0\r\n folded: b\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
]


@pytest.mark.parametrize("raw", REFUSED_CHUNKS, ids=range(len(REFUSED_CHUNKS)))
def test_malformed_chunks_are_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as whole:
        read(CHUNKED, [raw], ended=True)
    assert whole.value.status == 400
    with pytest.raises(RemoteProtocolError) as bytewise:
        read(CHUNKED, [raw[i : i + 1] for i in range(min(len(raw), 20_000))], ended=True)
    assert bytewise.value.status == 400


@pytest.mark.parametrize(
    "size",
    [b"3", b"03", b"0000000000000003", b"3;a", b"3 ; a = b", b'3;a="b;\\"c"', b"3;a=b;c=d;e"],
)
def test_chunk_sizes_and_extensions_are_read(size: bytes) -> None:
    raw = size + b"\r\nabc\r\n0;last\r\n\r\n"
    assert read(CHUNKED, [raw]) == (b"abc", EndOfMessage())
    assert read(CHUNKED, [raw[i : i + 1] for i in range(len(raw))]) == (b"abc", EndOfMessage())


def test_hexadecimal_digits_of_both_cases_count() -> None:
    raw = b"A\r\n0123456789\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
    assert read(CHUNKED, [raw]) == (b"0123456789" + b"x" * 26, EndOfMessage())


def test_trailers_are_told_apart_from_the_header() -> None:
    raw = b"0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n"
    trailers = Headers([(b"X-Sum", b"1"), (b"Content-Length", b"9")])
    assert read(CHUNKED, [raw]) == (b"", EndOfMessage(trailers))


@pytest.mark.parametrize(
    ("framing", "raw"), [(CHUNKED, b"3\r\nabc\r\n0\r\n\r\n"), (FixedLength(6), b"abcdef")]
)
def test_a_body_cut_short_is_never_a_clean_end(framing: Framing, raw: bytes) -> None:
    for end in range(len(raw)):
        with pytest.raises(RemoteProtocolError, match="ended"):
            read(framing, [raw[:end]] if end else [], ended=True)


def test_an_open_ended_body_ends_with_the_stream() -> None:
    assert read(UNTIL_CLOSE, [b"abc", b"def"]) == (b"abcdef", None)
    assert read(UNTIL_CLOSE, [b"abc", b"def"], ended=True) == (b"abcdef", EndOfMessage())


def test_an_open_ended_body_can_be_bounded() -> None:
    buffer = Buffer()
    reader = body_reader(UNTIL_CLOSE, Limits(body=3))
    buffer.feed(b"abc")
    assert reader.next_event(buffer, False) == Data(b"abc")
    buffer.feed(b"d")
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_event(buffer, False)
    assert caught.value.status == 413


def test_what_follows_a_body_is_left() -> None:
    for framing, raw in ((FixedLength(3), b"abc"), (CHUNKED, b"3\r\nabc\r\n0\r\n\r\n")):
        buffer = Buffer()
        buffer.feed(raw + b"next")
        reader = body_reader(framing, Limits())
        assert reader.next_event(buffer, False) == Data(b"abc")
        assert reader.next_event(buffer, False) == EndOfMessage()
        assert buffer.take(99) == b"next"


def test_ten_thousand_tiny_chunks_are_read_without_recursion() -> None:
    body, end = read(CHUNKED, [b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"])
    assert (body, end) == (b"x" * 10_000, EndOfMessage())


def test_a_slice_of_a_body_is_handed_on_without_a_copy() -> None:
    buffer = Buffer()
    piece = b"x" * 65536
    buffer.feed(piece)
    event = body_reader(FixedLength(1 << 20), Limits()).next_event(buffer, False)
    assert isinstance(event, Data)
    assert event.data is piece
