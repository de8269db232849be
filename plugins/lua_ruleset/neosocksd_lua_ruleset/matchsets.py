"""The natives behind ``match.domain``, ``match.host``, ``inet.subnet`` and ``inet6.subnet`` for lists too big for Lua tables.

A list crosses the bridge as one string, a member a line; the set that is made of it stays here under a number, until the Lua
object that holds the number is collected.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import TypeVar

from neosocksd_lua_ruleset.bridge import LuaCallError, Native
from neosocksd_lua_ruleset.intervals import ListError, Subnets4, Subnets6
from neosocksd_lua_ruleset.namesets import Names

_Set = TypeVar("_Set")

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class MatchSets:
    """The sets of one Lua runtime."""

    def __init__(self) -> None:
        self._names: dict[int, Names] = {}
        self._subnets4: dict[int, Subnets4] = {}
        self._subnets6: dict[int, Subnets6] = {}
        self._last = 0

    def __len__(self) -> int:
        """How many sets are held."""
        return len(self._names) + len(self._subnets4) + len(self._subnets6)

    def natives(self) -> Mapping[str, Native]:
        """What Lua calls, by the names under which it does."""
        return {
            "matchset_names": self.make_names,
            "matchset_subnets4": self.make_subnets4,
            "matchset_subnets6": self.make_subnets6,
            "matchset_has_name": self.has_name,
            "matchset_has_ip4": self.has_ip4,
            "matchset_has_ip6": self.has_ip6,
            "matchset_free": self.free,
            "matchset_trim": trim,
        }

    def make_names(self, text: bytes, below: bool) -> int:
        """The number of a set of names, one a line; *below* as :class:`Names` has it."""
        return self._keep(self._names, lambda: Names(text, below=below))

    def make_subnets4(self, text: bytes) -> int:
        """The number of a set of IPv4 prefixes, one a line."""
        return self._keep(self._subnets4, lambda: Subnets4(text))

    def make_subnets6(self, text: bytes) -> int:
        """The number of a set of IPv6 prefixes, one a line."""
        return self._keep(self._subnets6, lambda: Subnets6(text))

    def has_name(self, number: int, host: bytes) -> bool:
        return _held(self._names, number).contains(host)

    def has_ip4(self, number: int, address: int) -> bool:
        return _held(self._subnets4, number).contains(address)

    def has_ip6(self, number: int, high: int, low: int) -> bool:
        return _held(self._subnets6, number).contains(high, low)

    def free(self, number: int) -> None:
        """Forget a set; one that is not there is no error."""
        self._names.pop(number, None)
        self._subnets4.pop(number, None)
        self._subnets6.pop(number, None)

    def _keep(self, sets: dict[int, _Set], make: Callable[[], _Set]) -> int:
        try:
            made = make()
        except ListError as error:
            raise LuaCallError(str(error)) from None
        except MemoryError:
            raise LuaCallError("not enough memory") from None
        self._last += 1
        sets[self._last] = made
        return self._last


def trim() -> None:
    """Give memory that was freed back to the system, where the C library keeps it: some 20 ms after a list of a million."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def _held(sets: Mapping[int, _Set], number: int) -> _Set:
    found = sets.get(number)
    if found is None:
        raise LuaCallError("the list is gone")
    return found
