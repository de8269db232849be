"""libruleset: async, futures, await.callback, unmarshal: what needs no event loop."""

import contextlib

import pytest

from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.trial import Script


def test_async_runs_until_the_first_await(lua: Script) -> None:
    code = """
        local seen = {}
        local future = async(function(...)
            seen[1] = { ... }
            coroutine.yield()
            seen[2] = true
        end, 1, nil, 3)
        return seen[1][1], seen[1][3], seen[2]
    """
    assert lua.values(code) == "1,3,nil"


def test_get_gives_true_and_the_results(lua: Script) -> None:
    assert (
        lua.values("return async(function(...) return ... end, 1, nil, 3):get()") == "true,1,nil,3"
    )
    assert lua.values("return select('#', async(function() end):get())") == "1"


def test_get_gives_false_and_the_error(lua: Script) -> None:
    assert lua.values("return async(error, 'broken', 0):get()") == 'false,"broken"'
    assert lua.values("return async(error, { 7 }):get()") == "false,{7,}"
    # Lua 5.5 makes a text of it
    assert lua.values("return async(error):get()") in ("false,nil", 'false,"<no error object>"')


def test_get_may_be_called_often_and_by_several_waiters(lua: Script) -> None:
    code = """
        local go, seen = nil, {}
        local future = async(function() return await.callback(function(f) go = f end) end)
        for i = 1, 3 do async(function() seen[i] = { future:get() } end) end
        local before = #seen
        go("done", nil)
        return before, seen, future:get()
    """
    assert lua.values(code) == '0,{{true,"done",},{true,"done",},{true,"done",},},true,"done",nil'


def test_get_outside_of_a_routine_raises_unless_it_is_done(lua: Script) -> None:
    error = lua.error("local f = async(coroutine.yield)\n f:get()")
    assert error == "(invoke):2: not in asynchronous routine"


def test_a_waiter_that_somebody_else_resumes_goes_on_waiting(lua: Script) -> None:
    code = """
        local go, co, result
        local future = async(function() return await.callback(function(f) go = f end) end)
        async(function() co = coroutine.running() result = { future:get() } end)
        coroutine.resume(co)
        local early = result
        go(1)
        return early, result, coroutine.resume(co)
    """
    assert lua.values(code).startswith("nil,{true,1,},")


def test_a_waiter_that_goes_on_to_something_else_is_not_disturbed(lua: Script) -> None:
    code = """
        local go, steps = nil, 0
        local future = async(function() return await.callback(function(f) go = f end) end)
        local co
        -- The first waiter wakes the second one before its turn has come.
        async(function() future:get() coroutine.resume(co) end)
        async(function()
            co = coroutine.running()
            future:get()
            steps = 1
            coroutine.yield()
            steps = 2
        end)
        go()
        return steps
    """
    assert lua.values(code) == "1"


def test_a_dead_waiter_is_left_out(lua: Script) -> None:
    if lua.values("return coroutine.close == nil") == "true":
        pytest.skip("this Lua cannot close a coroutine")
    code = """
        local go, seen = nil, {}
        local future = async(function() return await.callback(function(f) go = f end) end)
        local co = coroutine.create(function() future:get() seen[1] = true end)
        coroutine.resume(co)
        async(function() future:get() seen[2] = true end)
        coroutine.close(co)
        go()
        return seen[1], seen[2]
    """
    assert lua.values(code) == "nil,true"


def test_a_chain_of_a_thousand_futures_needs_no_deep_stack(lua: Script) -> None:
    code = """
        local go
        local future = async(function() return await.callback(function(f) go = f end) end)
        for _ = 1, 1000 do
            local before = future
            future = async(function()
                local ok, n = before:get()
                assert(ok, n)
                return n + 1
            end)
        end
        go(0)
        return future:get()
    """
    assert lua.values(code) == "true,1000"


