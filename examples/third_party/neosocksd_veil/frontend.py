"""The server's side: what listens, and the machine that reads a client's request."""

from collections.abc import Sequence
from dataclasses import dataclass

from neosocksd_core import (
    AddressType,
    Claim,
    ClientConnection,
    Connect,
    HandshakeEvent,
    ProtocolError,
    Reason,
    ServerContext,
    SocketAddress,
)
from neosocksd_core.addresses import AddressError, parse_address
from neosocksd_veil.config import VeilSettings
from neosocksd_veil.masking import SALT_SIZE, Mask, VeilFilter, masks

MAGIC = b"veil"
HEAD_SIZE = len(MAGIC) + 1
GRANTED = 0
REFUSALS = tuple(Reason)
"""A refusal is the number, from 1 on, of its reason in this order."""


@dataclass(frozen=True, slots=True)
class VeilFrontend:
    """Listens where the settings say so, and leaves the core's ``listen`` to others."""

    server: ServerContext
    name: str = "veil"
    claim: Claim = Claim.NONE
    first_bytes: tuple[int, ...] = ()  # noise begins with any byte

    @property
    def listen(self) -> Sequence[str]:
        return self.server.section(VeilSettings).listen

    def handshake(self, connection: ClientConnection) -> "VeilHandshake":
        return VeilHandshake(self.server.section(VeilSettings).secret)


class VeilHandshake:
    """Reads salt, head and target, never a byte more: what follows is the filter's."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._received = b""
        self._answer = b""
        self._masks: tuple[Mask, Mask] | None = None
        self._length: int | None = None

    def receive_data(self, data: bytes) -> None:
        self._received += data

    def next_event(self) -> HandshakeEvent | None:
        if self._masks is None:
            if len(self._received) < SALT_SIZE:
                return None
            self._masks = masks(self._secret, self._take(SALT_SIZE))
        up, _ = self._masks
        if self._length is None:
            if len(self._received) < HEAD_SIZE:
                return None
            head = up.apply(self._take(HEAD_SIZE))
            if not head.startswith(MAGIC):
                raise ProtocolError("not a client of ours, or of another key")
            self._length = head[-1]
        if len(self._received) < self._length:
            return None
        try:
            target = parse_address(up.apply(self._take(self._length)).decode("ascii"))
        except (AddressError, UnicodeDecodeError):
            raise ProtocolError("the target is no address") from None
        return Connect(target, AddressType.DOMAIN, None, "veil")

    def data_to_send(self) -> bytes:
        data, self._answer = self._answer, b""
        return data

    def trailing_data(self) -> bytes:
        """Bytes of the tunnel, still masked: the session feeds them to the filter."""
        return self._take(len(self._received))

    def judge(self, accepted: bool) -> None:
        """Never asked for: a client of this protocol has no credentials but the key."""

    def grant(self, bound: SocketAddress) -> VeilFilter:
        assert self._masks is not None
        self._reply(GRANTED)
        return VeilFilter(*self._masks)

    def reject(self, reason: Reason) -> None:
        self._reply(1 + REFUSALS.index(reason))

    def expire(self) -> None:
        """Nothing is said to a client that says nothing."""

    def _reply(self, status: int) -> None:
        if self._masks is not None:
            self._answer += self._masks[1].apply(bytes((status,)))

    def _take(self, size: int) -> bytes:
        taken, self._received = self._received[:size], self._received[size:]
        return taken
