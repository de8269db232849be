"""Arguments of every function: one that is wrong or missing raises an error with function, argument, file and line; more than asked for do no harm."""

import importlib
from typing import Any

import pytest

from neosocksd_core import ConfigurationError
from neosocksd_lua_ruleset.testing import Rule, WriteScript
from neosocksd_lua_ruleset.trial import Script

WRONG = {
    "string": {"": "nil", "nil": "nil", "{}": "table", "true": "boolean"},
    "number": {"": "nil", "{}": "table", "print": "function", "'x'": "string"},
    "function": {"": "nil", "{}": "table", "7": "number", "'x'": "string"},
    "strict string": {"": "nil", "{}": "table", "7": "number"},
}
"""What is given where another type is expected, and how the message calls it."""

EXPECTED = [
    # the function, the arguments before, the number, the type
    ("neosocksd.resolve", "", 1, "string"),
    ("neosocksd.splithostport", "", 1, "string"),
    ("neosocksd.parse_ipv4", "", 1, "string"),
    ("neosocksd.parse_ipv6", "", 1, "string"),
    ("neosocksd.setinterval", "", 1, "number"),
    ("neosocksd.async", "", 1, "function"),
    ("neosocksd.async", "print, ", 2, "function"),
    ("neosocksd.invoke", "", 1, "strict string"),
    ("neosocksd.invoke", "'', ", 2, "strict string"),
    ("await.execute", "", 1, "string"),
    ("await.invoke", "", 1, "strict string"),
    ("await.invoke", "'', ", 2, "strict string"),
    ("await.resolve", "", 1, "string"),
    ("await.sleep", "", 1, "number"),
    ("regex.compile", "", 1, "string"),
    ("regex.find", "regex.compile('x'), ", 2, "string"),
    ("regex.match", "regex.compile('x'), ", 2, "string"),
    ("regex.gmatch", "regex.compile('x'), ", 2, "string"),
    ("time.measure", "", 1, "function"),
    ("zlib.compress", "", 1, "string"),
    ("zlib.uncompress", "", 1, "string"),
    ("zlib.gzip", "", 1, "string"),
    ("zlib.gunzip", "", 1, "string"),
    ("package.replace", "", 1, "string"),
]

OTHERS = [
    ("neosocksd.invoke('', 'x:1', 7)", "#3 to 'invoke' (string expected, got number)"),
    ("neosocksd.invoke('', 'x:1', nil)", "#3 to 'invoke' (string expected, got nil)"),
    ("neosocksd.invoke('', 'x:1', '', {})", "#4 to 'invoke' (string expected, got table)"),
    ("await.invoke('', 'x:1', 7)", "#3 to 'invoke' (string expected, got number)"),
    ("await.invoke('', 'x:1', '', {})", "#4 to 'invoke' (string expected, got table)"),
    ("await.sleep(-1)", "#1 to 'sleep' (interval out of range)"),
    ("await.sleep(0/0)", "#1 to 'sleep' (interval out of range)"),
    ("await.sleep(1e9 + 1)", "#1 to 'sleep' (interval out of range)"),
    ("regex.compile('x', {})", "#2 to 'compile' (number expected, got table)"),
    ("regex.compile('x', 1.5)", "#2 to 'compile' (number has no integer representation)"),
    ("regex.compile('x', 16)", "#2 to 'compile' (invalid flags)"),
    ("regex.compile('x', -1)", "#2 to 'compile' (invalid flags)"),
    ("regex.compile('x').find('x', 'x')", "#1 to 'find' (regex expected, got string)"),
    ("regex.match()", "#1 to 'match' (regex expected, got nil)"),
    ("regex.gmatch({}, 'x')", "#1 to 'gmatch' (regex expected, got table)"),
    ("regex.compile('x'):find('x', {})", "#3 to 'find' (number expected, got table)"),
    ("regex.compile('x'):find('x', 1.5)", "#3 to 'find' (number has no integer representation)"),
    ("regex.compile('x'):match('x', 'y')", "#3 to 'match' (number expected, got string)"),
    ("package.replace('x')", "#2 to 'replace' (function expected, got nil)"),
    ("package.replace('x', 1)", "#2 to 'replace' (function expected, got number)"),
    ("os.exit({})", "#1 to 'exit' (number expected, got table)"),
    ("os.exit('x')", "#1 to 'exit' (number expected, got string)"),
    ("os.exit(1.5)", "#1 to 'exit' (number has no integer representation)"),
]


