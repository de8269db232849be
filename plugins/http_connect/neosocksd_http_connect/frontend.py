"""The frontend ``http``: which listeners it takes, and a machine for each of its clients."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from neosocksd_core import Claim, ClientConnection, ServerContext
from neosocksd_http_connect.config import TAKE_OVER, HttpSettings
from neosocksd_http_connect.handshake import HttpHandshake


@dataclass(frozen=True, slots=True)
class HttpFrontend:
    """Serves ``http_listen``, and the core's ``listen`` if that was asked for."""

    server: ServerContext
    name: str = "http"
    first_bytes: frozenset[int] = frozenset(string.ascii_letters.encode("ascii"))

    @property
    def listen(self) -> Sequence[str]:
        """The listeners of its own."""
        return tuple(a for a in self.server.section(HttpSettings).listen if a != TAKE_OVER)

    @property
    def claim(self) -> Claim:
        """EXPLICIT if ``--http`` was given without an address."""
        taking = TAKE_OVER in self.server.section(HttpSettings).listen
        return Claim.EXPLICIT if taking else Claim.NONE

    def handshake(self, connection: ClientConnection) -> HttpHandshake:
        """A new machine; whether clients must authenticate is as the settings say now."""
        del connection
        return HttpHandshake(self.server.settings.auth_required)
