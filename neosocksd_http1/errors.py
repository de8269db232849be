"""What can go wrong, split by whose fault it is."""

from typing import Final

BAD_REQUEST: Final = 400
CONTENT_TOO_LARGE: Final = 413
URI_TOO_LONG: Final = 414
FIELDS_TOO_LARGE: Final = 431
BAD_GATEWAY: Final = 502


class ProtocolError(Exception):
    """Somebody broke the protocol. Only the two kinds below are raised."""


class LocalProtocolError(ProtocolError):
    """Our own program asked for something that must not be sent, or at the wrong moment."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not HTTP/1.1, or that two readers could read in two ways.

    The connection is of no further use for reading: a server may still answer *status*, then
    closes.
    """

    def __init__(self, message: str, status: int = BAD_REQUEST) -> None:
        """Remember *message*, which never quotes the peer's bytes, and the *status* to answer."""
        super().__init__(message)
        self.message = message
        self.status = status
