"""neosocksd.async: how routines begin, take turns and end, and where nothing can wait."""

import pytest

from neosocksd_lua_ruleset.testing import Rule

pytestmark = pytest.mark.usefixtures("backend")


def test_async_calls_finish_with_what_pcall_gives(rule: Rule) -> None:
    server = rule()
    code = """
        local seen = {}
        local function finish(...) seen[#seen + 1] = table.pack(...) end
        neosocksd.async(finish, function(...) return ... end, 1, nil, "x")
        neosocksd.async(finish, function() error("boom", 0) end)
        local first, second = seen[1], seen[2]
        return first.n, first[1], first[2], first[3], first[4], second.n, second[1], second[2]"""
    assert server.call(code) == '4,true,1,nil,"x",2,false,"boom"'


def test_async_gives_the_coroutine(rule: Rule) -> None:
    code = """
        local co, err = neosocksd.async(print, await.idle)
        return type(co), coroutine.status(co), err"""
    assert rule().call(code) == '"thread","suspended",nil'


def test_routines_share_their_coroutines_with_request_handlers(rule: Rule) -> None:
    server = rule(
        "local r = {} function r.route() _G.same = coroutine.running() == co end return r"
    )
    server.run("_G.co = neosocksd.async(type, type, 1)")
    assert server.reply("192.0.2.1", 1) == 2
    assert server.call("return same") == "true"


def test_routines_run_in_turns(rule: Rule) -> None:
    code = """
        local order, left = {}, 2
        local function finish() left = left - 1 end
        for _, name in ipairs({ "a", "b" }) do
            neosocksd.async(finish, function()
                for i = 1, 3 do order[#order + 1] = name .. i await.idle() end
            end)
        end
        while left > 0 do await.idle() end
        return table.concat(order, " ")"""
    assert rule().call(code) == '"a1 b1 a2 b2 a3 b3"'


def test_the_function_of_async_is_yieldable_and_finish_is_not(rule: Rule) -> None:
    server = rule()
    code = """
        local inside, after
        neosocksd.async(function() after = coroutine.isyieldable() end, function() inside = coroutine.isyieldable() end)
        return inside, after"""
    assert server.call(code) == "true,false"


@pytest.mark.logs_error("attempt to yield across a C-call boundary")
def test_finish_cannot_await(rule: Rule) -> None:
    rule().call("neosocksd.async(function() await.idle() end, print)")


def test_async_works_outside_of_routines(rule: Rule) -> None:
    server = rule()
    server.run("neosocksd.async(function(ok) _G.done = ok end, await.sleep, 0.001)")
    assert server.call("while done == nil do await.idle() end return done") == "true"


def test_routines_that_begin_while_the_ruleset_loads_run_with_the_server(rule: Rule) -> None:
    server = rule("neosocksd.async(function(...) _G.done = ... end, await.sleep, 0.001) return {}")
    assert server.call("while done == nil do await.idle() end return done") == "true"


# where a routine cannot wait


@pytest.mark.parametrize(
    "call", ["sleep(0)", "idle()", "resolve('x')", "execute('true')", "invoke('', 'x:1')"]
)
def test_await_outside_of_a_routine_raises(rule: Rule, call: str) -> None:
    assert rule().error(f"\nlocal x = await.{call}") == "(invoke):2: not in asynchronous routine"


@pytest.mark.parametrize(
    "code",
    [
        "table.sort({2, 1}, function() await.idle() end)",
        "string.gsub('x', 'x', function() await.idle() end)",
        "load(function() await.idle() end)()",
    ],
)
def test_a_yield_where_none_is_allowed_raises(rule: Rule, code: str) -> None:
    server = rule()
    text = server.call(
        f"local ok, message = pcall(function() {code} end) return ok, tostring(message)"
    )
    assert text.startswith("false")
    assert "C-call boundary" in text or "attempt to call a nil value" in text
