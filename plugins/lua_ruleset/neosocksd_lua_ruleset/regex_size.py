"""How many groups a POSIX pattern has, and how big the automaton gets that the C library makes of it.

The C library copies what is repeated: ``((a{1,255}){1,255}){1,255}`` takes gigabytes. A pattern is refused by what it would
grow to. Whether it is well formed is the C library's to say; an ill-formed one only has to be read to its end.
"""

from __future__ import annotations

LENGTH_LIMIT = 16384
"""Bytes of a pattern."""

COPIES_LIMIT = 1000
"""Characters that its repetitions add to a pattern when they are written out. Time and memory of the C library grow with the
square: 1000 take 10 ms and a few MiB, 20,000 take 14 s and 3 GiB."""

DEPTH_LIMIT = 100
"""Groups within groups; the C library parses them by recursion."""


class PatternError(ValueError):
    """A pattern that can't be compiled, and why."""


def groups_of(pattern: bytes, *, extended: bool) -> int:
    """The number of groups in *pattern*.

    :raises PatternError: where it holds a NUL byte, is too long, or would grow too big.
    """
    if b"\0" in pattern:
        raise PatternError("pattern contains a NUL byte")
    if len(pattern) > LENGTH_LIMIT:
        raise PatternError(f"pattern longer than {LENGTH_LIMIT} bytes")
    groups = 0
    outer: list[int] = []
    size = last = written = 0
    for kind, text in _pieces(pattern, extended):
        if kind == "(":
            groups += 1
            outer.append(size)
            if len(outer) > DEPTH_LIMIT:
                raise PatternError("groups nested too deeply")
            size, last = 0, 0
        elif kind == ")":
            last = size + 1
            size = (outer.pop() if outer else 0) + last
        elif kind == "{":
            grown = last * max(_most(text), 1)
            size += grown - last
            last = grown
        else:
            last = 1
            size += 1
        written += kind in (".", ")")
        if size + sum(outer) - written > COPIES_LIMIT:
            raise PatternError("pattern too big")
    return groups


def _pieces(pattern: bytes, extended: bool) -> list[tuple[str, bytes]]:
    """The pattern in pieces: ``(``, ``)``, ``{`` with its bounds, or ``.`` for what stands for itself."""
    pieces: list[tuple[str, bytes]] = []
    at, size = 0, len(pattern)
    while at < size:
        char = pattern[at : at + 1]
        escaped = char == b"\\"
        if escaped:
            char = pattern[at + 1 : at + 2]
            at += 1
        at += 1
        if char == b"[" and not escaped:
            at = _after_bracket(pattern, at)
        if char in (b"(", b")", b"{") and escaped is not extended:
            if char == b"{":
                end = pattern.find(b"}", at)
                end = size if end < 0 else end
                pieces.append(("{", pattern[at:end]))
                at = end + 1
            else:
                pieces.append((char.decode(), b""))
        elif char not in (b"*", b"+", b"?", b"|") or escaped:
            pieces.append((".", b""))
    return pieces


def _after_bracket(pattern: bytes, at: int) -> int:
    """The offset after the bracket expression whose ``[`` stands before *at*."""
    if pattern[at : at + 1] == b"^":
        at += 1
    if pattern[at : at + 1] == b"]":
        at += 1
    while at < len(pattern):
        char, kind = pattern[at : at + 1], pattern[at + 1 : at + 2]
        if char == b"]":
            return at + 1
        if char == b"[" and kind in (b":", b".", b"="):
            end = pattern.find(kind + b"]", at + 2)
            at = len(pattern) if end < 0 else end + 2
        else:
            at += 1
    return at


def _most(bounds: bytes) -> int:
    """The copies that ``m``, ``m,`` or ``m,n`` makes."""
    low, _, high = bounds.rstrip(b"\\").partition(b",")
    numbers = [int(part) for part in (low, high) if part.isdigit() and len(part) < 6]
    return max(numbers, default=1)
