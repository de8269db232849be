"""A script cannot take the server down: time, memory, recursion, strange errors, bytecode, the sandbox, and Python out of reach."""

from asyncio import CancelledError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset import clocks, compression
from neosocksd_lua_ruleset.bridge import LuaCallError, Native
from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.matchsets import MatchSets
from neosocksd_lua_ruleset.regex import Regexes
from neosocksd_lua_ruleset.testing import MakeEngine, Rule
from neosocksd_lua_ruleset.vm import Vm

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


# memory


HOGS = {
    "table": b"local t = {} for i = 1, 1e9 do t[i] = i end",
    "doubling": b"local s = 'xxxxxxxx' while true do s = s .. s end",
    "strings": b"local t = {} for i = 1, 2000 do t[i] = string.rep('x', 1 << 24) .. i end",
    "rep": b"return #string.rep('x', 200000000)",
    "concat": b"local t = { 'x' } while true do t = { table.concat(t), table.concat(t) } end",
    "pcall": b"while true do assert(pcall(function() local s = 'xxxxxxxx' while true do s = s .. s end end)) end",
    "coroutines": b"local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end",
    "closures": b"local t = {} for i = 1, 1e9 do t[i] = function() return t end end",
    "natives": b"local t, z = {}, zlib.compress(string.rep('x', 100000)) for i = 1, 1e9 do t[i] = zlib.uncompress(z) end",
    "routines": b"local t = {} for i = 1, 1e9 do t[i] = assert(neosocksd.async(print, coroutine.yield)) end",
}


@pytest.mark.parametrize("lua", VERSIONS)
@pytest.mark.parametrize("code", HOGS.values(), ids=HOGS)
def test_above_the_hard_limit_a_script_fails_and_the_machine_lives(
    engine: MakeEngine, code: bytes, lua: str
) -> None:
    machine = engine(hard_memlimit=32, lua=lua, time_limit=0)
    with pytest.raises(ScriptError, match="not enough memory"):
        machine.invoke(code)
    machine.collect()
    assert machine.measure().memory < 16 << 20
    machine.invoke(b"local t = {} for i = 1, 1000 do t[i] = { i } end")


@pytest.mark.logs_error("not enough memory")
def test_above_the_hard_limit_only_that_request_is_rejected(
    rule: Rule, echo: EchoServer, backend: Backend
) -> None:
    server = rule(
        f"""return {{
            route = function(a) local s = a while true do s = s .. s end end,
            resolve = function() await.idle() return "127.0.0.1:{echo.port}" end }}""",
        lua_ruleset={"hard_memlimit": 32},
    )
    assert server.reply("127.0.0.1", 1) == 2
    assert server.reply("x.test", 1) == 0


def test_loading_may_take_more_than_the_hard_limit(engine: MakeEngine) -> None:
    engine(hard_memlimit=8).load(
        b"local t = {} for i = 1, 2000000 do t[i] = i end return {}", b"=x"
    )


def test_above_the_soft_limit_a_collection_is_forced_and_nothing_refused(
    engine: MakeEngine,
) -> None:
    machine = engine(memlimit=4)
    machine.invoke(b"_G.count = 0 collectgarbage('stop') for i = 1, 60000 do local t = { i } end")
    machine.invoke(
        b"setmetatable({}, { __gc = function() _G.count = count + 1 end }) _G.big = string.rep('x', 8 << 20)"
    )
    machine.invoke(b"if count == 0 then error('nothing was collected') end assert(#big == 8 << 20)")


