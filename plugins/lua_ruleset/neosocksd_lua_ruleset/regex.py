"""POSIX regular expressions by the C library: ``regcomp`` and ``regexec`` through ctypes.

Python's ``re`` is neither leftmost-longest nor safe with patterns from outside. Matching is by bytes (patterns are compiled in
the C locale) and leaves the interpreter's lock. A pattern is measured before the C library sees it: repetitions make its
automaton grow, and a short one can take gigabytes.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Mapping

from neosocksd_lua_ruleset.bridge import LuaCallError, Native
from neosocksd_lua_ruleset.regex_size import PatternError, groups_of

EXTENDED, ICASE, NEWLINE, NOSUB = 1, 2, 4, 8
"""The flags as Lua knows them; those of the platform may have other values."""

_APPLE_OR_BSD = sys.platform == "darwin" or "bsd" in sys.platform
_GNU = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
_STARTEND = 4 if _GNU or _APPLE_OR_BSD else 0
_NOTBOL = 1
_NOMATCH = 1
_PLATFORM = {EXTENDED: 1, ICASE: 2, NEWLINE: 8 if _APPLE_OR_BSD else 4}
_REGEX_SIZE = 512
"""Bytes for a ``regex_t``, which takes 64 at most on the platforms that are known."""
_CTYPE_MASK = {"darwin": 1 << 1}.get(sys.platform, 1 << 1 if "bsd" in sys.platform else 1)

HELD_LIMIT = 20_000
"""How many compiled patterns a runtime may hold."""


_Offset = ctypes.c_int if _GNU else ctypes.c_ssize_t
"""Each of the two fields of ``regmatch_t``: ``int`` in the GNU library, as wide as a pointer elsewhere."""

_LONGEST = 0x7FFF_FFFF
"""A subject's longest size in bytes: offsets are ``int`` in the GNU library."""


def _load() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.regcomp.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    libc.regexec.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_int,
    )
    libc.regerror.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    libc.regerror.restype = ctypes.c_size_t
    libc.regfree.argtypes = (ctypes.c_void_p,)
    libc.regfree.restype = None
    libc.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    libc.newlocale.restype = ctypes.c_void_p
    libc.uselocale.argtypes = (ctypes.c_void_p,)
    libc.uselocale.restype = ctypes.c_void_p
    return libc


_libc = _load()
_regexec = _libc.regexec
_c_locale = _libc.newlocale(_CTYPE_MASK, b"C", None)


class Regex:
    """A compiled pattern; the C library's memory goes with the object."""

    __slots__ = ("__weakref__", "_count", "_offsets", "_regex")

    def __init__(self, pattern: bytes, flags: int) -> None:
        """*flags*: a sum of EXTENDED, ICASE, NEWLINE, NOSUB; without the first the pattern is a basic one.

        :raises PatternError: for a pattern that the C library refuses, that holds a NUL byte or is too big.
        """
        groups = groups_of(pattern, extended=bool(flags & EXTENDED))
        if flags & NOSUB:
            groups = 0
        # One for all searches: a Lua runtime is in one thread at a time.
        self._count = groups + 1
        self._offsets = (_Offset * (2 * self._count))()
        regex = ctypes.create_string_buffer(_REGEX_SIZE)
        wanted = sum(value for flag, value in _PLATFORM.items() if flags & flag)
        before = _libc.uselocale(_c_locale)
        try:
            error = _libc.regcomp(regex, pattern, wanted)
        finally:
            _libc.uselocale(before)
        if error:
            text = ctypes.create_string_buffer(256)
            _libc.regerror(error, regex, text, len(text))
            raise PatternError(text.value.decode("ascii", "replace"))
        self._regex = regex
        weakref.finalize(self, _libc.regfree, regex).atexit = False

    def search(self, subject: bytes, start: int, at_line: bool) -> tuple[int, ...] | None:
        """The leftmost-longest match from offset *start* on.

        *at_line*: whether ``^`` matches at *start*. The answer holds start and end of the match and of each group, -1 for a
        group that took no part.
        """
        offsets = self._offsets
        flags = 0 if at_line else _NOTBOL
        if _STARTEND:
            offsets[0], offsets[1] = start, len(subject)
            failed = _regexec(self._regex, subject, self._count, offsets, flags | _STARTEND)
            start = 0
        else:
            failed = _regexec(self._regex, subject[start:], self._count, offsets, flags)
        if failed:
            if failed != _NOMATCH:
                raise LuaCallError("not enough memory")
            return None
        found = offsets[:]
        if start:
            found = [offset if offset < 0 else offset + start for offset in found]
        return tuple(found)


class Regexes:
    """The patterns that one Lua runtime holds, by number; equal ones are compiled once."""

    def __init__(self) -> None:
        self._held: dict[int, Regex] = {}
        self._cache: weakref.WeakValueDictionary[tuple[bytes, int], Regex] = (
            weakref.WeakValueDictionary()
        )
        self._last = 0

    def __len__(self) -> int:
        """How many Lua objects hold a pattern."""
        return len(self._held)

    def natives(self) -> Mapping[str, Native]:
        """What Lua calls, by the names under which it does."""
        return {
            "regex_compile": self.compile,
            "regex_search": self.search,
            "regex_free": self.free,
        }

    def compile(self, pattern: bytes, flags: int) -> int:
        """The number of a compiled pattern."""
        if len(self._held) >= HELD_LIMIT:
            raise LuaCallError("too many regular expressions")
        key = (pattern, flags)
        regex = self._cache.get(key)
        if regex is None:
            try:
                regex = Regex(pattern, flags)
            except PatternError as error:
                raise LuaCallError(str(error)) from None
            self._cache[key] = regex
        self._last += 1
        self._held[self._last] = regex
        return self._last

    def search(self, number: int, subject: bytes, start: int, at_line: bool) -> tuple[int, ...]:
        """Start and end offsets of match and groups, nothing where nothing matches."""
        regex = self._held.get(number)
        if regex is None:
            raise LuaCallError("the regular expression is gone")
        if not 0 <= start <= len(subject) <= _LONGEST:
            raise LuaCallError("string too long")
        return regex.search(subject, start, at_line) or ()

    def free(self, number: int) -> None:
        """Let a pattern go; one that is not there is no error."""
        self._held.pop(number, None)
