"""What names have stood for lately.

A name may change its addresses from one lookup to the next. Who has been sent to an address because a name stood for it is judged by that, whatever
the name stands for by then.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence

KEPT_SECONDS = 60.0
MOST_NAMES = 4096
MOST_ADDRESSES = 256
"""Of one name; the last ones are kept."""


class RecentAnswers:
    """The addresses that each name was found to have, in the last answers to it."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        """By name: until when they are kept, and the addresses, the last ones at the end."""

    def add(self, host: str, addresses: tuple[str, ...]) -> None:
        """*host* has these addresses now."""
        name = _fold(host)
        kept = tuple(address for address in self.of(host) if address not in addresses)
        self._found[name] = time.monotonic() + KEPT_SECONDS, (kept + addresses)[-MOST_ADDRESSES:]
        self._found.move_to_end(name)
        if len(self._found) > MOST_NAMES:
            self._found.popitem(last=False)

    def of(self, host: str) -> Sequence[str]:
        """All addresses that *host* has had, however it is written."""
        until, addresses = self._found.get(_fold(host), (0.0, ()))
        return addresses if time.monotonic() < until else ()


def _fold(host: str) -> str:
    """One spelling of a name: DNS knows no case, and a dot at the end says but that it is whole."""
    return host.lower().removesuffix(".")
