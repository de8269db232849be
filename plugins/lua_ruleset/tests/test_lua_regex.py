"""regex.*: POSIX rules, positions, groups, flags, bytes, memory, and what is refused."""

import gc
import time

import pytest

from neosocksd_lua_ruleset.bridge import LuaCallError
from neosocksd_lua_ruleset.regex import EXTENDED, NEWLINE, Regexes
from neosocksd_lua_ruleset.regex_size import COPIES_LIMIT, LENGTH_LIMIT, PatternError, groups_of
from neosocksd_lua_ruleset.trial import LUA_VERSIONS, LuaVersion, Script


def test_the_example_of_the_reference(lua: Script) -> None:
    code = r"""
        local reg = regex.compile([[\.example\.(com|org)$]])
        local host, found = "www.example.org", {}
        local s, e = reg:find(host)
        local m, sub1 = reg:match(host)
        for m, sub1 in reg:gmatch(host) do found[#found + 1] = m .. sub1 end
        return s, e, m, sub1, found, reg:find("www.example.net"), reg:match("example.com")
    """
    assert lua.values(code) == '4,15,".example.org","org",{".example.orgorg",},nil,nil'


def test_constants(lua: Script) -> None:
    assert lua.values("return regex.EXTENDED, regex.ICASE, regex.NEWLINE, regex.NOSUB") == "1,2,4,8"


@pytest.mark.parametrize(
    ("pattern", "subject", "found"),
    [
        # leftmost, then longest, whatever the order of the alternatives
        ("a|ab|abc", "xabcd", "2,4"),
        ("(a|ab)(c|bcd)(d*)", "abcd", "1,4"),
        ("x*", "aaxx", "1,0"),
        ("[[:digit:]]+", "ab123c", "3,5"),
        # nothing found
        ("b", "aaa", "nil"),
        ("^b", "ab", "nil"),
        # NEWLINE is on by default: ^ and $ at lines, and neither . nor [^a] over a newline
        ("^b$", "a\\nb\\nc", "3,3"),
        ("a.b", "a\\nb", "nil"),
        ("a[^x]b", "a\\nb", "nil"),
        # bytes
        ("a[^x]c", "a\\0c", "1,3"),
        ("b", "\\0a\\0b", "4,4"),
        ("a.b", "\\200a\\255b", "2,4"),
        ("\\195\\164", "x\\195\\164", "2,3"),
        ("(.)\\\\1", "abccd", "3,4"),
    ],
)
def test_find(lua: Script, pattern: str, subject: str, found: str) -> None:
    code = f'return regex.compile("{pattern}"):find("{subject}")'
    assert lua.values(code) == found


@pytest.mark.parametrize(
    ("init", "found"),
    [
        ("1", "1,2"),
        ("2", "4,5"),
        ("4", "4,5"),
        ("5", "nil"),
        ("6", "nil"),
        ("7", "nil"),
        ("0", "1,2"),
        ("-2", "4,5"),
        ("-1", "nil"),
        ("-99", "1,2"),
        ("2.0", "4,5"),
        ("math.maxinteger", "nil"),
        ("math.mininteger", "1,2"),
    ],
)
def test_find_from_a_position(lua: Script, init: str, found: str) -> None:
    assert lua.values(f'return regex.compile("ab"):find("abxab", {init})') == found


def test_the_empty_match_at_the_end_is_found(lua: Script) -> None:
    assert lua.values('return regex.compile("x*"):find("abc", 4)') == "4,3"
    assert lua.values('return regex.compile("x*"):find("abc", 5)') == "nil"


def test_a_caret_matches_where_the_search_begins(lua: Script) -> None:
    assert lua.values('return regex.compile("^b"):find("ab", 2)') == "2,2"


@pytest.mark.parametrize(
    ("pattern", "subject", "found"),
    [
        ("(a)(b)?(c)?", "ac", '"ac","a",nil,"c"'),
        ("(a)|(b)", "b", '"b",nil,"b"'),
        ("a(b*)", "a", '"a",""'),
        ("abc", "xabc", '"abc"'),
        ("((a)(b))", "ab", '"ab","ab","a","b"'),
        ("[(](a)[)]", "(a)", '"(a)","a"'),
        ("x", "abc", "nil"),
    ],
)
def test_match_gives_the_whole_and_the_groups(
    lua: Script, pattern: str, subject: str, found: str
) -> None:
    assert lua.values(f'return regex.compile("{pattern}"):match("{subject}")') == found


def test_match_from_a_position(lua: Script) -> None:
    assert lua.values('return regex.compile("([a-z])[0-9]"):match("a1b2", 2)') == '"b2","b"'
    assert lua.values('return regex.compile("a"):match("a", 3)') == "nil"


