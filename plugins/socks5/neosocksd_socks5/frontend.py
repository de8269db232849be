"""The frontend ``socks``: which listeners it takes, and a machine for each client that connects there."""

from collections.abc import Sequence
from dataclasses import dataclass

from neosocksd_core import Claim, ClientConnection, ServerContext
from neosocksd_socks5.config import Socks5Settings
from neosocksd_socks5.handshake import SocksHandshake
from neosocksd_socks5.protocol import Version


@dataclass(frozen=True, slots=True)
class SocksFrontend:
    """Serves the core's ``listen`` unless another frontend asks for it, and ``[socks5] listen``."""

    server: ServerContext
    name: str = "socks"
    claim: Claim = Claim.DEFAULT
    first_bytes: frozenset[int] = frozenset((Version.SOCKS4, Version.SOCKS5))

    @property
    def listen(self) -> Sequence[str]:
        return self.server.section(Socks5Settings).listen

    def handshake(self, connection: ClientConnection) -> SocksHandshake:
        """A new machine; what it serves, and whether clients must authenticate, is as the settings say now."""
        section = self.server.section(Socks5Settings)
        return SocksHandshake(self.server.settings.auth_required, section.bind, section.udp)
