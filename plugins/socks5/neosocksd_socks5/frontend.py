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
    settings: Socks5Settings
    name: str = "socks"
    claim: Claim = Claim.DEFAULT
    first_bytes: frozenset[int] = frozenset((Version.SOCKS4, Version.SOCKS5))

    @property
    def listen(self) -> Sequence[str]:
        return self.settings.listen

    def handshake(self, connection: ClientConnection) -> SocksHandshake:
        """A new machine; whether clients must authenticate is as the core's settings say now."""
        settings = self.settings
        return SocksHandshake(self.server.settings.auth_required, settings.bind, settings.udp)
