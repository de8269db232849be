"""A WebSocket through the running command: by a tunnel, and by an upgrade of a forwarded request."""

import pytest

from neosocksd_core.testing import Client
from tests.peers.daemons import LOOPBACK, OurProxy
from tests.peers.origin import Origin

# Key and answer are those of RFC 6455 section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("early", [b"", b"\x89\x04ping"])
@pytest.mark.parametrize("how", ["forward", "connect"])
def test_a_websocket_opens_and_carries_bytes(
    proxy: OurProxy, origin: Origin, how: str, early: bytes
) -> None:
    host = f"{LOOPBACK}:{origin.port}"
    uri = f"http://{host}/chat" if how == "forward" else "/chat"
    with Client((LOOPBACK, proxy.http)) as client:
        if how == "connect":
            client.send(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert read_head(client).startswith("HTTP/1.1 200")
        client.send(
            f"GET {uri} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
            + early
        )
        head = read_head(client)
        assert head.startswith("HTTP/1.1 101")
        assert ACCEPT in head
        client.expect(early)
        client.send(b"\x82\x03\x00\xff\x7f" * 1000)  # a binary frame, and again, as they are
        client.expect(b"\x82\x03\x00\xff\x7f" * 1000)
        client.finish()
        client.expect_eof()


def read_head(client: Client) -> str:
    """The head of an answer, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.receive(1)
    return head.decode()
