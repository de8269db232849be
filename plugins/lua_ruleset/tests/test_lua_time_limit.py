"""A script cannot keep the server: loops, patterns and calls that take long are ended in time."""

from typing import Literal

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.testing import MakeEngine, Rule

Lua = Literal["5.3", "5.4", "5.5"]

VERSIONS: tuple[Lua, ...] = ("5.3", "5.4", "5.5")

LOOPS = {
    "plain": "while true do end",
    "goto": "::again:: goto again",
    "pcall": "while true do pcall(function() while true do end end) end",
    "pcall of an error": "while true do pcall(error) end",
    "xpcall": "xpcall(function() while true do end end, function() while true do end end)",
    "xpcall handler": "xpcall(error, function() while true do end end)",
    "index": "local x = setmetatable({}, { __index = function() while true do end end }).x",
    "eq": "local m = { __eq = function() while true do end end } local x = setmetatable({}, m) == setmetatable({}, m)",
    "tostring": "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
    "error object": "error(setmetatable({}, { __tostring = function() while true do end end }))",
    "sort": "table.sort({ 3, 2, 1 }, function() while true do end end)",
    "gsub": "string.gsub('x', 'x', function() while true do end end)",
    "coroutine": "coroutine.wrap(function() while true do end end)()",
    "resume": "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "nested": "coroutine.wrap(function() coroutine.wrap(function() while true do pcall(function() while true do end end) end end)() end)()",
    "yields": "local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end",
    "async": "neosocksd.async(print, function() while true do end end) while true do end",
    "finish": "neosocksd.async(function() while true do end end, function() end) while true do end",
    "load": "while true do load(function() while true do end end) end",
    "collections": "while true do collectgarbage() end",
    "asyncs": "while true do neosocksd.async(print, function() while true do end end) end",
}


@pytest.mark.parametrize("code", LOOPS.values(), ids=LOOPS)
def test_an_endless_loop_ends_with_an_error_that_names_the_line(
    engine: MakeEngine, code: str
) -> None:
    machine = engine(time_limit=0.05)
    with pytest.raises(ScriptError, match=r"\(invoke\):1: time limit of 0.05 seconds exceeded"):
        machine.invoke(code.encode())
    machine.invoke(b"local x = 1")


@pytest.mark.parametrize("lua", VERSIONS)
@pytest.mark.parametrize("instruction", ["text .. 'y'", "text:upper()"])
def test_few_instructions_that_make_long_strings_are_ended_too(
    engine: MakeEngine, instruction: str, lua: str
) -> None:
    # Fewer instructions than there are between two looks at the clock.
    code = f"""local text = ('x'):rep(1 << 25)
        for i = 1, 100 do local made = {instruction} end error("it went on")"""
    with pytest.raises(ScriptError, match=r"\(invoke\):\d: time limit of 0.1 seconds exceeded"):
        engine(time_limit=0.1, lua=lua).invoke(code.encode())


@pytest.mark.parametrize("lua", VERSIONS)
def test_the_time_limit_holds_in_each_version(engine: MakeEngine, lua: str) -> None:
    with pytest.raises(ScriptError, match="time limit"):
        engine(time_limit=0.05, lua=lua).invoke(
            b"while true do pcall(function() while true do end end) end"
        )


def test_a_looping_close_is_ended_too(engine: MakeEngine) -> None:
    code = b"local x <close> = setmetatable({}, { __close = function() while true do end end }) error('x')"
    with pytest.raises(ScriptError, match="time limit"):
        engine(time_limit=0.05).invoke(code)


def test_what_is_closed_on_the_way_out_cannot_go_on_either(engine: MakeEngine) -> None:
    machine = engine(time_limit=0.05)
    with pytest.raises(ScriptError, match="time limit"):
        machine.invoke(b"""
            local again
            local function loop()
                local x <close> = setmetatable({}, { __close = function() again() end })
                while true do end
            end
            function again() while true do pcall(loop) end end
            loop()""")
    machine.invoke(b"local x = 1")


@pytest.mark.logs_error("time limit of 0.05 seconds")
def test_a_looping_callback_rejects_its_request_alone(
    rule: Rule, echo: EchoServer, backend: Backend
) -> None:
    server = rule(
        f"""return {{
            route = function(a) while true do end end,
            resolve = function() return "127.0.0.1:{echo.port}" end }}""",
        lua_ruleset={"time_limit": 0.05},
    )
    assert server.reply("127.0.0.1", 1) == 2
    assert server.reply("x.test", 1) == 0


