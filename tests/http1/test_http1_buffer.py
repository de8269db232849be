"""The buffer: bytes come out as they came in, and no byte of a line is scanned twice."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_http1 import buffer as buffer_module
from neosocksd_http1.buffer import Buffer, LineTooLongError
from neosocksd_http1.errors import RemoteProtocolError
from neosocksd_http1.grammar import LINE_TEXT


@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.integers(0, 9)))
def test_what_is_fed_comes_out_in_order(pieces: list[bytes], counts: list[int]) -> None:
    buffer = Buffer()
    out = b""
    for piece, count in zip(pieces, counts + [0] * len(pieces), strict=False):
        buffer.feed(piece)
        assert buffer.peek(0, count) == buffer.peek(0, 99)[:count]
        out += buffer.take(count)
    assert len(buffer) == len(b"".join(pieces)) - len(out)
    out += buffer.take(len(buffer))
    assert out == b"".join(pieces)
    assert not buffer


@given(
    st.lists(st.from_regex(rb"[\t -~\x80-\xff]{0,20}", fullmatch=True), min_size=1),
    st.integers(1, 7),
)
def test_lines_are_found_however_they_are_cut(lines: list[bytes], size: int) -> None:
    raw = b"".join(line + b"\r\n" for line in lines)
    buffer = Buffer()
    found: list[bytes] = []
    for at in range(0, len(raw), size):
        buffer.feed(raw[at : at + size])
        while (line := buffer.take_line(20)) is not None:
            found.append(line)
    assert found == lines


@pytest.mark.parametrize("raw", [b"a\n", b"a\rb", b"a\x00", b"\x7f\r\n", b"a\r\r\n"])
def test_a_line_ends_in_crlf_and_holds_no_control_character(raw: bytes) -> None:
    buffer = Buffer()
    buffer.feed(raw)
    with pytest.raises(RemoteProtocolError):
        buffer.take_line(9)


def test_a_line_is_bounded_before_it_is_complete() -> None:
    buffer = Buffer()
    buffer.feed(b"a" * 9)
    assert buffer.take_line(9) is None
    buffer.feed(b"\r")
    assert buffer.take_line(9) is None
    buffer = Buffer()
    buffer.feed(b"a" * 10)
    with pytest.raises(LineTooLongError):
        buffer.take_line(9)


class Scanning:
    """A pattern that counts the bytes that it is led over."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.count = 0

    def match(self, data: bytes, start: int) -> re.Match[bytes] | None:
        found = self._pattern.match(data, start)
        self.count += found.end() - start if found else 0
        return found


def test_no_byte_of_a_line_is_scanned_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    scanning = Scanning(LINE_TEXT)
    monkeypatch.setattr(buffer_module, "LINE_TEXT", scanning)
    buffer = Buffer()
    for _ in range(1000):
        buffer.feed(b"a")
        assert buffer.take_line(2000) is None
    buffer.feed(b"\r\n")
    assert buffer.take_line(2000) == b"a" * 1000
    assert scanning.count == 1000
