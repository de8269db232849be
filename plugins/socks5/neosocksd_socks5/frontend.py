"""The frontend ``socks``: which listeners it takes, and a machine for each client that connects there."""

from collections.abc import Sequence
from dataclasses import dataclass

from neosocksd_core import Claim, ClientConnection, ServerContext
from neosocksd_socks5.config import Socks5Settings, parse_ports
from neosocksd_socks5.handshake import Extras, SocksHandshake
from neosocksd_socks5.protocol import Version


@dataclass(frozen=True, slots=True)
class SocksFrontend:
    """Serves the core's ``listen`` unless another frontend asks for it, and ``[socks5] listen``."""

    server: ServerContext
    listen: Sequence[str]
    extras: Extras
    name: str = "socks"
    claim: Claim = Claim.DEFAULT
    first_bytes: frozenset[int] = frozenset((Version.SOCKS4, Version.SOCKS5))

    def handshake(self, connection: ClientConnection) -> SocksHandshake:
        """A new machine; whether clients must authenticate is as the core's settings say now."""
        return SocksHandshake(self.server.settings.auth_required, self.extras)


def make_frontend(server: ServerContext) -> SocksFrontend:
    """The frontend, as the plugin's settings have it."""
    settings = server.section(Socks5Settings)
    ports = parse_ports(settings.ports)
    extras = Extras(settings.bind, settings.udp, settings.announce, ports)
    return SocksFrontend(server, settings.listen, extras)