def test_string_rep_is_bounded(engine: MakeEngine) -> None:
    with pytest.raises(ScriptError, match=r"\(invoke\):1: resulting string too large"):
        engine().invoke(b"local x = string.rep('x', 1 << 40)")
    engine().invoke(
        b"assert(('ab'):rep(3, '-') == 'ab-ab-ab' and ('x'):rep(-1) == '' and ('x'):rep(0) == '')"
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
    "string.match()": "bad argument #1 to 'match' (string expected, got no value)",
    "('x'):gsub('x')": "bad argument #3 to 'gsub' (string/function/table expected, got no value)",
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


# recursion, errors


@pytest.mark.parametrize("lua", VERSIONS)
@pytest.mark.parametrize(
    "code",
    [
        "local function f() return 1 + f() end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x",
        "local function f() pcall(f) error('x') end f()",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() string.gsub('x', 'x', f) end f()",
        "local s = string.rep('(', 1000) .. string.rep(')', 1000) error(select(2, load('return ' .. s)))",
    ],
)
def test_deep_recursion_is_an_error(engine: MakeEngine, code: str, lua: str) -> None:
    machine = engine(lua=lua)
    with pytest.raises(ScriptError):
        machine.invoke(code.encode())
    machine.invoke(b"local x = 1")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("nil", "(error object is a nil value)"),
        ("{}", "(error object is a table value)"),
        ("42", "42"),
        ("true", "true"),
        ("setmetatable({}, { __tostring = function() return 'made' end })", "made"),
        ("setmetatable({}, { __tostring = function() error('raised', 0) end })", "raised"),
        (
            "setmetatable({}, { __tostring = function() return {} end })",
            "'__tostring' must return a string",
        ),
        ("setmetatable({}, { __name = 'Mine' })", "(error object is a table value)"),
        ("'\\255'", "\ufffd"),
    ],
)
def test_an_error_object_becomes_a_text_that_is_not_empty(
    engine: MakeEngine, error: str, message: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        engine().invoke(f"error({error})".encode())
    assert message in str(caught.value)


def test_a_finalizer_that_raises_harms_nobody(engine: MakeEngine) -> None:
    machine = engine()
    machine.invoke(b"for i = 1, 100 do setmetatable({}, { __gc = function() error({}) end }) end")
    machine.collect()
    machine.invoke(b"local x = 1")


# numbers and strings


@pytest.mark.parametrize("lua", VERSIONS)
def test_numbers_and_strings_cross_exactly(lua: Lua) -> None:
    seen: list[object] = []

    def keep(*values: object) -> object:
        seen.extend(values)
        return values

    vm = make_vm({"clock": keep}, lua)
    run_probe(
        vm,
        rb"""local ok, a, b, c, d, e, f, g = probe(math.maxinteger, math.mininteger, 1/0, -0.0, "\0\255", 1.5, true)
        assert(ok and a == math.maxinteger and b == math.mininteger and c == 1/0 and 1/d == -1/0 and e == "\0\255" and f == 1.5 and g)
        local ok, n = probe(0/0) assert(n ~= n)
        local big = ("x"):rep(1 << 24) local ok, same = probe(big) assert(same == big)
        assert(math.type(a) == "integer" and math.type(c) == "float")""",
    )
    assert seen[:3] == [(1 << 63) - 1, -(1 << 63), float("inf")]
    assert seen[4:7] == [b"\x00\xff", 1.5, True]


def test_an_integer_that_lua_cannot_hold_is_an_error() -> None:
    vm = make_vm({"clock": lambda: 1 << 63})
    run_probe(vm, b"local ok, message = probe() assert(not ok and message == 'integer overflow')")


@pytest.mark.parametrize("value", ["{}", "print", "coroutine.create(print)", "io.stdout"])
def test_what_is_no_primitive_does_not_cross(value: str) -> None:
    vm = make_vm({"clock": lambda *values: pytest.fail(f"got {values}")})
    run_probe(
        vm,
        f"local ok, m = probe(1, {value}) assert(not ok and m:find('primitive expected'), m)".encode(),
    )


@pytest.mark.parametrize(
    "wrap",
    [
        "%s",
        "assert(pcall(function() %s end))",
        "assert(coroutine.resume(coroutine.create(function() %s end)))",
    ],
)
@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("y"), LuaCallError("z"), LuaCallError(b"\xff")]
)
def test_what_a_native_function_raises_is_a_text_in_lua(error: Exception, wrap: str) -> None:
    def fail() -> None:
        raise error

    reported: list[Exception] = []
    vm = make_vm({"clock": fail}, reported=reported)
    run_probe(
        vm,
        (
            wrap % "local ok, m = probe() assert(ok == false and type(m) == 'string' and m ~= '')"
        ).encode(),
    )
    assert (reported == [error]) is not isinstance(error, LuaCallError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), CancelledError()])
def test_what_must_not_be_swallowed_is_raised_when_lua_returns(error: BaseException) -> None:
    def fail() -> None:
        raise error

    vm = make_vm({"clock": fail})
    with pytest.raises(type(error)):
        run_probe(vm, b"coroutine.wrap(function() pcall(probe) end)()")
    run_probe(vm, b"local x = 1")


