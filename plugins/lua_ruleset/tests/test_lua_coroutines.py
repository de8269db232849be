"""Coroutines around awaits: a script resumes, closes and wraps them as in plain Lua, and errors and closing go through a wait."""

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule

pytestmark = pytest.mark.usefixtures("backend")

HANDLER = "local r = {{}} function r.resolve(addr) {0} end return r"


def test_coroutines_of_a_script_behave_as_in_plain_lua(rule: Rule) -> None:
    server = rule()
    code = """
        local function numbers() for i = 1, 3 do coroutine.yield(i, i * i) end return "end" end
        local seen = {}
        for i, square in coroutine.wrap(numbers) do
            if i == "end" then break end
            await.idle()
            seen[#seen + 1] = square
        end
        local co = coroutine.create(numbers)
        local a, b, c = coroutine.resume(co)
        return seen[1], seen[2], seen[3], a, b, c, coroutine.status(co)"""
    assert server.call(code) == '1,4,9,true,1,1,"suspended"'


def test_a_script_can_resume_a_routine_itself(rule: Rule) -> None:
    server = rule()
    code = """
        local me, got = coroutine.running()
        neosocksd.async(print, function()
            await.idle()
            coroutine.resume(me, "value")
        end)
        got = coroutine.yield()
        return got"""
    assert server.call(code) == '"value"'


def test_a_routine_that_waits_goes_on_waiting_when_somebody_resumes_it(rule: Rule) -> None:
    server = rule()
    code = """
        local finished
        local co = neosocksd.async(function() finished = true end, await.sleep, 0.02)
        for i = 1, 3 do assert(coroutine.resume(co, "not yet")) end
        local early = finished
        while not finished do await.idle() end
        return early, finished"""
    assert server.call(code) == "nil,true"


def test_a_finished_routine_can_be_resumed_without_harm(rule: Rule, echo: EchoServer) -> None:
    server = rule("local r = {} function r.route(a) return a end return r")
    code = "local co = neosocksd.async(print, function() end) return coroutine.resume(co, 1)"
    assert server.call(code) == "true"
    assert server.reply("127.0.0.1", echo.port) == 0


def test_an_await_in_a_coroutine_of_a_routine_wakes_that_coroutine(rule: Rule) -> None:
    server = rule()
    code = """
        local done
        local co = coroutine.create(function() await.sleep(0.001) done = true end)
        assert(coroutine.resume(co))
        local early = done
        while not done do await.idle() end
        return early, done, coroutine.status(co)"""
    assert server.call(code) == 'nil,true,"dead"'


@pytest.mark.logs_error("error in a coroutine: (rpc):3: boom")
def test_an_error_after_an_await_in_such_a_coroutine_is_logged(rule: Rule) -> None:
    server = rule()
    server.call(
        """local done
        local co = coroutine.create(function()
            await.idle() done = true error("boom") end)
        coroutine.resume(co)
        while not done do await.idle() end""".replace("\n            await", " await", 1).replace(
            "done = true error", "done = true\nerror"
        )
    )


def test_pcall_xpcall_and_error_work_across_an_await(rule: Rule) -> None:
    server = rule()
    code = """
        local a = table.pack(pcall(function() await.idle() error("one", 0) end))
        local b = table.pack(xpcall(function() await.idle() error("two", 0) end, function(m) return m .. "!" end))
        local c = table.pack(pcall(function() await.idle() return 1, nil, 3 end))
        local d = table.pack(pcall(function() await.idle() error({ 42 }) end))
        return a[1], a[2], b[1], b[2], c.n, c[4], d[1], d[2][1]"""
    assert server.call(code) == 'false,"one",false,"two!",4,3,false,42'


def test_an_await_works_in_metamethods_and_iterators(rule: Rule) -> None:
    server = rule()
    code = """
        local t = setmetatable({}, {
            __index = function(_, key) await.idle() return key .. "!" end,
            __add = function(_, n) await.idle() return n + 1 end,
        })
        local sum = 0
        for i in function(_, i) await.idle() i = (i or 0) + 1 if i < 4 then return i end end do sum = sum + i end
        return t.x, t + 1, sum"""
    assert server.call(code) == '"x!",2,6'


def test_to_be_closed_variables_close_across_an_await(rule: Rule) -> None:
    server = rule()
    code = """
        local order = {}
        local function closing(name)
            return setmetatable({}, { __close = function() await.idle() order[#order + 1] = name end })
        end
        pcall(function()
            local a <close>, b = closing("a"), 1
            local c <close> = closing("c")
            await.idle()
            error("x")
        end)
        return order[1], order[2]"""
    assert server.call(code) == '"c","a"'


def test_a_script_that_changes_the_globals_does_not_break_the_machinery(
    rule: Rule, echo: EchoServer
) -> None:
    server = rule(HANDLER.format(f'await.idle() return "127.0.0.1:{echo.port}"'))
    server.run("""
        for _, name in ipairs({ "coroutine", "table", "string", "math", "debug", "package", "select", "type", "error", "tostring",
            "setmetatable", "load", "marshal", "os", "io", "next", "pairs", "ipairs" }) do _G[name] = nil end""")
    assert server.reply("x.test", 1) == 0
    assert server.post("/ruleset/rpcall", "await.idle() return 1").body == b"return true,1"
