"""The core of neosocksd: listeners, the session pipeline, chain dialling, the relay, configuration and plugin loading.

It knows no protocol: frontends, dialers and everything else come from plugins. The names here are the public surface for
plugin authors and embedders; see the modules for what each thing means. A module is imported when one of its names is first
asked for, so that a command that only reads settings need not load the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neosocksd_core.addresses import Address, AddressError, Chain, Hop, SocketAddress
    from neosocksd_core.control import ControlConnection
    from neosocksd_core.datagrams import DatagramCodec
    from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
    from neosocksd_core.errors import (
        ConfigurationError,
        DialError,
        ListenError,
        NeosocksdError,
        PluginError,
        ProtocolError,
    )
    from neosocksd_core.filters import Filter, FilterState
    from neosocksd_core.hookspecs import Commands, ServerContext, hookimpl
    from neosocksd_core.protocols import (
        Authenticator,
        Claim,
        ClientConnection,
        ClientHandshake,
        Dialer,
        Frontend,
        Handshake,
        Observer,
        Resolution,
        Resolver,
        Router,
    )
    from neosocksd_core.reasons import Reason
    from neosocksd_core.requests import (
        AddressType,
        Answered,
        Associate,
        Authenticate,
        Bind,
        Connect,
        Credentials,
        Decision,
        Forward,
        HandshakeEvent,
        Reject,
        Request,
        SessionInfo,
        Upstream,
    )
    from neosocksd_core.services import ControlListener, Service
    from neosocksd_core.settings import CompoundFlag, ListenAddresses, Option, Section, Settings

__all__ = [
    "Address",
    "AddressError",
    "AddressType",
    "Answered",
    "Associate",
    "Authenticate",
    "Authenticator",
    "Bind",
    "Chain",
    "Claim",
    "ClientConnection",
    "ClientHandshake",
    "Commands",
    "CompoundFlag",
    "ConfigurationError",
    "Connect",
    "ControlConnection",
    "ControlListener",
    "Credentials",
    "DatagramCodec",
    "Decision",
    "DialError",
    "Dialer",
    "Endpoint",
    "EndpointRequest",
    "EndpointResponse",
    "Filter",
    "FilterState",
    "Forward",
    "Frontend",
    "Handshake",
    "HandshakeEvent",
    "Hop",
    "ListenAddresses",
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
    "Service",
    "SessionInfo",
    "Settings",
    "SocketAddress",
    "Upstream",
    "hookimpl",
]

_HOME = {
    "addresses": (
        "Address",
        "AddressError",
        "Chain",
        "Hop",
        "SocketAddress",
    ),
    "control": ("ControlConnection",),
    "datagrams": ("DatagramCodec",),
    "endpoints": ("Endpoint", "EndpointRequest", "EndpointResponse"),
    "errors": (
        "ConfigurationError",
        "DialError",
        "ListenError",
        "NeosocksdError",
        "PluginError",
        "ProtocolError",
    ),
    "filters": ("Filter", "FilterState"),
    "hookspecs": (
        "Commands",
        "ServerContext",
        "hookimpl",
    ),
    "protocols": (
        "Authenticator",
        "Claim",
        "ClientConnection",
        "ClientHandshake",
        "Dialer",
        "Frontend",
        "Handshake",
        "Observer",
        "Resolution",
        "Resolver",
        "Router",
    ),
    "reasons": ("Reason",),
    "requests": (
        "AddressType",
        "Answered",
        "Associate",
        "Authenticate",
        "Bind",
        "Connect",
        "Credentials",
        "Decision",
        "Forward",
        "HandshakeEvent",
        "Reject",
        "Request",
        "SessionInfo",
        "Upstream",
    ),
    "services": ("ControlListener", "Service"),
    "settings": (
        "CompoundFlag",
        "ListenAddresses",
        "Option",
        "Section",
        "Settings",
    ),
}

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
