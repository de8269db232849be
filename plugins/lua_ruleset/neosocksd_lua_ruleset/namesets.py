"""Names as 64-bit fingerprints in a sorted array: what the matchers of big domain lists look up.

Eight bytes a name, whatever its length. A fingerprint is keyed with a secret of the process, so that nobody can make a name
that is taken for a member; by chance, one look-up in 10^12 is wrong for a list of a million names.
"""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable

from neosocksd_lua_ruleset.intervals import lines

_BUCKETS = 256
_DOT = 0x2E
_SECRET = os.urandom(16)
_WORD = 0xFFFF_FFFF_FFFF_FFFF


def _quick(name: bytes) -> int:
    return hash(_SECRET + name) & _WORD


def _thorough(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8, key=_SECRET).digest(), "big")


# Python's own hash of bytes is a keyed SipHash of 64 bits where the build is one of 64 bits and was not told otherwise.
_IS_SIPHASH = sys.hash_info.algorithm.startswith("siphash") and sys.hash_info.width == 64
fingerprint: Callable[[bytes], int] = _quick if _IS_SIPHASH else _thorough


class Names:
    """Host names without regard to case. ``a.b`` is that name alone, ``.a.b`` is a.b and every name below it.

    Complete once it is sealed.
    """

    __slots__ = ("_alone", "_below", "_buckets", "_index", "_is_tree", "_prints", "_shift")

    def __init__(self, *, below: bool = False) -> None:
        """*below*: every name stands for those below it too, with or without its dot."""
        self._is_tree = below
        # Sorted by bucket: Python's objects for a whole list would take five times its array.
        self._buckets = [array("Q") for _ in range(_BUCKETS)]
        # By number of dots, which names there are at all: one that has no fellow is not looked for.
        self._alone = self._below = 0
        self._prints = array("Q")
        self._index = array("I")
        self._shift = 64

    def add(self, text: bytes) -> None:
        """Add a name a line."""
        buckets, below = self._buckets, self._is_tree
        for line in lines(text):
            name = line.lower()
            if name[-1] == _DOT and len(name) > 1:  # a full name may end with a dot
                name = name[:-1]
            if below and name[0] != _DOT:
                name = b"." + name
            if name[0] == _DOT:
                self._below |= 1 << name.count(b".")
            else:
                self._alone |= 1 << name.count(b".")
            value = fingerprint(name)
            buckets[value >> 56].append(value)

    def seal(self) -> None:
        """The list has ended."""
        buckets, self._buckets = self._buckets, []
        buckets.reverse()
        while buckets:
            self._prints.extend(sorted(set(buckets.pop())))
        # The leading bits say where to look, so that a bisection takes few steps however long the list is.
        bits = min(max(len(self._prints).bit_length() - 3, 0), 16)
        self._shift = 64 - bits
        firsts = (bisect_left(self._prints, lead << self._shift) for lead in range(1 << bits))
        self._index.extend(firsts)
        self._index.append(len(self._prints))

    def __len__(self) -> int:
        """The number of different names."""
        return len(self._prints)

    def contains(self, host: bytes) -> bool:
        """Whether *host*, or for a member with a dot a name above it, is a member."""
        host = host.lower()
        dots = host.count(b".")
        if self._alone >> dots & 1 and self._has(host):
            return True
        below = self._below
        if below >> dots + 1 & 1 and self._has(b"." + host):
            return True
        start = host.find(b".")
        while start >= 0:
            if below >> dots & 1 and self._has(host[start:]):
                return True
            dots -= 1
            start = host.find(b".", start + 1)
        return False

    def _has(self, name: bytes) -> bool:
        value = fingerprint(name)
        lead = value >> self._shift
        end = self._index[lead + 1]
        at = bisect_left(self._prints, value, self._index[lead], end)
        return at < end and self._prints[at] == value
