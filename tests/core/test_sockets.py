"""What is done to sockets in more than one place."""

import socket

import pytest

from neosocksd_core.sockets import unmapped


@pytest.mark.parametrize(
    ("packed", "host"),
    [
        (bytes(10) + b"\xff\xff\xc0\x00\x02\x01", "192.0.2.1"),
        (bytes(10) + b"\xff\xff\x00\x00\x00\x01", "0.0.0.1"),
        (bytes(8) + b"\xff\xff\x00\x00\xc0\x00\x02\x01", "::ffff:0:c000:201"),
        (bytes(15) + b"\x01", "::1"),
    ],
)
def test_only_a_mapped_address_is_that_of_an_ipv4_peer(packed: bytes, host: str) -> None:
    address = socket.inet_ntop(socket.AF_INET6, packed)
    assert unmapped((address, 80, 0, 0))[0] == host
