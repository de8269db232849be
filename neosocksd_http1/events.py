"""What a machine says when it is asked for the next event, and what it is told to send."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from .headers import NO_HEADERS, Headers


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request (RFC 9112 section 3)."""

    method: bytes
    target: bytes
    headers: Headers = NO_HEADERS
    version: bytes = b"1.1"

    @property
    def expects_continue(self) -> bool:
        """The client waits for ``100 Continue`` before its body (RFC 9110 section 10.1.1)."""
        return self.version == b"1.1" and b"100-continue" in self.headers.tokens(b"expect")


@dataclass(frozen=True, slots=True)
class InformationalResponse:
    """An interim response, status 1xx (RFC 9110 section 15.2). 101 ends HTTP on the connection."""

    status: int
    headers: Headers = NO_HEADERS
    reason: bytes = b""
    version: bytes = b"1.1"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a final response, status 200 to 599 (RFC 9112 section 4)."""

    status: int
    headers: Headers = NO_HEADERS
    reason: bytes = b""
    version: bytes = b"1.1"


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a body, without the framing. Where it is cut means nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfMessage:
    """The message is complete, as its framing says. Trailers are never merged into the headers."""

    trailers: Headers = NO_HEADERS


END_OF_MESSAGE: Final = EndOfMessage()
"""The end of a message without trailers."""


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The peer ended its stream between two messages."""


class Wait(Enum):
    """Why there is no event now."""

    NEED_DATA = auto()
    """Feed more bytes, or the end of the stream."""

    PAUSED = auto()
    """Nothing more is read before the cycle is over; what arrived is kept."""


NEED_DATA: Final = Wait.NEED_DATA
PAUSED: Final = Wait.PAUSED

ServerEvent: TypeAlias = Request | Data | EndOfMessage | ConnectionClosed | Wait
"""What a server machine reads."""

ClientEvent: TypeAlias = (
    InformationalResponse | Response | Data | EndOfMessage | ConnectionClosed | Wait
)
"""What a client machine reads."""
