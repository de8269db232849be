"""A script cannot take all memory, nor all of the stack."""

from typing import Literal

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.testing import MakeEngine, Rule

Lua = Literal["5.3", "5.4", "5.5"]

VERSIONS: tuple[Lua, ...] = ("5.3", "5.4", "5.5")

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
