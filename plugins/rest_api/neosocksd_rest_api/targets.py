"""Request targets, decoded strictly: what two readers could read in two ways is no request (RFC 9112 section 3.2, RFC 3986).

And the ASGI scope of a request, which is made of them.
"""

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from neosocksd_http1 import RemoteProtocolError, Request, parse_absolute

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})|#")
"""What no target holds: a percent sign that encodes nothing, and a fragment."""


@dataclass(frozen=True, slots=True)
class Target:
    """A path, decoded, and the query as it was sent. ``authority`` is that of an absolute target, which replaces ``Host``."""

    path: str
    raw_path: bytes
    query: bytes
    authority: bytes | None = None


def parse_target(target: bytes, method: bytes) -> Target:
    """Take the target of a request apart.

    :raises RemoteProtocolError: if it is malformed, holds a control character, or is no path at all.
    """
    authority = None
    if not target.startswith(b"/") and target != b"*":
        absolute = parse_absolute(target, method)
        target, authority = absolute.origin, absolute.authority.host_field()
    raw_path, _, query = target.partition(b"?")
    if _MALFORMED.search(target) is not None:
        raise RemoteProtocolError("malformed percent-encoding")
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("the path is not UTF-8") from None
    if not path.isprintable():
        raise RemoteProtocolError("the path holds a control character")
    return Target(path, raw_path, query, authority)


def make_scope(request: Request, target: Target) -> MutableMapping[str, Any]:
    """The scope of a request, as ASGI 3 says."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
        "client": None,
        "server": None,
    }


def with_host(request: Request, target: Target) -> Request:
    """An absolute target names the host, whatever ``Host`` says (RFC 9112 section 3.2.2)."""
    if target.authority is None:
        return request
    headers = request.headers.without((b"host",)).plus((b"Host", target.authority))
    return Request(request.method, request.target, headers, request.version)
