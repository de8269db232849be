"""What an intermediary does to the header of a message that it passes on (RFC 9110 section 7.6)."""

from collections.abc import Collection
from typing import Final

from .headers import Headers

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that are for one connection only."""

KEPT: Final = frozenset((b"host", b"content-length"))
"""Fields that ``Connection`` can't name away: without them the next reader finds another server or
another body.
"""


def end_to_end(headers: Headers, unwanted: Collection[bytes] = ()) -> Headers:
    """Return the fields that travel on, without those for one connection only.

    These are the hop-by-hop ones and those that ``Connection`` names. *unwanted* are further names,
    in lower case. ``Transfer-Encoding`` is taken off as well, since the body is framed anew: who
    sends it on declares that.
    """
    named = frozenset(headers.tokens(b"connection")) - KEPT
    return headers.without(HOP_BY_HOP | named | frozenset(unwanted))


def with_via(headers: Headers, pseudonym: bytes, version: bytes = b"1.1") -> Headers:
    """Return *headers* with this intermediary appended to ``Via`` (RFC 9110 section 7.6.3)."""
    return headers.plus((b"Via", b"%b %b" % (version, pseudonym)))


def passed_through(headers: Headers, pseudonym: bytes) -> bool:
    """Tell whether ``Via`` names *pseudonym*: the message has come round in a loop."""
    wanted = pseudonym.lower()
    for member in headers.tokens(b"via"):
        words = member.split()
        if len(words) > 1 and words[1] == wanted:
            return True
    return False


def upgrade_protocols(headers: Headers) -> tuple[bytes, ...]:
    """Return the protocols that the sender wants to switch to, in lower case.

    There are none if ``Connection`` does not name ``Upgrade`` (RFC 9110 section 7.8).
    """
    if b"upgrade" not in headers.tokens(b"connection"):
        return ()
    return headers.tokens(b"upgrade")