@pytest.mark.parametrize(("function", "before", "number", "kind"), EXPECTED)
def test_an_argument_of_a_wrong_type_or_a_missing_one_is_named(
    lua: Script, function: str, before: str, number: int, kind: str
) -> None:
    name = function.partition(".")[2]
    for value, got in WRONG[kind].items():
        arguments = before + value if value else before.rstrip(", ")
        message = f"{kind.removeprefix('strict ')} expected, got {got}"
        assert (
            lua.error(f"\nlocal x = {function}({arguments})")
            == f"(invoke):2: bad argument #{number} to '{name}' ({message})"
        )


@pytest.mark.parametrize(("call", "message"), OTHERS)
def test_an_argument_out_of_range_is_named(lua: Script, call: str, message: str) -> None:
    assert lua.error(f"\nlocal x = {call}") == f"(invoke):2: bad argument {message}"


@pytest.mark.parametrize(
    "call",
    [
        "neosocksd.config(1)",
        "neosocksd.stats({})",
        "neosocksd.now(print)",
        "neosocksd.resolve('127.0.0.1', {})",
        "neosocksd.splithostport('a:1', {})",
        "neosocksd.parse_ipv4('127.0.0.1', {})",
        "neosocksd.parse_ipv6('::1', {})",
        "neosocksd.setinterval(0, {})",
        "regex.compile('x', nil, {})",
        "regex.compile('x'):find('x', nil, {})",
        "regex.compile('x'):match('x', 1, {})",
        "regex.compile('x'):gmatch('x', {})",
        "time.monotonic({})",
        "time.wall(1)",
        "zlib.uncompress(zlib.compress('x', {}), {})",
        "package.replace('x', function() end, {})",
    ],
)
def test_more_arguments_than_asked_for_do_no_harm(lua: Script, call: str) -> None:
    lua.run(f"local x = {call}")


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("neosocksd.setinterval('1.5')", ""),
        ("neosocksd.parse_ipv4(1)", "nil"),
        ("regex.compile(1):find(21)", "2,2"),
        ("zlib.uncompress(zlib.compress(12))", '"12"'),
        ("regex.compile('x', '3'):find('X')", "1,1"),
    ],
)
def test_numbers_and_numerals_are_taken_for_each_other_as_in_lua(
    lua: Script, call: str, value: str
) -> None:
    assert lua.values(f"return {call}") == value
    lua.run("neosocksd.setinterval(0)")


@pytest.mark.parametrize(
    "function",
    [
        *("pcall", "xpcall", "select", "tonumber", "load", "loadfile", "dofile"),
        *("coroutine.create", "coroutine.wrap", "coroutine.resume", "coroutine.close"),
        *("string.rep", "string.format", "string.lower", "string.reverse", "string.upper"),
        *("string.find", "string.match", "string.gmatch", "string.gsub"),
        *("table.concat", "table.sort", "table.move", "utf8.len", "utf8.codepoint", "utf8.offset"),
    ],
)
def test_the_library_of_lua_words_its_errors_as_it_does_elsewhere(function: str) -> None:
    lupa: Any = importlib.import_module("lupa.lua54")
    plain = lupa.LuaRuntime(register_eval=False)
    plain.execute("""
        function message(text)
            local chunk = assert(load(text, "=(invoke)"))
            return tostring(select(2, pcall(chunk)))
        end""")
    script = Script()
    for arguments in ("", "nil", "{}", "true", "'x', nil", "'x', {}", "{}, {}", "print, {}"):
        code = f"\nlocal x = {function}({arguments}) error('none', 2)"
        expected, message = str(plain.globals().message(code)), script.error(code)
        assert message.replace("no value", "nil") == expected.replace("no value", "nil"), arguments


def test_the_error_of_a_ruleset_names_its_file_and_line(rule: Rule) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rule("local r = {}\n\nneosocksd.setinterval({})\nreturn r")
    assert str(caught.value).endswith(
        "ruleset.lua:3: bad argument #1 to 'setinterval' (number expected, got table)"
    )


@pytest.mark.logs_error("module.lua:2: bad argument #1 to")
def test_the_error_of_a_callback_names_the_file_and_line_of_the_call(
    rule: Rule, script: WriteScript
) -> None:
    script(
        "return function(x)\n    local host = neosocksd.splithostport(x) return host\nend",
        "module.lua",
    )
    server = rule("local f = require('module')\nreturn { resolve = function() return f({}) end }")
    assert server.reply("x.test", 1) == 2
