"""How much a peer may send before it is refused."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read, in bytes where nothing else is said."""

    line: int = 8192
    """The first line, and each header line; over it, 414 and 431."""

    head: int = 65536
    """All lines of a head together, and of a trailer section."""

    fields: int = 128
    """Number of header fields, and of trailers."""

    body: int | None = None
    """The body; None for no bound. Over it, 413."""

    chunk_line: int = 1024
    """A chunk size with its extensions."""

    extensions: int = 16384
    """The chunk extensions of one body together."""

    informational: int = 16
    """Number of interim responses before the final one."""


REQUEST_LIMITS: Final = Limits()
RESPONSE_LIMITS: Final = Limits(line=65536)