@pytest.mark.logs_error("time limit of 0.05 seconds")
def test_the_limit_holds_after_an_await(rule: Rule) -> None:
    server = rule(
        "return { resolve = function() await.idle() while true do end end }",
        lua_ruleset={"time_limit": 0.05},
    )
    assert server.reply("x.test", 1) == 2


def test_waiting_does_not_count(rule: Rule) -> None:
    server = rule(lua_ruleset={"time_limit": 0.05})
    assert server.call("for i = 1, 5 do await.sleep(0.02) end return 1") == "1"


def test_no_limit_while_loading_by_default(engine: MakeEngine) -> None:
    machine = engine(time_limit=0.01)
    machine.load(
        b"local t = time.monotonic() + 0.05 while time.monotonic() < t do end return {}", b"=x"
    )


def test_a_limit_for_loading_can_be_set(engine: MakeEngine) -> None:
    with pytest.raises(ScriptError, match="x:1: time limit"):
        engine(load_time_limit=0.05).load(b"while true do end", b"=x")


@pytest.mark.parametrize("lua", VERSIONS)
def test_the_limit_of_a_script_does_not_end_a_collection_after_it(
    engine: MakeEngine, lua: str
) -> None:
    machine = engine(time_limit=0.05, lua=lua)
    with pytest.raises(ScriptError, match="time limit"):
        machine.invoke(b"""
            collectgarbage("stop")
            setmetatable({}, { __gc = function()
                local t = time.monotonic() + 0.1 while time.monotonic() < t do end
                _G.finalized = true
            end })
            while true do end""")
    machine.collect()
    machine.invoke(b"assert(finalized)")


def test_zero_switches_the_limit_off(engine: MakeEngine) -> None:
    engine(time_limit=0).invoke(
        b"local t = time.monotonic() + 0.05 while time.monotonic() < t do end"
    )


LONG_PATTERNS = {
    "three broad items": ("('a'):rep(300)", "(.-)(.-)(.-)b"),
    "options": ("('a'):rep(30)", "('.?'):rep(30) .. 'b'"),
    "more options than an integer has bits": ("('a'):rep(70)", "('.?'):rep(70) .. 'b'"),
    "two broad items, not anchored": ("('a'):rep(20000)", "'.-.-b'"),
    "one broad item, not anchored": ("('a'):rep(1000000)", "'.-b'"),
    "a single character": ("('a'):rep(400)", "('a-'):rep(9) .. 'b'"),
    "balanced": ("('('):rep(1000000)", "'%b()'"),
}


@pytest.mark.parametrize("function", ["find", "match", "gmatch", "gsub"])
@pytest.mark.parametrize(("subject", "pattern"), LONG_PATTERNS.values(), ids=LONG_PATTERNS)
def test_a_pattern_that_would_take_for_ever_is_ended_in_time(
    engine: MakeEngine, function: str, subject: str, pattern: str
) -> None:
    if not pattern.startswith(("'", "('")):
        pattern = f"'{pattern}'"
    call = f"string.{function}({subject}, {pattern}, {'1' if function != 'gsub' else chr(39) * 2})"
    code = f"for _ in {call} do end" if function == "gmatch" else f"local x = {call}"
    with pytest.raises(ScriptError, match=r"\(invoke\):1: time limit of 0.05 seconds"):
        engine(time_limit=0.05).invoke(code.encode())


HEAVY_CALLS = {
    "rep": "local s = ('x'):rep(1 << 26)",
    "concat": "local s = table.concat(many)",
    "format": "local s = ('%s%s'):format(long, long)",
    "sort": "table.sort(many)",
    "gsub": "local s = long:gsub('x', 'yy')",
    "find": "local s = long:find('y')",
    "join": "local s = long .. long",
    "compare": "local s = long == long2",
    "upper": "local s = long:upper()",
    "sub": "local s = long:sub(2)",
    "utf8": "local s = utf8.len(long)",
    "tonumber": "local s = tonumber(long)",
    "insert": "table.insert(many, 1, 1)",
    "read": "local f = io.open('/dev/zero') f:read(1 << 22) f:close()",
    "move": "table.move(many, 1, 1e9, 1, {})",
    "regex": "local s = regex.compile('y'):find(long)",
    "zlib": "local s = zlib.compress(long)",
    "marshal": "local s = marshal(long)",
    "load": "load('return [[' .. long .. ']]')",
}