NEEDED: dict[str, Native] = {
    name: (lambda *_: None)
    for name in [
        "config",
        "statistics",
        "resolve",
        "splithostport",
        "parse_ipv6",
        "set_interval",
        "clock",
        "exit",
        "log_error",
        "cancel",
        "await_sleep",
        "await_resolve",
        "await_execute",
        "execute",
        "popen",
        "popen_opened",
        "popen_wait",
        "popen_forget",
        "await_forward",
        "await_invoke",
        "invoke",
        "decide",
        "answer",
    ]
}


def make_vm(
    natives: Mapping[str, Callable[..., Any]],
    lua: Lua = "5.4",
    reported: list[Exception] | None = None,
) -> Vm:
    found: dict[str, Native] = {**NEEDED}
    for part in (clocks, compression, MatchSets(), Regexes()):
        found |= part.natives()
    found |= natives

    def report(error: Exception, where: str) -> None:
        if reported is not None:
            reported.append(error)

    return Vm(found, report, lua=lua)


def run_probe(vm: Vm, code: bytes) -> None:
    """Run code that calls the native function `probe`, as a shim of ours would."""
    ok, *message = vm.enter(
        "invoke",
        b"""
        local probe
        for i = 1, 50 do
            local name, value = debug.getupvalue(neosocksd.now, i)
            if name == "native" then probe = value.clock end
        end
        """
        + code,
    )
    assert ok, message


# Python out of reach


ESCAPES = [
    "python.eval('1')",
    "python.builtins.open",
    "require('python')",
    "package.loaded.python.eval",
    "as_attrgetter(print)",
    "as_itemgetter(print)",
]


@pytest.mark.parametrize("code", ESCAPES)
def test_python_is_not_there(engine: MakeEngine, code: str) -> None:
    with pytest.raises(ScriptError):
        engine().invoke(("local x = " + code).encode())


SEARCH = b"""
    -- Every Python object that the debug library finds is a function that cannot be opened.
    local seen, found = {}, {}
    local function visit(value)
        if seen[value] then return end
        local kind = type(value)
        if kind ~= "table" and kind ~= "function" and kind ~= "userdata" and kind ~= "thread" then return end
        seen[value] = true
        if kind == "userdata" and debug.getmetatable(value) and debug.getmetatable(value).__metatable == "locked" then
            found[#found + 1] = value
        end
        if kind == "table" then for k, v in next, value do visit(k) visit(v) end end
        if kind == "function" then
            local i = 1
            while true do
                local name, v = debug.getupvalue(value, i)
                if not name then break end
                visit(v) i = i + 1
            end
        end
        visit(debug.getmetatable(value))
    end
    visit(_G)
    visit(debug.getregistry())
    assert(#found > 10, #found)
    for _, object in ipairs(found) do
        assert(getmetatable(object) == "locked")
        assert(not pcall(setmetatable, object, {}))
        for _, name in ipairs({ "__class__", "__globals__", "__self__", "__call__", "gi_frame", "__traceback__", "func_code" }) do
            assert(not pcall(function() return object[name] end), name)
            assert(not pcall(function() object[name] = 1 end), name)
        end
        assert(not pcall(function() return object[1] end))
        assert(not pcall(function() return #object end))
        assert(not pcall(function() return object .. "" end))
        assert(not tostring(object):find("<"), tostring(object))
    end"""


@pytest.mark.parametrize("lua", VERSIONS)
def test_what_of_python_the_debug_library_finds_is_closed(engine: MakeEngine, lua: str) -> None:
    engine(lua=lua).invoke(SEARCH)


# bytecode, C modules


@pytest.mark.parametrize(
    "code",
    [
        "assert(load('\\27Lua'))",
        "assert(load('\\27Lua', 'x', 'b'))",
        "assert(load('\\27Lua', 'x', 'bt'))",
        "assert(load(function() return '\\27Lua' end))",
        "string.dump(print)",
        "assert(package.loadlib('libc.so.6', '*'))",
        "require('socket.core')",
    ],
)
@pytest.mark.parametrize("sandbox", [False, True])
def test_bytecode_and_c_modules_are_refused(engine: MakeEngine, code: str, sandbox: bool) -> None:
    with pytest.raises(ScriptError):
        engine(sandbox=sandbox).invoke(code.encode())


def test_bytecode_files_are_refused(engine: MakeEngine, tmp_path: Path) -> None:
    (tmp_path / "code.lua").write_bytes(b"\x1bLua")
    for code in (
        f"assert(loadfile('{tmp_path}/code.lua'))",
        f"dofile('{tmp_path}/code.lua')",
        f"package.path = '{tmp_path}/?.lua' require('code')",
    ):
        with pytest.raises(ScriptError, match="binary chunk"):
            engine().invoke(code.encode())


