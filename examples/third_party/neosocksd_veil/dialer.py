"""The client's side: ``veil://host[:port]`` as a hop of a chain."""

import os
from dataclasses import dataclass

from neosocksd_core import Address, DialError, Hop, Reason, ServerContext
from neosocksd_veil.config import VeilSettings
from neosocksd_veil.frontend import GRANTED, MAGIC, REFUSALS
from neosocksd_veil.masking import SALT_SIZE, VeilFilter, masks

LONGEST_TARGET = 255


@dataclass(frozen=True, slots=True)
class VeilDialer:
    """Asks the frontend of the other side for connections."""

    server: ServerContext
    default_port: int = 4430

    def handshake(self, hop: Hop, target: Address) -> "VeilClientHandshake":
        """A new machine with a salt of its own.

        :raises DialError: without a key, or for a target that the protocol cannot name.
        """
        secret = self.server.section(VeilSettings).secret
        if not secret:
            raise DialError(Reason.GENERAL_FAILURE, "the setting veil.key is empty")
        return VeilClientHandshake(secret, os.urandom(SALT_SIZE), target)


class VeilClientHandshake:
    """Sends everything at once, and waits for one byte."""

    def __init__(self, secret: bytes, salt: bytes, target: Address) -> None:
        name = str(target).encode()
        if len(name) > LONGEST_TARGET:
            raise DialError(Reason.GENERAL_FAILURE, "the target's name is too long")
        self._up, self._down = masks(secret, salt)
        self._request = salt + self._up.apply(MAGIC + bytes((len(name),)) + name)
        self._received = b""
        self.filter: VeilFilter | None = None

    @property
    def done(self) -> bool:
        return self.filter is not None

    def receive_data(self, data: bytes) -> None:
        """One byte is the answer; the rest stays masked, for the filter.

        :raises DialError: for a refusal.
        """
        self._received += data
        if self.done or not self._received:
            return
        status = self._down.apply(self._received[:1])[0]
        self._received = self._received[1:]
        if status != GRANTED:
            known = status <= len(REFUSALS)
            raise DialError(REFUSALS[status - 1] if known else Reason.GENERAL_FAILURE, "refused")
        self.filter = VeilFilter(self._up, self._down)

    def data_to_send(self) -> bytes:
        data, self._request = self._request, b""
        return data

    def trailing_data(self) -> bytes:
        data, self._received = self._received, b""
        return data
