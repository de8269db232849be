"""Subnets as sorted, merged intervals in arrays: what the matchers of big CIDR lists look up.

A prefix is an interval of integers; overlapping and adjacent ones are merged, so that a look-up is one bisection. An IPv4 set
costs 8 bytes an interval, an IPv6 set 32. What stands in a list is judged here, line by line.
"""

from __future__ import annotations

import socket
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_CHUNK = 1 << 18
_COMMENT = ord("#")
_WORD4 = struct.Struct("!I")
_WORDS6 = struct.Struct("!QQ")
_MASKS4 = {str(prefix).encode(): (1 << 32 - prefix) - 1 for prefix in range(33)}
_MASKS6 = {str(prefix).encode(): (1 << 128 - prefix) - 1 for prefix in range(129)}


class ListError(ValueError):
    """A line of a list that is no member of its kind; the message names the line."""


def lines(text: bytes) -> Iterator[bytes]:
    """The lines of *text* without blanks around them, but for empty ones and those that begin with ``#``; never a list of them all."""
    start, size = 0, len(text)
    while start < size:
        end = text.find(b"\n", start + _CHUNK)
        end = size if end < 0 else end
        for line in text[start:end].split(b"\n"):
            stripped = line.strip()
            if stripped and stripped[0] != _COMMENT:
                yield stripped
        start = end + 1


class Subnets4:
    """IPv4 prefixes, asked for by an address as one integer below 2^32. Complete once it is sealed."""

    __slots__ = ("_buckets", "_ends", "_starts")

    def __init__(self) -> None:
        # Sorted by bucket: Python's objects for a whole list would take five times its arrays.
        self._buckets: list[array[int]] = [array("Q") for _ in range(256)]
        self._starts, self._ends = array("I"), array("I")

    def add(self, text: bytes) -> None:
        """Add a prefix or an address a line.

        :raises ListError: for a line that is neither, or has host bits set.
        """
        masks, buckets = _MASKS4, self._buckets
        unpack, pton, family = _WORD4.unpack, socket.inet_pton, socket.AF_INET
        for line in lines(text):
            address, slash, digits = line.partition(b"/")
            try:
                start: int = unpack(pton(family, address.decode()))[0]
                host = masks[digits] if slash else 0
            except (KeyError, OSError, ValueError):
                raise ListError(f"invalid subnet {_shown(line)}") from None
            if start & host:
                raise ListError(f"host bits set in subnet {_shown(line)}")
            buckets[start >> 24].append(start << 32 | start + host)

    def seal(self) -> None:
        """The list has ended."""
        buckets, self._buckets = self._buckets, []
        buckets.reverse()
        last = -2
        while buckets:
            bucket = buckets.pop()
            for packed in sorted(bucket):
                start, end = packed >> 32, packed & 0xFFFF_FFFF
                if start <= last + 1:
                    if end > last:
                        self._ends[-1] = last = end
                else:
                    self._starts.append(start)
                    self._ends.append(end)
                    last = end

    def __len__(self) -> int:
        """The number of disjoint intervals."""
        return len(self._starts)

    def contains(self, address: int) -> bool:
        index = bisect_right(self._starts, address) - 1 if 0 <= address <= 0xFFFF_FFFF else -1
        return index >= 0 and address <= self._ends[index]


class Subnets6:
    """IPv6 prefixes, asked for by an address as two 64-bit halves, signed or not. Complete once it is sealed."""

    __slots__ = ("_end_highs", "_end_lows", "_members", "_start_highs", "_start_lows")

    def __init__(self) -> None:
        # One integer a member, for memory: the address, then how many bits below it belong to the host.
        self._members: list[int] = []
        self._start_highs, self._start_lows = array("Q"), array("Q")
        self._end_highs, self._end_lows = array("Q"), array("Q")

    def add(self, text: bytes) -> None:
        """Add a prefix or an address a line.

        :raises ListError: for a line that is neither, or has host bits set.
        """
        members = self._members
        for line in lines(text):
            address, slash, digits = line.partition(b"/")
            try:
                high, low = _WORDS6.unpack(socket.inet_pton(socket.AF_INET6, address.decode()))
                host = _MASKS6[digits] if slash else 0
            except (KeyError, OSError, ValueError):
                raise ListError(f"invalid subnet {_shown(line)}") from None
            start = high << 64 | low
            if start & host:
                raise ListError(f"host bits set in subnet {_shown(line)}")
            members.append(start << 8 | host.bit_length())

    def seal(self) -> None:
        """The list has ended."""
        members, self._members = self._members, []
        members.sort()
        last = -2
        for member in members:
            start = member >> 8
            end = start + (1 << (member & 0xFF)) - 1
            if start <= last + 1:
                if end <= last:
                    continue
                self._end_highs.pop()
                self._end_lows.pop()
            else:
                self._start_highs.append(start >> 64)
                self._start_lows.append(start & _WORD)
            self._end_highs.append(end >> 64)
            self._end_lows.append(end & _WORD)
            last = end

    def __len__(self) -> int:
        """The number of disjoint intervals."""
        return len(self._start_highs)

    def contains(self, high: int, low: int) -> bool:
        high &= _WORD
        low &= _WORD
        above = bisect_right(self._start_highs, high)
        # Those that start in the same /64 lie side by side; the low halves tell them apart.
        level = bisect_left(self._start_highs, high, 0, above)
        index = bisect_right(self._start_lows, low, level, above) - 1
        if index < 0:
            return False
        return (high, low) <= (self._end_highs[index], self._end_lows[index])


def _shown(line: bytes) -> str:
    return repr(line[:64].decode("latin-1"))