@pytest.mark.parametrize("call", HEAVY_CALLS.values(), ids=HEAVY_CALLS)
def test_a_loop_of_few_calls_that_take_long_is_ended(engine: MakeEngine, call: str) -> None:
    machine = engine(time_limit=0.05)
    machine.load(
        b"""
        long, long2, many = ("x"):rep(1 << 22), ("x"):rep(1 << 22), {}
        for i = 1, 2e5 do many[i] = i end
        return {}""",
        b"=x",
    )
    with pytest.raises(ScriptError, match=r"\(invoke\):1: time limit of 0.05 seconds"):
        machine.invoke(f"while true do {call} end".encode())
    machine.invoke(b"long, long2, many = nil")


def test_patterns_that_are_matched_in_lua_match_as_in_c(engine: MakeEngine) -> None:
    engine(time_limit=0).invoke(b"""
        local many = ("ab "):rep(4000)
        assert(many:find("(.-)(%s)(.-)(.-)$") == 1)
        local a, b, c = (many .. "k=v"):match("(.-)(%w)=(%w)$")
        assert(a == many and b == "k" and c == "v")
        assert(select(2, many:gsub("%w-%w-%s", "")) == 4000)
        local count = 0
        for word, place in many:gmatch("(%a-%a-)%s()") do
            count = count + 1
            assert(word == "ab" and place == count * 3 + 1)
        end
        assert(count == 4000)""")


def test_a_replacement_that_would_make_a_huge_string_is_refused(engine: MakeEngine) -> None:
    with pytest.raises(ScriptError, match=r"\(invoke\):1: resulting string too large"):
        engine().invoke(b"local s = ('x'):rep(1e6):gsub('x', ('y'):rep(1e6))")


ARGUMENT_ERRORS = {
    "('x'):find({})": "bad argument #2 to 'find' (string expected, got table)",
    "('x'):find('x', {})": "bad argument #3 to 'find' (number expected, got table)",
    "string.match()": "bad argument #1 to 'match' (string expected, got nil)",
    "('x'):gsub('x')": "bad argument #3 to 'gsub' (string/function/table expected, got nil)",
    "('x'):gsub('x', '%2')": "invalid capture index %2",
    "('x'):find('[x')": "malformed pattern (missing ']')",
    "('x'):find('x%')": "malformed pattern (ends with '%')",
    "string.format('%d', 'x')": "bad argument #2 to 'format' (number expected, got string)",
    "table.concat({ {} })": "invalid value (table) at index 1 in table for 'concat'",
    "table.sort(1)": "bad argument #1 to 'sort' (table expected, got number)",
    "tonumber()": "bad argument #1 to 'tonumber' (value expected)",
    "tonumber('1', 99)": "bad argument #2 to 'tonumber' (base out of range)",
    "utf8.len({})": "bad argument #1 to 'len' (string expected, got table)",
    "string.rep(nil, 2)": "bad argument #1 to 'rep' (string expected, got nil)",
}


@pytest.mark.parametrize(("call", "message"), ARGUMENT_ERRORS.items(), ids=ARGUMENT_ERRORS)
def test_an_error_of_a_bounded_function_stands_where_it_was_called(
    engine: MakeEngine, call: str, message: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        engine().invoke(f"\nlocal x = {call}".encode())
    assert str(caught.value) == f"(invoke):2: {message}"


def test_usual_patterns_are_not_refused(engine: MakeEngine) -> None:
    engine().invoke(b"""
        local line = ("word "):rep(20)
        assert(line:match("^(.-) (.-) (.-) (.-) "))
        assert(("key = value"):match("^%s*(.-)%s*=%s*(.-)%s*$") == "key")
        assert(line:find("w.*d") == 1 and line:gsub(".", "") == "")
        local n = 0 for _ in line:gmatch("%a+") do n = n + 1 end assert(n == 20)
        assert(("a.b"):find(".", 1, true) == 2)""")
