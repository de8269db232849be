"""No input costs time out of proportion: ten times the bytes, about ten times the time."""

import time
from collections.abc import Callable

import pytest

from neosocksd_http1 import (
    ClientConnection,
    ConnectionClosed,
    EndOfMessage,
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


def seconds(raw: bytes, size: int) -> float:
    """CPU time to read *raw* in pieces of *size*."""
    server = ServerConnection(UNBOUNDED)
    begin = time.process_time()
    try:
        for at in range(0, len(raw), size):
            server.feed(raw[at : at + size])
            while not isinstance(server.next_event(), Wait | ConnectionClosed):
                pass
    except RemoteProtocolError:
        pass
    return time.process_time() - begin


@pytest.mark.parametrize("size", [1, 1 << 24], ids=["bytewise", "whole"])
@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS.keys())
def test_the_cost_is_linear(make: Callable[[int], bytes], size: int) -> None:
    small = min(seconds(make(4_000), size) for _ in range(3))
    large = min(seconds(make(40_000), size) for _ in range(2))
    assert large < 30 * max(small, 0.002)


def test_a_body_in_small_pieces_costs_linear_time() -> None:
    def read(count: int) -> float:
        client = ClientConnection()
        client.send(Request(b"GET", b"/"))
        client.send(EndOfMessage())
        begin = time.process_time()
        client.feed(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(count):
            client.feed(b"xy")
            while not isinstance(client.next_event(), Wait):
                pass
        return time.process_time() - begin

    assert read(50_000) < 30 * max(read(5_000), 0.002)