@pytest.mark.parametrize(
    ("pattern", "subject", "found"),
    [
        ("[0-9]+", "a1b22c", '"1","22"'),
        ("a*", "abaac", '"a","aa",""'),
        ("", "ab", '"","",""'),
        ("^a", "aa\\naa", '"a","a"'),
        ("a$", "a\\na", '"a","a"'),
        ("b", "aaa", ""),
        ("a", "", ""),
        ("\\\\0*", "", '""'),
    ],
)
def test_gmatch_gives_every_match(lua: Script, pattern: str, subject: str, found: str) -> None:
    code = f"""
        local all = {{}}
        for m in regex.compile("{pattern}"):gmatch("{subject}") do all[#all + 1] = m end
        return table.unpack(all)
    """
    assert lua.values(code) == found


def test_gmatch_gives_groups_and_stays_at_its_end(lua: Script) -> None:
    code = """
        local next = regex.compile("([a-z])([0-9])?"):gmatch("a1b")
        local t = { next() }
        collectgarbage()
        return t, { next() }, next(), next()
    """
    assert lua.values(code) == '{"a1","a","1",},{"b","b",},nil,nil'


def test_without_newline_a_caret_matches_once(lua: Script) -> None:
    code = """
        local n = 0
        for _ in regex.compile("^a", regex.EXTENDED):gmatch("aa\\na") do n = n + 1 end
        return n, regex.compile("a.b", regex.EXTENDED):find("a\\nb")
    """
    assert lua.values(code) == "1,1,3"


def test_flags(lua: Script) -> None:
    assert lua.values('return regex.compile("A", regex.EXTENDED | regex.ICASE):find("xa")') == "2,2"
    assert lua.values('return regex.compile("A"):find("xa")') == "nil"
    # basic syntax: the plain characters stand for themselves
    assert lua.values('return regex.compile("a+(b)", 0):match("a+(b)")') == '"a+(b)"'
    assert lua.values(r'return regex.compile([[\(a\)\{2\}]], 0):match("aa")') == '"aa","a"'
    # without groups only the whole match is given
    code = 'return regex.compile("(a)(b)", regex.EXTENDED | regex.NOSUB):match("xab")'
    assert lua.values(code) == '"ab"'


def test_methods_are_functions_too(lua: Script) -> None:
    code = """
        local r = regex.compile("b(.)")
        local all = {}
        for m in regex.gmatch(r, "b1b2") do all[#all + 1] = m end
        return all, regex.match(r, "abc"), regex.find(r, "abc")
    """
    assert lua.values(code) == '{"b1","b2",},"bc",2,3'
    assert lua.values("return require('regex') == regex") == "true"


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "[[:none:]]", "a**{", "[", "\\\\"])
def test_a_bad_pattern_raises_at_the_call(lua: Script, pattern: str) -> None:
    error = lua.error(f'\nregex.compile("{pattern}")')
    assert error.startswith("(invoke):2: invalid regular expression: ")
    assert len(error) > len("(invoke):2: invalid regular expression: ")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("regex.compile()", "bad argument #1 to 'compile' (string expected, got nil)"),
        ("regex.compile({})", "bad argument #1 to 'compile' (string expected, got table)"),
        ("regex.compile('a', 'x')", "bad argument #2 to 'compile' (number expected, got string)"),
        ("regex.compile('a', 16)", "bad argument #2 to 'compile' (invalid flags)"),
        ("regex.compile('a', -1)", "bad argument #2 to 'compile' (invalid flags)"),
        (
            "regex.compile('a', 1.5)",
            "bad argument #2 to 'compile' (number has no integer representation)",
        ),
        ("regex.compile('a\\0b')", "invalid regular expression: pattern contains a NUL byte"),
        ("regex.find('a', 'b')", "bad argument #1 to 'find' (regex expected, got string)"),
        ("regex.match(nil, 'b')", "bad argument #1 to 'match' (regex expected, got nil)"),
        ("regex.gmatch({}, 'b')", "bad argument #1 to 'gmatch' (regex expected, got table)"),
        ("regex.compile('a'):find()", "bad argument #2 to 'find' (string expected, got nil)"),
        (
            "regex.compile('a'):find('a', {})",
            "bad argument #3 to 'find' (number expected, got table)",
        ),
        (
            "regex.compile('a'):gmatch({})",
            "bad argument #2 to 'gmatch' (string expected, got table)",
        ),
    ],
)
def test_a_wrong_argument_raises_at_the_call(lua: Script, code: str, message: str) -> None:
    assert lua.error("\n" + code) == "(invoke):2: " + message


def registries() -> list[Regexes]:
    return [found for found in gc.get_objects() if type(found) is Regexes]


