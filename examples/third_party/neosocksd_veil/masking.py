"""The key stream, and the filter that takes it off and puts it on while the relay runs."""

from hashlib import shake_128

from neosocksd_core import FilterState

SALT_SIZE = 16
BLOCK_SIZE = 4096


class Mask:
    """One direction's key stream. XOR is its own inverse, so the same object masks on one side and unmasks on the other."""

    def __init__(self, secret: bytes, salt: bytes, direction: bytes) -> None:
        self._seed = len(secret).to_bytes(4, "big") + secret + salt + direction
        self._block = 0
        self._stream = b""

    def apply(self, data: bytes) -> bytes:
        """*data* under the next bytes of the stream."""
        parts = [self._stream]
        have = len(self._stream)
        while have < len(data):
            parts.append(shake_128(self._seed + self._block.to_bytes(8, "big")).digest(BLOCK_SIZE))
            self._block += 1
            have += BLOCK_SIZE
        stream = b"".join(parts)
        size = len(data)
        self._stream = stream[size:]
        masked = int.from_bytes(data, "little") ^ int.from_bytes(stream[:size], "little")
        return masked.to_bytes(size, "little")


def masks(secret: bytes, salt: bytes) -> tuple[Mask, Mask]:
    """The streams of one connection: towards the target, and towards the client."""
    return Mask(secret, salt, b"up"), Mask(secret, salt, b"down")


class VeilFilter:
    """Stands in the relay of either side, and hands every byte on under its direction's mask."""

    failure = None  # there are no bytes that a mask cannot take

    def __init__(self, up: Mask, down: Mask) -> None:
        self._up = up
        self._down = down
        self._to_upstream = b""
        self._to_client = b""
        self.upstream_ended = False
        self.client_ended = False
        self.state = FilterState.RELAY

    def from_client(self, data: bytes) -> None:
        self._to_upstream += self._up.apply(data)
        self.upstream_ended = not data

    def from_upstream(self, data: bytes) -> None:
        self._to_client += self._down.apply(data)
        self.client_ended = not data

    def upstream_failed(self) -> None:
        self.state = FilterState.ABORT

    def to_client(self) -> bytes:
        data, self._to_client = self._to_client, b""
        return data

    def to_upstream(self) -> bytes:
        data, self._to_upstream = self._to_upstream, b""
        return data