def test_futures_work_again_after_the_time_limit_struck_a_waiter() -> None:
    lua = Script()
    lua.run("require('libruleset')")
    lua.run("""
        _G.f = async(function() return await.callback(function(g) _G.go = g end) end)
        _G.looping = async(function() f:get() while true do end end)
        async(function() f:get() _G.woken = true end)
    """)
    lua.engine._vm.enter("configure_limits", 0.1, 0.0, 0, 0, False)  # pyright: ignore[reportPrivateUsage]
    with contextlib.suppress(ScriptError):
        lua.run("go()")
    assert "time limit" in lua.values("return looping:get()")
    code = """
        local go
        local g = async(function() return await.callback(function(h) go = h end) end)
        local done
        async(function() g:get() done = true end)
        go()
        return done, woken
    """
    assert lua.values(code) == "true,true"


def test_no_waiter_is_lost_wherever_the_time_limit_strikes() -> None:
    lua = Script(time_limit=0.02)
    lua.run("require('libruleset')")
    for filler in range(0, 300, 9):  # the clock is looked at every 300 instructions
        lua.run("""
            _G.f = async(function() return await.callback(function(g) _G.go = g end) end)
            async(function() f:get() while true do end end)
            _G.woken = false
            async(function() f:get() _G.woken = true end)
        """)
        with contextlib.suppress(ScriptError):
            lua.run("local x " + "x = 1 " * filler + "go()")
        lua.run("async(function() await.callback(function(h) _G.go = h end) end) go()")
        assert lua.values("return woken") == "true", filler


def test_async_wants_a_function(lua: Script) -> None:
    assert (
        lua.error("\nasync(1)")
        == "(invoke):2: bad argument #1 to 'async' (function expected, got number)"
    )
    assert (
        lua.error("\nasync()")
        == "(invoke):2: bad argument #1 to 'async' (function expected, got nil)"
    )


def in_routine(code: str) -> str:
    return f"return async(function() {code} end):get()"


def test_callback_gives_what_it_is_called_with_at_once(lua: Script) -> None:
    code = in_routine("return await.callback(function(f, ...) f(..., nil) end, 1, 2)")
    assert lua.values(code) == "true,1,nil"


def test_callback_gives_what_it_is_called_with_later(lua: Script) -> None:
    code = """
        local call
        local future = async(function() return await.callback(function(f, x) call = f end, 1) end)
        call(1, nil, 3)
        call("too late")
        return future:get()
    """
    assert lua.values(code) == "true,1,nil,3"


def test_callback_hands_on_an_error(lua: Script) -> None:
    assert lua.values(in_routine("return await.callback(error, 'x')")).startswith("false,")


def test_callback_outside_of_a_routine_raises(lua: Script) -> None:
    assert lua.error("\nawait.callback(print)") == "(invoke):2: not in asynchronous routine"
    assert "bad argument #1 to 'callback'" in lua.error("await.callback(1)")


@pytest.mark.parametrize(
    "values",
    [
        "",
        "nil",
        "1,nil,3",
        '"a\\\nb\\000\\255",{1,2,["x"]={},}',
        "1/0,-1/0,0x1.8p+0,true",
        "0x8000000000000000",
    ],
)
def test_unmarshal_is_the_inverse_of_marshal(lua: Script, values: str) -> None:
    assert lua.values(f"return unmarshal(marshal({values})), 'end'").endswith('"end"')
    assert (
        lua.values(f"return marshal(unmarshal(marshal({values}))) == marshal({values})") == "true"
    )


@pytest.mark.parametrize(
    "text", ["'print(1)'", "'os.exit()'", "'x.y'", "'('", "'\\27Lua'", "'1 return 2'", "'{'"]
)
def test_unmarshal_raises_for_what_is_no_data(lua: Script, text: str) -> None:
    assert lua.error(f"unmarshal({text})")


def test_unmarshal_wants_a_string_and_sees_no_globals(lua: Script) -> None:
    assert (
        lua.error("\nunmarshal({})")
        == "(invoke):2: bad argument #1 to 'unmarshal' (string expected, got table)"
    )
    assert lua.values("return unmarshal('print')") == "nil"
