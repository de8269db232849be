"""No input costs work out of proportion: ten times the bytes, ten times the calls.

That no byte of a line is scanned twice is told of in ``test_http1_buffer``.
"""

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from neosocksd_http1 import (
    ClientConnection,
    ConnectionClosed,
    EndOfMessage,
    Headers,
    Limits,
    RemoteProtocolError,
    Request,
    ServerConnection,
    Wait,
)

UNBOUNDED = Limits(
    line=1 << 24, head=1 << 24, fields=1 << 24, chunk_line=1 << 24, extensions=1 << 24
)

HEAD = b"GET / HTTP/1.1\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

INPUTS: dict[str, Callable[[int], bytes]] = {
    "long target": lambda n: b"GET /" + b"a" * n,
    "long name": lambda n: HEAD + b"a" * n + b"\r\n",
    "long value": lambda n: HEAD + b"A: " + b"b" * n + b"\r\n\r\n",
    "long blank": lambda n: HEAD + b"A:" + b" \t" * (n // 2) + b"\x00",
    "many fields": lambda n: HEAD + b"A: b\r\n" * (n // 6) + b"\r\n",
    "list of tokens": lambda n: HEAD + b"Connection: " + b"a," * (n // 2) + b"\r\n\r\n",
    "tiny chunks": lambda n: CHUNKED + b"1\r\nx\r\n" * (n // 6) + b"0\r\n\r\n",
    "long extension": lambda n: CHUNKED + b"1;a=" + b"b" * n,
    "many extensions": lambda n: CHUNKED + b"1" + b";a=b" * (n // 4) + b"\r\n",
    "quoted extension": lambda n: CHUNKED + b'1;a="' + b"\\x" * (n // 2) + b"\r\n",
    "blank extension": lambda n: CHUNKED + b"1" + b" " * n + b"\r\n",
    "trailers": lambda n: CHUNKED + b"0\r\n" + b"A: b\r\n" * (n // 6) + b"\r\n",
    "pipelined": lambda n: HEAD * (n // 16),
}


def count_calls(work: Callable[[], object]) -> int:
    """How many calls the interpreter makes in *work*, those of built-in functions among them."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def read(raw: bytes, size: int) -> None:
    """Read *raw* in pieces of *size*."""
    server = ServerConnection(UNBOUNDED)
    try:
        for at in range(0, len(raw), size):
            server.feed(raw[at : at + size])
            while not isinstance(server.next_event(), Wait | ConnectionClosed):
                pass
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("size", [1, 1 << 24], ids=["bytewise", "whole"])
@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS.keys())
def test_the_work_is_linear(make: Callable[[int], bytes], size: int) -> None:
    small = count_calls(lambda: read(make(1_000), size))
    large = count_calls(lambda: read(make(10_000), size))
    assert large <= 10 * small + 100


def test_a_body_in_small_pieces_is_linear_work() -> None:
    def read_body(count: int) -> None:
        client = ClientConnection()
        client.send(Request(b"GET", b"/"))
        client.send(EndOfMessage())
        client.feed(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(count):
            client.feed(b"xy")
            while not isinstance(client.next_event(), Wait):
                pass

    assert (
        count_calls(lambda: read_body(10_000)) <= 10 * count_calls(lambda: read_body(1_000)) + 100
    )


def test_a_field_of_a_whole_head_is_read_and_written_with_few_calls() -> None:
    def cost(count: int) -> tuple[int, int]:
        head = HEAD + b"A: b\r\n" * count + b"\r\n"
        fields = Headers([(b"A", b"b")] * count)
        server = ServerConnection()
        return (
            count_calls(lambda: read(head, len(head))),
            count_calls(lambda: server.respond(400, b"", fields)),
        )

    read_few, written_few = cost(10)
    read_many, written_many = cost(110)
    # Besides what the index by name takes, which is three, its value is trimmed.
    assert read_many - read_few <= 4 * 100
    assert written_many - written_few <= 3 * 100
