"""time.*: the clocks, and time.measure."""

import time

import pytest

from neosocksd_lua_ruleset.trial import Script


def read(lua: Script, name: str) -> float:
    return float(lua.values(f"return string.format('%.9f', time.{name}())").strip('"'))


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("monotonic", time.CLOCK_MONOTONIC),
        ("process", time.CLOCK_PROCESS_CPUTIME_ID),
        ("thread", time.CLOCK_THREAD_CPUTIME_ID),
        ("wall", time.CLOCK_REALTIME),
        ("unix", time.CLOCK_REALTIME),
    ],
)
def test_a_clock_reads_what_the_system_has(lua: Script, name: str, clock: int) -> None:
    before = time.clock_gettime(clock)
    now = read(lua, name)
    after = time.clock_gettime(clock)
    assert before - 1e-6 <= now <= after + 1e-6


def test_unix_is_another_name_of_wall(lua: Script) -> None:
    assert lua.values("return time.unix == time.wall") == "true"


def test_measure_gives_the_time_and_then_the_results(lua: Script) -> None:
    code = """
        local t, a, b, c = time.measure(function(...)
            local till = time.monotonic() + 0.01
            repeat until time.monotonic() >= till
            return ..., nil
        end, 1, 2)
        return t >= 0.01 and t < 1, a, b, c
    """
    assert lua.values(code) == "true,1,nil,nil"
    assert lua.values("return select('#', time.measure(function() end))") == "1"


def test_measure_hands_on_an_error(lua: Script) -> None:
    assert lua.error("time.measure(function() error('broken', 0) end)") == "broken"


def test_measure_wants_a_function(lua: Script) -> None:
    error = lua.error("\ntime.measure(1)")
    assert error == "(invoke):2: bad argument #1 to 'measure' (function expected, got number)"


def test_measure_lets_its_function_yield(lua: Script) -> None:
    code = """
        local co = coroutine.wrap(function() return time.measure(coroutine.yield, "asked") end)
        local asked = co()
        local t, answer = co("answer")
        return asked, t >= 0, answer
    """
    assert lua.values(code) == '"asked",true,"answer"'


def test_time_is_a_module_too(lua: Script) -> None:
    assert lua.values("return require('time') == time") == "true"