def test_a_collected_expression_is_freed() -> None:
    others = registries()
    lua = Script()
    (held,) = (found for found in registries() if found not in others)
    lua.run("_G.r = {} for i = 1, 100 do r[i] = regex.compile('a' .. i) end")
    assert len(held) == 100
    lua.run("_G.r = nil collectgarbage() collectgarbage()")
    # The next use frees them: a finalizer must not.
    lua.run("regex.compile('b')")
    assert len(held) == 1


@pytest.mark.parametrize("version", LUA_VERSIONS)
def test_expressions_that_are_collected_while_others_are_freed_are_freed_too(
    version: LuaVersion,
) -> None:
    others = registries()
    lua = Script(version, time_limit=0)
    (held,) = (found for found in registries() if found not in others)
    # At each instruction, those of the freeing included, one more is collected.
    lua.run("""
        local kept, at = {}, 0
        for i = 1, 300 do kept[i] = regex.compile("x" .. i) end
        debug.sethook(function()
            at = at + 1
            if kept[at] then
                kept[at] = nil
                collectgarbage()
            end
        end, "", 1)
        while at < 300 do regex.compile("y" .. at) end
        debug.sethook()""")
    lua.engine.collect()
    assert len(held) == 0


def test_a_script_that_is_ended_while_it_compiles_leaves_nothing_behind() -> None:
    others = registries()
    lua = Script(time_limit=0.02)
    (held,) = (found for found in registries() if found not in others)
    for i in range(30):
        assert "time limit" in lua.error(f"for i = 1, 1e9 do regex.compile('{i}a' .. i) end")
    lua.engine.collect()
    assert len(held) == 0


def test_equal_patterns_are_one_expression() -> None:
    assert Script().values("return regex.compile('a') == regex.compile('a', 5)") == "true"


def test_expressions_that_nobody_holds_do_not_pile_up() -> None:
    Script(time_limit=0).run("for i = 1, 12000 do regex.compile('a' .. i) end")


def test_too_many_that_are_held_are_an_error() -> None:
    error = Script(time_limit=0).error(
        "local r = {} for i = 1, 12000 do r[i] = regex.compile('a' .. i) end"
    )
    assert error == "(invoke):1: too many regular expressions"


def test_expressions_are_shared_and_counted() -> None:
    held = Regexes()
    first, second = held.compile(b"a", EXTENDED), held.compile(b"a", EXTENDED)
    assert first != second
    assert len(held) == 2
    held.free(first)
    assert held.search(second, b"xa", 0, True) == (1, 2)
    with pytest.raises(LuaCallError):
        held.search(first, b"xa", 0, True)
    held.free(first)
    held.free(second)
    assert len(held) == 0


def test_the_memory_of_ten_thousand_patterns_comes_back() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])

    held = Regexes()

    def compile_many() -> None:
        for i in range(5000):
            held.free(held.compile(b"(a|b|c)*%d" % i, EXTENDED))

    compile_many()
    before = resident()
    compile_many()
    compile_many()
    assert resident() - before < 1000


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (b"a", 0),
        (b"(a)(b(c))", 3),
        (rb"\(a\)", 0),
        (b"[(](a)[)(]", 1),
        (b"[]()](a)", 1),
        (b"[^]()](a)", 1),
        (b"[[:alpha:](](a)", 1),
        (b"[[.].](](a)", 1),
    ],
)
def test_groups_are_counted_as_the_library_does(pattern: bytes, groups: int) -> None:
    assert groups_of(pattern, extended=True) == groups


def test_groups_of_basic_syntax() -> None:
    assert groups_of(rb"\(a\)(b)", extended=False) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        b"((a{1,255}){1,255}){1,255}",
        b"a{1,2000}",
        b"(((((a{9}){9}){9}){9}){9}){9}",
        b"(a?){500}(a?){600}",
        b"(" * 101 + b"a" + b")" * 101,
        b"a" * (LENGTH_LIMIT + 1),
    ],
)
def test_a_pattern_that_would_take_gigabytes_is_refused_at_once(pattern: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(PatternError):
        groups_of(pattern, extended=True)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize(
    "pattern",
    [
        rb"([0-9]{1,3}\.){3}[0-9]{1,3}",
        b"(" + b"|".join(b"host%d" % i for i in range(1500)) + b")",
        b"a{%d}" % COPIES_LIMIT,
        b"[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}",
    ],
)
def test_patterns_of_everyday_use_pass(pattern: bytes) -> None:
    Regexes().compile(pattern, EXTENDED | NEWLINE)


def test_numbers_are_refused_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neosocksd_lua_ruleset.regex.HELD_LIMIT", 2)
    held = Regexes()
    held.compile(b"a", EXTENDED)
    held.compile(b"a", EXTENDED)
    with pytest.raises(LuaCallError, match="too many"):
        held.compile(b"a", EXTENDED)
