"""Objects are counted a little at a time, and what is counted is left as it is."""

import re

import anyio
import pytest

from neosocksd_core.testing import run_async
from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset import census
from neosocksd_lua_ruleset.census import Census
from neosocksd_lua_ruleset.engine import Engine
from neosocksd_lua_ruleset.testing import MakeEngine, Rule, eventually

VERSIONS = ("5.3", "5.4", "5.5")


def count(engine: Engine, values: int = 500) -> int:
    while True:
        is_done, found = engine.count_some(values)
        if is_done:
            return found


KINDS = {
    "tables": "kept[i] = {}",
    "keys": "kept[{}] = true",
    "strings": "kept[i] = 'text ' .. i",
    "functions": "kept[i] = function() return i end",
    "upvalues": "local t = {} kept.f = (function(f) return function() return f, t end end)(kept.f)",
    "metatables": "kept[i] = setmetatable({}, {})",
    "threads": "kept[i] = coroutine.create(print)",
    "locals": "kept[i] = coroutine.wrap(function() local t = {} coroutine.yield() return t end) kept[i]()",
    "files": "kept[i] = io.tmpfile()",
}
EACH = {"upvalues": 2, "metatables": 2, "locals": 3}
"""How many objects come with each, where it is not one: a wrapped routine is a function, a thread, and what it holds."""


@pytest.mark.parametrize("lua", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_objects_of_each_kind_are_counted(engine: MakeEngine, kind: str, lua: str) -> None:
    machine = engine(lua=lua)
    machine.invoke(b"_G.kept = {}")
    before = count(machine)
    machine.invoke(f"for i = 1, 50 do {KINDS[kind]} end".encode())
    more = 50 * EACH.get(kind, 1)
    assert more <= count(machine) - before <= more + 100
    machine.invoke(b"_G.kept = {}")
    machine.collect()
    assert count(machine) <= before + 10


def test_equal_short_strings_are_one(engine: MakeEngine) -> None:
    machine = engine()
    before = count(machine)
    machine.invoke(b"_G.kept = {} for i = 1, 50 do kept[i] = ('x'):rep(40) end")
    assert count(machine) - before < 10
    machine.invoke(b"_G.kept = {} for i = 1, 50 do kept[i] = ('x'):rep(41) end")
    assert count(machine) - before > 50


def test_what_is_dropped_while_it_is_counted_is_collected(engine: MakeEngine) -> None:
    machine = engine()
    others = count(machine)
    machine.invoke(b"_G.kept = {} for i = 1, 1000 do kept[i] = { { ('x'):rep(10000) } } end")
    is_done, found = False, 0
    while found < others + 1000:
        is_done, found = machine.count_some(1)
    assert not is_done
    machine.invoke(b"_G.kept = nil")
    machine.collect()
    assert machine.measure().memory < 2_000_000


def test_what_a_script_does_meanwhile_may_be_counted_or_not(engine: MakeEngine) -> None:
    machine = engine()
    machine.invoke(b"_G.kept = {} for i = 1, 300 do kept[{}] = {} end")
    before = count(machine)
    is_done, found = machine.count_some(100)
    while not is_done:
        machine.invoke(
            b"for key in pairs(kept) do kept[key] = nil break end for i = 1, 3 do kept[{}] = 1 end "
            b"collectgarbage()"
        )
        is_done, found = machine.count_some(50)
    assert found < before + 2000


def test_scripts_are_not_asked(engine: MakeEngine) -> None:
    machine = engine()
    machine.invoke(b"""
        local function fail() error("asked") end
        local meta = { __index = fail, __pairs = fail, __len = fail, __metatable = false, __eq = fail }
        kept = setmetatable({ {} }, meta)
        kept.me = kept
        debug.getregistry, debug.getupvalue, next, pcall = fail, fail, fail, fail""")
    assert count(machine) > 500


def test_only_so_many_are_counted(engine: MakeEngine) -> None:
    machine = engine()
    machine.invoke(b"_G.kept = {} for i = 1, 100000 do kept[i] = {} end")
    assert count(machine) == 65536
    machine.invoke(b"_G.kept = nil")
    assert count(machine) < 65536


def test_a_sandbox_is_counted_too(engine: MakeEngine) -> None:
    assert count(engine(sandbox=True)) > 500


def test_a_count_does_not_stay_in_memory(engine: MakeEngine) -> None:
    machine = engine()
    machine.invoke(b"_G.kept = {} for i = 1, 50000 do kept[i] = {} end collectgarbage()")
    before = machine.measure().memory
    count(machine)
    machine.collect()
    assert machine.measure().memory < before + 10_000


def test_a_running_server_tells_the_count(backend: str, rule: Rule) -> None:
    server = rule()
    eventually(lambda: int(server.call("return neosocksd.stats().num_object")) > 500)
    running = server.running
    [text] = running.call(running.server.plugins.report_metrics, running.server)
    (line,) = [line for line in text.splitlines() if line.startswith("neosocksd_lua_objects ")]
    assert int(line.split()[1]) > 500


def test_a_collection_counts_at_once(rule: Rule) -> None:
    server = rule()

    def objects() -> int:
        report = server.post("/ruleset/gc").body.decode().splitlines()
        (line,) = [line for line in report if line.startswith("Ruleset Allocated   : ")]
        found = re.search(r" bytes, ([0-9]+) objects$", line)
        assert found is not None
        return int(found[1])

    before = objects()
    server.run("_G.kept = {} for i = 1, 1000 do kept[i] = {} end")
    assert before > 500
    assert 1000 < objects() - before < 1100


def test_it_counts_anew_when_it_is_asked(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "FRESH_SECONDS", 0.0)
    counted: list[int] = []

    def step(values: int) -> tuple[bool, int]:
        counted.append(values)
        return len(counted) % 3 == 0, len(counted)

    async def main() -> None:
        found = Census(step)
        assert found.ask() == 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.run)
            with anyio.fail_after(10):
                while found.ask() < 9:
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()

    run_async(main, backend)
    assert set(counted) == {census.SLICE}
