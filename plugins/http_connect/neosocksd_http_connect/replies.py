"""Replies of our own: a status, a line of text, and the end of the connection.

The text holds nothing that the client sent.
"""

from neosocksd_core import Reason
from neosocksd_http1 import Headers, ServerConnection, reason_phrase
from neosocksd_http_connect.credentials import CHALLENGE

BAD_REQUEST = 400
FORBIDDEN = 403
AUTHENTICATION_REQUIRED = 407
REQUEST_TIMEOUT = 408
EXPECTATION_FAILED = 417
BAD_GATEWAY = 502
GATEWAY_TIMEOUT = 504

_STATUSES = {Reason.NOT_ALLOWED: FORBIDDEN, Reason.TIMED_OUT: GATEWAY_TIMEOUT}


def status_of(reason: Reason) -> int:
    """The status that tells a client why its request was not granted."""
    return _STATUSES.get(reason, BAD_GATEWAY)


def reply(client: ServerConnection, status: int) -> bytes:
    """Write the reply *status*, after which the connection is to be closed."""
    fields = [(b"Content-Type", b"text/plain; charset=us-ascii"), (b"Connection", b"close")]
    if status == AUTHENTICATION_REQUIRED:
        fields.append(CHALLENGE)
    return client.respond(status, b"%d %b\n" % (status, reason_phrase(status)), Headers(fields))
