"""examples/neosocksd.lua: it names every function and value that a script can use, and none that is not there."""

import re
from pathlib import Path

import pytest

from neosocksd_lua_ruleset.trial import Script

FILE = Path(__file__).parents[1] / "examples" / "neosocksd.lua"
TABLES = (
    "neosocksd", "await", "regex", "time", "zlib", "list", "rlist", "inet", "inet6", "match", "composite", "rule", "lb",
)  # fmt: skip
SET_BY_RULESETS = {
    "redirect_name", "redirect", "redirect6", "route", "route6", "route_default", "hosts", "secrets",
}  # fmt: skip

LISTING = """
    local names = {}
    for name in pairs(_G) do names[#names + 1] = name end
    for _, name in ipairs({ %s, "string", "table", "package" }) do
        for key, value in pairs(_G[name]) do
            if type(key) == "string" and not key:find("^__") then names[#names + 1] = name .. "." .. key end
        end
    end
    return table.concat(names, " ")
"""


@pytest.fixture(scope="module")
def present() -> set[str]:
    """What is there once libruleset is loaded, less plain Lua."""
    listing = LISTING % ", ".join(f'"{name}"' for name in TABLES)
    script = Script()
    script.run("require('libruleset')")
    names = set(script.values(listing).strip('"').split())
    return {
        name
        for name in names
        if name not in LUA and not name.startswith(("package.", "string.", "table."))
    } | {
        name
        for name in names
        if name in ("package.replace", "string.startswith", "string.endswith", "table.get")
    }


LUA = {
    "_G", "_VERSION", "assert", "collectgarbage", "coroutine", "debug", "dofile", "error", "getmetatable", "io", "ipairs",
    "load", "loadfile", "math", "next", "os", "package", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset",
    "require", "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "warn", "xpcall",
}  # fmt: skip


def annotated() -> set[str]:
    text = FILE.read_text()
    functions = re.findall(r"^function ([\w.:]+)\(", text, re.MULTILINE)
    values = re.findall(r"^(\w+) = (?:nil|\{\})$", text, re.MULTILINE)
    fields = re.findall(r"^---@field ([A-Z]+) ", text, re.MULTILINE)
    return (
        {name.replace(":", ".") for name in functions}
        | set(values)
        | {f"regex.{name}" for name in fields}
    )


def test_everything_that_is_annotated_is_there(present: set[str]) -> None:
    assert annotated() - present - SET_BY_RULESETS == set()


def test_everything_that_is_there_is_annotated(present: set[str]) -> None:
    assert present - annotated() == set()


def test_the_file_is_valid_lua() -> None:
    script = Script()
    script.run(FILE.read_bytes())