def test_load_takes_an_environment(engine: MakeEngine) -> None:
    engine().invoke(
        b"assert(load('return x', 'n', 't', { x = 7 })() == 7 and load('return print')() == print)"
    )
    engine().invoke(b"assert(not pcall(load('return x', 'n', 't', nil)))")


# the whole library, and the sandbox


def test_the_whole_standard_library_is_there(engine: MakeEngine) -> None:
    names = [
        "io.open",
        "io.popen",
        "os.execute",
        "os.getenv",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.exit",
        "debug.sethook",
        "debug.getupvalue",
        "loadfile",
        "dofile",
        "collectgarbage",
        "coroutine.close",
        "utf8.char",
        "table.move",
        "math.tointeger",
        "string.pack",
        "package.searchpath",
        "require",
    ]
    engine().invoke("".join(f"assert({name}, '{name}')\n" for name in names).encode())


@pytest.mark.parametrize(
    "code",
    [
        "io.open('/etc/passwd')",
        "require('io').open('/etc/passwd')",
        "os.execute('true')",
        "os.exit(9)",
        "os.getenv('HOME')",
        "os.remove('x')",
        "loadfile('/etc/passwd')",
        "dofile('/etc/passwd')",
        "debug.sethook()",
        "debug.getregistry()",
        "debug.getupvalue(print, 1)",
        "debug.setmetatable('', {})",
        "collectgarbage('stop')",
        "collectgarbage('generational')",
        "setmetatable({}, { __gc = function() while true do end end })",
        "await.execute('true')",
        "os.tmpname()",
        "os.rename('x', 'y')",
        "os.setlocale('C')",
        "assert(package.path)",
        "assert(package.cpath)",
        "assert(package.config)",
        "assert(package.searchers)",
        "assert(package.loaded.package.searchers)",
        "assert(require('package').searchers)",
        "package.searchpath('passwd', '/etc/?')",
    ],
)
def test_the_sandbox_takes_away_what_reaches_outside(engine: MakeEngine, code: str) -> None:
    with pytest.raises(ScriptError):
        engine(sandbox=True).invoke(code.encode())


@pytest.mark.parametrize("lua", VERSIONS)
def test_require_reads_no_files_in_the_sandbox(
    engine: MakeEngine, lua: str, tmp_path: Path
) -> None:
    (tmp_path / "beside.lua").write_text("return 1")
    (tmp_path / "ruleset.lua").write_text("""
        found = pcall(require, "beside")
        package.preload.mine = function() return 7 end
        return {}""")
    machine = engine(lua=lua)
    machine.load_file(tmp_path / "ruleset.lua")
    machine.invoke(b"assert(found)")
    machine = engine(lua=lua, sandbox=True)
    machine.load_file(tmp_path / "ruleset.lua")
    machine.invoke(b"assert(not found and require('mine') == 7 and require('libruleset'))")


@pytest.mark.parametrize("lua", VERSIONS)
def test_getinfo_of_the_sandbox_tells_where_and_gives_no_function(
    engine: MakeEngine, lua: str
) -> None:
    engine(lua=lua, sandbox=True).invoke(b"""
        local function inner() return debug.getinfo(1, "n").name, debug.getinfo(2, "Sl") end
        local name, caller = inner()
        assert(name == "inner" and caller.short_src == "(invoke)" and caller.currentline == 3)
        assert(debug.getinfo(print).what == "C" and debug.getinfo(1000) == nil)
        for level = 0, 20 do
            local info = debug.getinfo(level)
            if not info then break end
            assert(info.func == nil)
        end
        assert(debug.getinfo(1, "f").func == nil and debug.getinfo(inner, "f").func == nil)""")
    for wrong in ("debug.getinfo({})", "debug.getinfo(1, '?')"):
        with pytest.raises(ScriptError, match=r"\(invoke\):1: bad argument #. to 'getinfo'"):
            engine(lua=lua, sandbox=True).invoke(wrong.encode())


def test_what_stays_in_the_sandbox(engine: MakeEngine) -> None:
    engine(sandbox=True).invoke(b"""
        assert(os.time() > 0 and os.clock() >= 0 and os.date() and debug.traceback() and debug.getinfo(1))
        assert(collectgarbage("count") > 0 and collectgarbage() == 0)
        assert(setmetatable({}, { __index = { x = 1 } }).x == 1)
        assert(neosocksd.now() > 0 and zlib.uncompress(zlib.compress("x")) == "x")""")
