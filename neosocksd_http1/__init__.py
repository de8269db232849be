r"""A strict HTTP/1.1 machine (RFC 9110, RFC 9112), server and client, without I/O.

Feed a machine the bytes that came, ask it for events until it says :data:`NEED_DATA` or
:data:`PAUSED`, and let it write what is to be sent::

    server = ServerConnection()
    server.feed(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n\x16\x03\x01")
    request = server.next_event()       # Request(method=b"CONNECT", target=b"example.org:443", …)
    answer = server.send(Response(200)) # b"HTTP/1.1 200 OK\r\n\r\n"
    early = server.trailing_data()      # b"\x16\x03\x01"

Everything off the wire is bytes. A peer's fault raises :exc:`RemoteProtocolError`, which names the
status to answer; a misuse by the program raises :exc:`LocalProtocolError`. Where the RFCs let a
recipient choose between repairing and refusing, this one refuses: what it accepts, every other
reader must read in the same way. Input is bounded by :class:`Limits`, and its cost is linear in its
size however it is cut.

Beside the machines: request targets (:func:`parse_authority`, :func:`parse_absolute`) and what an
intermediary needs (:func:`end_to_end`, :func:`with_via`, :func:`passed_through`,
:func:`upgrade_protocols`).
"""

from .client import ClientConnection
from .connection import Connection, State
from .errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from .events import (
    NEED_DATA,
    PAUSED,
    ClientEvent,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
    ServerEvent,
    Wait,
)
from .forwarding import end_to_end, passed_through, upgrade_protocols, with_via
from .framing import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    Chunked,
    FixedLength,
    Framing,
    UntilClose,
    declared_framing,
    request_framing,
    response_framing,
)
from .headers import NO_HEADERS, Headers
from .limits import REQUEST_LIMITS, RESPONSE_LIMITS, Limits
from .server import ServerConnection
from .targets import AbsoluteTarget, Authority, parse_absolute, parse_authority
from .writer import reason_phrase

__all__ = [
    "CHUNKED",
    "NEED_DATA",
    "NO_BODY",
    "NO_HEADERS",
    "PAUSED",
    "REQUEST_LIMITS",
    "RESPONSE_LIMITS",
    "UNTIL_CLOSE",
    "AbsoluteTarget",
    "Authority",
    "Chunked",
    "ClientConnection",
    "ClientEvent",
    "Connection",
    "ConnectionClosed",
    "Data",
    "EndOfMessage",
    "FixedLength",
    "Framing",
    "Headers",
    "InformationalResponse",
    "Limits",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "Request",
    "Response",
    "ServerConnection",
    "ServerEvent",
    "State",
    "UntilClose",
    "Wait",
    "declared_framing",
    "end_to_end",
    "parse_absolute",
    "parse_authority",
    "passed_through",
    "reason_phrase",
    "request_framing",
    "response_framing",
    "upgrade_protocols",
    "with_via",
]
