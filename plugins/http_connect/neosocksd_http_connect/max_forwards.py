"""``Max-Forwards``: through how many proxies an OPTIONS or a TRACE may still go (RFC 9110 section 7.6.2)."""

import re

from neosocksd_http1 import ClientConnection, Headers, Request, ServerConnection

_NUMBER = re.compile(rb"[0-9]+")
_MOST_DIGITS = 9
_MOST = 10**_MOST_DIGITS - 1
"""What a larger number counts for: the most that is supported here."""
_SENSITIVE = frozenset((b"authorization", b"cookie", b"proxy-authorization"))


def forwards_left(request: Request) -> int | None:
    """How many proxies the request may still go through; None where it does not say, or is no such request."""
    if request.method not in (b"OPTIONS", b"TRACE"):
        return None
    values = request.headers.get_all(b"max-forwards")
    if len(values) != 1 or _NUMBER.fullmatch(values[0]) is None:
        return None
    digits = values[0].lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else _MOST


def answer_as_recipient(client: ServerConnection, request: Request) -> bytes:
    """Write the answer to a request that may go no further, after which the connection is to be closed.

    A TRACE gets its own head back without what is secret in it (RFC 9110 section 9.3.8).
    """
    fields, content = [(b"Connection", b"close")], b""
    if request.method == b"TRACE":
        fields.append((b"Content-Type", b"message/http"))
        shown = Request(request.method, request.target, request.headers.without(_SENSITIVE))
        content = ClientConnection().send(shown)
    return client.respond(200, content, Headers(fields))
