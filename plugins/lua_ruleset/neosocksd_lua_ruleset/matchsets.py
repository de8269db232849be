"""The natives behind ``match.exact``, ``match.host``, ``match.domain``, ``inet.subnet`` and ``inet6.subnet`` for lists too big for Lua tables.

A list crosses the bridge as text, a member a line, in pieces of whole lines: one that is a Lua table is never a text as a whole. The
set that is made of it stays here under a number, until the Lua object that holds the number is collected.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import TypeVar

from neosocksd_lua_ruleset.bridge import LuaCallError, Native
from neosocksd_lua_ruleset.intervals import ListError, Subnets4, Subnets6
from neosocksd_lua_ruleset.namesets import Names

_Set = TypeVar("_Set")

_Growing = Names | Subnets4 | Subnets6

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class MatchSets:
    """The sets of one Lua runtime."""

    def __init__(self) -> None:
        self._growing: dict[int, _Growing] = {}
        self._names: dict[int, Names] = {}
        self._subnets4: dict[int, Subnets4] = {}
        self._subnets6: dict[int, Subnets6] = {}
        self._last = 0

    def __len__(self) -> int:
        """How many sets are held."""
        return len(self._growing) + len(self._names) + len(self._subnets4) + len(self._subnets6)

    def natives(self) -> Mapping[str, Native]:
        """What Lua calls, by the names under which it does."""
        return {
            "matchset_names": self.make_names,
            "matchset_subnets4": self.make_subnets4,
            "matchset_subnets6": self.make_subnets6,
            "matchset_add": self.add,
            "matchset_seal": self.seal,
            "matchset_has_name": self.has_name,
            "matchset_has_ip4": self.has_ip4,
            "matchset_has_ip6": self.has_ip6,
            "matchset_free": self.free,
            "matchset_trim": trim,
        }

    def make_names(self, below: bool) -> int:
        """The number of a set of names that is empty yet; *below* as :class:`Names` has it."""
        return self._grow(Names(below=below))

    def make_subnets4(self) -> int:
        """The number of a set of IPv4 prefixes that is empty yet."""
        return self._grow(Subnets4())

    def make_subnets6(self) -> int:
        """The number of a set of IPv6 prefixes that is empty yet."""
        return self._grow(Subnets6())

    def add(self, number: int, text: bytes) -> None:
        """Add members, one a line. If that fails, the set is gone."""
        growing = self._take(number)
        try:
            growing.add(text)
        except ListError as error:
            raise LuaCallError(str(error)) from None
        except MemoryError:
            raise LuaCallError("not enough memory") from None
        self._growing[number] = growing

    def seal(self, number: int) -> None:
        """The set is complete; from now on it can be asked."""
        growing = self._take(number)
        try:
            growing.seal()
        except MemoryError:
            raise LuaCallError("not enough memory") from None
        match growing:
            case Names():
                self._names[number] = growing
            case Subnets4():
                self._subnets4[number] = growing
            case Subnets6():
                self._subnets6[number] = growing

    def has_name(self, number: int, host: bytes) -> bool:
        return _held(self._names, number).contains(host)

    def has_ip4(self, number: int, address: int) -> bool:
        return _held(self._subnets4, number).contains(address)

    def has_ip6(self, number: int, high: int, low: int) -> bool:
        return _held(self._subnets6, number).contains(high, low)

    def free(self, number: int) -> None:
        """Forget a set; one that is not there is no error."""
        self._growing.pop(number, None)
        self._names.pop(number, None)
        self._subnets4.pop(number, None)
        self._subnets6.pop(number, None)

    def _grow(self, made: _Growing) -> int:
        self._last += 1
        self._growing[self._last] = made
        return self._last

    def _take(self, number: int) -> _Growing:
        growing = self._growing.pop(number, None)
        if growing is None:
            raise LuaCallError("the list is gone")
        return growing


def trim() -> None:
    """Give memory that was freed back to the system, where the C library keeps it: some 20 ms after a list of a million."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def _held(sets: Mapping[int, _Set], number: int) -> _Set:
    found = sets.get(number)
    if found is None:
        raise LuaCallError("the list is gone")
    return found
