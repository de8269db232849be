"""Datagrams between a client and us: what a frontend's protocol puts around them. Pure, as filters are."""

from typing import Protocol

from neosocksd_core.addresses import Address, SocketAddress


class DatagramCodec(Protocol):
    """How the datagrams of one association travel."""

    def decode(self, datagram: bytes) -> tuple[Address, bytes] | None:
        """Where a datagram of the client is to go, and its payload; None for one that is dropped."""
        ...

    def encode(self, source: SocketAddress, payload: bytes) -> bytes:
        """The datagram that brings the client a payload from *source*."""
        ...
