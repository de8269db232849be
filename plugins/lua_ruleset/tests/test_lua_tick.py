"""ruleset.tick and neosocksd.setinterval: when it is called, with what, from where, and what stops it."""

import time

import anyio
import pytest
import trio
from trio.testing import MockClock

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import MakeEngine, Rule, eventually
from neosocksd_lua_ruleset.ticker import Ticker

pytestmark = pytest.mark.usefixtures("backend")

COUNTING = "local r = {} function r.tick() _G.ticks = (ticks or 0) + 1 end return r"


def test_a_positive_interval_ticks_with_the_time(rule: Rule) -> None:
    server = rule("""
        local r = {}
        function r.tick(...)
            _G.ticks = (ticks or 0) + 1
            _G.given = table.pack(...)
        end
        neosocksd.setinterval(0.001)
        return r""")
    before = time.time()
    server.call("while (ticks or 0) < 3 do await.sleep(0.001) end neosocksd.setinterval(0)")
    assert server.call("return given.n, math.type(given[1])") == '1,"float"'
    now = float(server.call("return string.format('%.6f', given[1])").strip('"'))
    assert before - 1 <= now <= time.time() + 0.001


def test_between_two_ticks_the_interval_passes() -> None:
    ticks: list[float] = []

    async def run() -> None:
        begun = trio.current_time()
        ticker = Ticker(lambda: ticks.append(trio.current_time() - begun))
        ticker.set_interval(100)
        with anyio.move_on_after(350):
            await ticker.run()

    clock = MockClock(autojump_threshold=0)
    anyio.run(run, backend="trio", backend_options={"clock": clock})
    assert ticks == [100, 200, 300]


def test_a_new_interval_takes_the_place_of_the_old_one(rule: Rule) -> None:
    server = rule("neosocksd.setinterval(1e9) " + COUNTING)
    server.run("neosocksd.setinterval(0.001)")
    server.call("while (ticks or 0) < 2 do await.sleep(0.001) end")
    server.run("neosocksd.setinterval(1e9) _G.ticks = 0")
    server.call("await.sleep(0.02)")
    assert server.call("return ticks") == "0"


def test_zero_and_numbers_that_are_not_normal_stop_the_timer(rule: Rule) -> None:
    server = rule(COUNTING)
    for number in ("0", "0/0", "1/0", "-1/0", "1e-310"):
        server.run("neosocksd.setinterval(0.001)")
        server.call("_G.ticks = 0 while ticks < 2 do await.sleep(0.001) end")
        server.run(f"neosocksd.setinterval({number}) _G.ticks = 0")
        server.call("await.sleep(0.02)")
        assert server.call("return ticks") == "0", number


@pytest.mark.parametrize(
    ("asked", "interval"), [("1e-9", 1e-3), ("1e12", 1e9), ("'2'", 2.0), ("1.5", 1.5)]
)
def test_an_interval_out_of_range_is_brought_into_it(
    engine: MakeEngine, asked: str, interval: float
) -> None:
    made = engine()
    made.invoke(f"neosocksd.setinterval({asked})".encode())
    assert made.ticker.interval == interval


def test_a_negative_interval_ticks_when_idle(rule: Rule, echo: EchoServer) -> None:
    server = rule("""
        local r = { route = function(addr) return addr end }
        function r.tick() _G.ticks = (ticks or 0) + 1 end
        neosocksd.setinterval(-1)
        return r""")
    for _ in range(3):
        assert server.reply("127.0.0.1", echo.port) == 0
    server.call("_G.ticks = 0 while ticks < 3 do await.sleep(0.001) end neosocksd.setinterval(0)")


def test_a_tick_is_not_in_a_routine(rule: Rule) -> None:
    server = rule("""
        local r = {}
        function r.tick()
            neosocksd.setinterval(0)
            _G.result = { coroutine.isyieldable(), select(2, pcall(await.sleep, 0)) }
        end
        neosocksd.setinterval(0.001)
        return r""")
    code = "while not result do await.idle() end return result[1], result[2]"
    assert server.call(code) == 'false,"not in asynchronous routine"'


def test_a_tick_may_start_routines(rule: Rule) -> None:
    server = rule("""
        local r = {}
        function r.tick()
            neosocksd.setinterval(0)
            neosocksd.async(function(ok) _G.over = ok end, await.sleep, 0.001)
        end
        neosocksd.setinterval(0.001)
        return r""")
    assert server.call("while over == nil do await.idle() end return over") == "true"


@pytest.mark.parametrize("value", ["false", "{}", "nil, 'x'", "print"])
def test_what_a_tick_returns_is_ignored(rule: Rule, value: str) -> None:
    server = rule(f"""
        local r = {{}}
        function r.tick() _G.ticks = (ticks or 0) + 1 return {value} end
        neosocksd.setinterval(0.001)
        return r""")
    server.call("while (ticks or 0) < 2 do await.sleep(0.001) end neosocksd.setinterval(0)")


@pytest.mark.logs_error("ruleset.tick: ")
def test_an_error_in_a_tick_is_logged_and_the_next_comes(rule: Rule) -> None:
    server = rule("""
        local r = {}
        function r.tick() _G.ticks = (ticks or 0) + 1 if ticks == 1 then error("boom") end end
        neosocksd.setinterval(0.001)
        return r""")
    server.call("while (ticks or 0) < 2 do await.sleep(0.001) end neosocksd.setinterval(0)")


@pytest.mark.parametrize(
    "text", ["return {}", "return setmetatable({}, { __index = { tick = nil } })"]
)
def test_without_a_tick_nothing_happens(rule: Rule, text: str) -> None:
    server = rule("neosocksd.setinterval(0.001) " + text)
    server.call("await.sleep(0.01)")
    server.run("ruleset.tick = function() _G.ticked = true end")
    eventually(lambda: server.call("return ticked") == "true")


def test_a_tick_that_is_slower_than_its_interval_does_not_pile_up(
    rule: Rule, echo: EchoServer
) -> None:
    server = rule("""
        local ruleset = { route = function(addr) return addr end }
        function ruleset.tick()
            _G.ticks = (ticks or 0) + 1
            local stop = time.monotonic() + 0.01
            while time.monotonic() < stop do end
        end
        neosocksd.setinterval(0.001)
        return ruleset""")
    for _ in range(5):
        assert server.reply("127.0.0.1", echo.port) == 0
    server.call("neosocksd.setinterval(0) _G.ticks = 0 await.sleep(0.03)")
    assert server.call("return ticks") == "0"
