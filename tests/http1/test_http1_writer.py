"""What is written can't be taken for something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    FixedLength,
    Headers,
    InformationalResponse,
    LocalProtocolError,
    Request,
    Response,
    reason_phrase,
)
from neosocksd_http1.writer import BodyWriter, fields, request_head, response_head

INJECTIONS = [b"a\r\nB: c", b"a\nb", b"a\rb", b"a\x00b", b"a\x1bb", b"\x7f"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_breaks_a_line_is_written(text: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        fields(Headers([(b"A", text)]))
    with pytest.raises(LocalProtocolError):
        fields(Headers([(text, b"a")]))
    with pytest.raises(LocalProtocolError):
        response_head(Response(200, reason=text))
    with pytest.raises(LocalProtocolError):
        request_head(Request(text, b"/"))
    with pytest.raises(LocalProtocolError):
        request_head(Request(b"GET", text))


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"{a}", b"\xe4"])
def test_a_field_name_is_a_token(name: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        fields(Headers([(name, b"a")]))


@pytest.mark.parametrize("target", [b"", b"/a b", b"/\xe4"])
def test_a_target_is_visible(target: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        request_head(Request(b"GET", target))


@pytest.mark.parametrize("status", [0, 99, 600, 1000])
def test_a_status_has_its_range(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        response_head(Response(status))


def test_heads_are_written_with_our_version_and_the_registered_reason() -> None:
    headers = Headers([(b"A", b"b"), (b"a", b"\xe4")])
    assert request_head(Request(b"GET", b"/", headers, b"1.0")) == (
        b"GET / HTTP/1.1\r\nA: b\r\na: \xe4\r\n\r\n"
    )
    assert response_head(Response(404)) == b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert response_head(Response(299)) == b"HTTP/1.1 299 \r\n\r\n"
    assert response_head(InformationalResponse(100)) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert response_head(Response(200, reason=b"Fine")) == b"HTTP/1.1 200 Fine\r\n\r\n"
    assert reason_phrase(502) == b"Bad Gateway"
    assert reason_phrase(422) == b"Unprocessable Content"


def test_bodies_are_framed() -> None:
    fixed = BodyWriter(FixedLength(5))
    assert fixed.data(b"abc") + fixed.data(b"") + fixed.data(b"de") + fixed.end() == b"abcde"
    chunked = BodyWriter(CHUNKED)
    assert chunked.data(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert chunked.data(b"") == b""
    assert chunked.end(Headers([(b"A", b"b")])) == b"0\r\nA: b\r\n\r\n"
    assert BodyWriter(UNTIL_CLOSE).data(b"abc") == b"abc"
    assert BodyWriter(UNTIL_CLOSE).end() == b""


def test_a_body_has_the_length_that_was_announced() -> None:
    with pytest.raises(LocalProtocolError):
        BodyWriter(FixedLength(2)).data(b"abc")
    with pytest.raises(LocalProtocolError):
        BodyWriter(FixedLength(2)).end()


def test_trailers_need_chunks_and_never_frame() -> None:
    for framing in (FixedLength(0), UNTIL_CLOSE):
        with pytest.raises(LocalProtocolError):
            BodyWriter(framing).end(Headers([(b"A", b"b")]))
    with pytest.raises(LocalProtocolError):
        BodyWriter(CHUNKED).end(Headers([(b"Content-length", b"5")]))


@given(st.binary(), st.binary())
def test_a_field_is_written_on_one_line_or_not_at_all(name: bytes, value: bytes) -> None:
    try:
        line = fields(Headers([(name, value)]))
    except LocalProtocolError:
        return
    assert line == name + b": " + value + b"\r\n"
    assert line.count(b"\r") == line.count(b"\n") == 1


WRITTEN = st.sampled_from(
    [b"", b"A", b"B-c", b"d e", b":", b"x: y", b"\x00", b"\xff", b"v\r\nX: y", b"\r\n"]
)


@given(st.lists(st.tuples(WRITTEN, WRITTEN), max_size=4))
def test_fields_are_written_together_if_each_may_be_written(
    given_fields: list[tuple[bytes, bytes]],
) -> None:
    try:
        lines = b"".join([fields(Headers([field])) for field in given_fields])
    except LocalProtocolError:
        with pytest.raises(LocalProtocolError):
            fields(Headers(given_fields))
    else:
        assert fields(Headers(given_fields)) == lines
