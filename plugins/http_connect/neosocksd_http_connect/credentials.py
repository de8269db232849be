"""Basic credentials (RFC 7617), read from clients and written to proxies."""

import re
from base64 import b64decode, b64encode

from neosocksd_core import Credentials
from neosocksd_http1 import Headers

CHALLENGE = (b"Proxy-Authenticate", b'Basic realm="proxy"')

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def read_credentials(headers: Headers) -> Credentials | None:
    """What a request's ``Proxy-Authorization`` says.

    None if it is absent, repeated, malformed or not Basic.
    """
    values = headers.get_all(b"proxy-authorization")
    if len(values) != 1:
        return None
    scheme, _, encoded = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = b64decode(encoded.strip(b" "), validate=True)
    except ValueError:
        return None
    username, colon, password = text.partition(b":")
    if not colon or _CONTROL.search(text):
        return None
    return Credentials(username, password)


def write_credentials(username: bytes, password: bytes | None) -> tuple[bytes, bytes]:
    """The field ``Proxy-Authorization`` for these.

    :raises ValueError: a colon in the name, or a control character, which Basic has no way to say (RFC 7617 section 2).
    """
    text = username + b":" + (password or b"")
    if b":" in username or _CONTROL.search(text):
        raise ValueError("a user name with a colon, or a control character, cannot be sent")
    return b"Proxy-Authorization", b"Basic " + b64encode(text)
