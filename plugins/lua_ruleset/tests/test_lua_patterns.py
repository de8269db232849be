"""Patterns matched in Lua against the functions of C, which are the oracle."""

from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_lua_ruleset.vm import read_source

VERSIONS = ("5.3", "5.4", "5.5")

COMPARE = b"""
local source = ...
local guard = { place = function() return "" end }
local patterns = load(source, "=patterns")({ load = function() return guard end })

local function shown(ok, ...)
    local texts = { tostring(ok) }
    for i = 1, select("#", ...) do
        local value = select(i, ...)
        texts[#texts + 1] = (math.type(value) or type(value)) .. " " .. tostring(value)
    end
    return table.concat(texts, "|")
end

local function collected(gmatch, ...)
    local found = {}
    for a, b, c in gmatch(...) do
        found[#found + 1] = table.concat({ tostring(a), tostring(b), tostring(c) }, "/")
    end
    return table.concat(found, ";")
end

-- What C's function of that name gives, and what ours does.
return function(name, ...)
    if name == "gmatch" then
        return shown(pcall(collected, string.gmatch, ...)), shown(pcall(collected, patterns.gmatch, ...))
    end
    return shown(pcall(string[name], ...)), shown(pcall(patterns[name], ...))
end
"""


def comparer(version: str) -> Any:
    module: Any = import_module(f"lupa.lua{version.replace('.', '')}")
    runtime: Any = module.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    source = read_source("patterns")
    assert source is not None
    return runtime.compile(COMPARE)(source)


COMPARERS = {version: comparer(version) for version in VERSIONS}

ITEMS = st.sampled_from(
    ["a", "b", ".", "%a", "%d", "%s", "[ab]", "[^a]", "[%a_]", "[]]", "[^]x]", "[a-c]", "%.", "$", "^", "-", "x"]
)  # fmt: skip
SINGLE = st.tuples(ITEMS, st.sampled_from(["", "", "*", "+", "-", "?"])).map("".join)
GROUPED = st.lists(SINGLE, max_size=3).map(lambda items: f"({''.join(items)})")
SPECIAL = st.sampled_from(["()", "%b()", "%f[a]", "%f[%A]", "(a)%1"])
PATTERNS = st.tuples(
    st.sampled_from(["", "", "^"]),
    st.lists(SINGLE | GROUPED | SPECIAL, max_size=5).map("".join),
    st.sampled_from(["", "", "$"]),
).map("".join)
SUBJECTS = st.text("aab(b)x1. _]", max_size=12)


@pytest.mark.parametrize("version", VERSIONS)
@settings(deadline=None, max_examples=300)
@given(
    pattern=PATTERNS,
    subject=SUBJECTS,
    name=st.sampled_from(["find", "match"]),
    init=st.none() | st.integers(-14, 14),
)
def test_find_and_match_are_as_in_c(
    version: str, pattern: str, subject: str, name: str, init: int | None
) -> None:
    if init is None:
        theirs, ours = COMPARERS[version](name.encode(), subject.encode(), pattern.encode())
    else:
        theirs, ours = COMPARERS[version](name.encode(), subject.encode(), pattern.encode(), init)
    assert ours == theirs


@pytest.mark.parametrize("version", ["5.4", "5.5"])
@settings(deadline=None, max_examples=300)
@given(pattern=PATTERNS, subject=SUBJECTS)
def test_gmatch_is_as_in_c(version: str, pattern: str, subject: str) -> None:
    theirs, ours = COMPARERS[version](b"gmatch", subject.encode(), pattern.encode())
    assert ours == theirs


@pytest.mark.parametrize("version", ["5.4", "5.5"])
@settings(deadline=None, max_examples=300)
@given(
    pattern=PATTERNS,
    subject=SUBJECTS,
    replacement=st.sampled_from(["", "z", "<%0>", "<%1>", "%0%0", "%%"]),
    most=st.none() | st.integers(0, 3),
)
def test_gsub_is_as_in_c(
    version: str, pattern: str, subject: str, replacement: str, most: int | None
) -> None:
    arguments: list[Any] = [subject.encode(), pattern.encode(), replacement.encode()]
    theirs, ours = COMPARERS[version](b"gsub", *arguments, *([] if most is None else [most]))
    assert ours == theirs


@pytest.mark.parametrize(
    "pattern",
    ["%", "[", "[^", "[a", "(a", "a)", ")", "%b", "%bx", "%f", "%fa", "%1", "(%1)", "(a)%2"],
)
def test_malformed_patterns_are_told_alike(pattern: str) -> None:
    theirs, ours = COMPARERS["5.4"](b"match", b"aa", pattern.encode())
    assert theirs.startswith(b"false")
    assert ours == theirs


@pytest.mark.parametrize("replacement", ["%2", "%x", "%"])
def test_malformed_replacements_are_told_alike(replacement: str) -> None:
    theirs, ours = COMPARERS["5.4"](b"gsub", b"aa", b"(a)", replacement.encode())
    assert theirs.startswith(b"false")
    assert ours == theirs
