"""What a server derives from its settings, at the start and anew at each reload: dialers, the chain, and who listens where."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neosocksd_core.addresses import Address, AddressError, Chain, parse_chain
from neosocksd_core.discovery import one_line
from neosocksd_core.errors import ConfigurationError, DialError
from neosocksd_core.hookspecs import ServerContext
from neosocksd_core.listening import Place, plan
from neosocksd_core.plugins import Plugins
from neosocksd_core.protocols import Dialer

_ANY_TARGET = Address("192.0.2.1", 80)


@dataclass(frozen=True, slots=True)
class Composition:
    """All of it, checked as far as it can be before anything is opened."""

    dialers: Mapping[str, Dialer]
    default_ports: Mapping[str, int]
    chain: Chain
    places: Sequence[Place]


def compose(server: ServerContext, plugins: Plugins) -> Composition:
    """Derive it from the settings of *server*.

    :raises ConfigurationError: naming the setting that cannot be used.
    """
    settings = server.settings
    dialers = plugins.dialers(server)
    ports = {scheme: dialer.default_port for scheme, dialer in dialers.items()}
    if settings.netdev and not _has_device(settings.netdev):
        raise ConfigurationError(f"netdev: there is no network device {settings.netdev!r}")
    try:
        chain = parse_chain(settings.proxy, ports)
    except AddressError as error:
        raise ConfigurationError(f"proxy: {error}") from None
    _try_chain(chain, dialers)
    places = plan(settings, plugins.frontends(server), plugins.control_listeners(server))
    return Composition(dialers, ports, chain, places)


def _try_chain(chain: Chain, dialers: Mapping[str, Dialer]) -> None:
    """See whether each hop can be asked for the next one at all.

    :raises ConfigurationError: if not, as with a user name that is too long for the protocol.
    """
    targets = [*(hop.address for hop in chain[1:]), _ANY_TARGET]
    for hop, target in zip(chain, targets, strict=False):
        try:
            dialers[hop.scheme].handshake(hop, target)
        except Exception as error:
            cause = str(error) if isinstance(error, DialError) else one_line(error)
            raise ConfigurationError(f"proxy: {hop}: {cause}") from error


def _has_device(name: str) -> bool:
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False
