"""Wrong tokens, told in the log: who guesses is seen, and so is a peer that still has the former one."""

import socket
import time
from logging import Logger

from neosocksd_core.addresses import Address

QUIET_SECONDS = 60.0
"""After a line there is none for so long, however many wrong tokens come."""


class Denials:
    """Counts wrong tokens, and logs them seldom enough for who guesses not to fill the log."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._untold = 0
        self._next = 0.0

    def add(self, caller: socket.socket) -> None:
        """*caller* has sent a wrong token."""
        self._untold += 1
        now = time.monotonic()
        if now < self._next:
            return
        others = f", and {self._untold - 1} times before" if self._untold > 1 else ""
        self._log.warning("rest_api: wrong token from %s%s", _name(caller), others)
        self._untold, self._next = 0, now + QUIET_SECONDS


def _name(caller: socket.socket) -> str:
    try:
        peer = caller.getpeername()
    except OSError:
        return "a caller that has gone"
    if caller.family == socket.AF_UNIX:
        return "a Unix socket"
    return str(Address(peer[0], peer[1]))
