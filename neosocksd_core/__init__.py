"""The core of neosocksd: listeners, the session pipeline, chain dialling, the relay, configuration and plugin loading.

It knows no protocol: frontends, dialers and everything else come from plugins. What is imported here is the public
surface for plugin authors and embedders; see the modules for what each thing means.
"""

from neosocksd_core.addresses import Address, AddressError, Chain, Hop, SocketAddress
from neosocksd_core.errors import (
    ConfigurationError,
    DialError,
    ListenError,
    NeosocksdError,
    PluginError,
    ProtocolError,
)
from neosocksd_core.hookspecs import Commands, ServerContext, hookimpl
from neosocksd_core.protocols import (
    Authenticator,
    Claim,
    ClientConnection,
    ClientHandshake,
    Dialer,
    Filter,
    FilterState,
    Frontend,
    Handshake,
    Observer,
    Resolution,
    Resolver,
    Router,
)
from neosocksd_core.requests import (
    AddressType,
    Authenticate,
    Connect,
    Credentials,
    Decision,
    Forward,
    HandshakeEvent,
    Reason,
    Reject,
    Request,
    SessionInfo,
    Upstream,
)
from neosocksd_core.settings import CompoundFlag, Option, Section, Settings

__all__ = [
    "Address",
    "AddressError",
    "AddressType",
    "Authenticate",
    "Authenticator",
    "Chain",
    "Claim",
    "ClientConnection",
    "ClientHandshake",
    "Commands",
    "CompoundFlag",
    "ConfigurationError",
    "Connect",
    "Credentials",
    "Decision",
    "DialError",
    "Dialer",
    "Filter",
    "FilterState",
    "Forward",
    "Frontend",
    "Handshake",
    "HandshakeEvent",
    "Hop",
    "ListenError",
    "NeosocksdError",
    "Observer",
    "Option",
    "PluginError",
    "ProtocolError",
    "Reason",
    "Reject",
    "Request",
    "Resolution",
    "Resolver",
    "Router",
    "Section",
    "ServerContext",
    "SessionInfo",
    "Settings",
    "SocketAddress",
    "Upstream",
    "hookimpl",
]
