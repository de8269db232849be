"""Trials that would crash the process if an object of Lua outlived what it points at. Each is a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset.trial import LUA_VERSIONS, LuaVersion


def run(trial: str, *arguments: str) -> str:
    """What the trial prints at its end."""
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", trial, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout


RULESET = """
    local failing = {
        function() neosocksd.splithostport("none") end,
        function() neosocksd.setinterval({}) end,
        function() neosocksd.invoke("x", "none") end,
        function() regex.compile("(") end,
        function() zlib.uncompress("none") end,
        function() await.sleep(-1) end,
        function() await.forward("x:1") end,
    }
    local function fail(i)
        local f = failing[i % #failing + 1]
        pcall(f)
        f()
    end
    _G.left, _G.failed = 0, 0
    local function finish(ok) left = left - 1 if not ok then failed = failed + 1 end end

    function _G.storm(first, last)
        local kept = {}
        for i = first, last do
            left = left + 1
            neosocksd.async(finish, function() if i % 2 == 0 then await.idle() end fail(i) end)
            -- nobody resumes most of these any more
            kept[i % 50] = neosocksd.async(type, function() coroutine.yield() fail(i) end)
            if i % 3 == 0 then coroutine.resume(kept[i % 50]) end
            pcall(coroutine.wrap(function() fail(i) end))
            if i % 97 == 0 then collectgarbage() end
        end
    end
    return { route = fail, resolve = function() await.idle() fail(4) end }"""

STORM = """
import gc, sys
from neosocksd_core.testing.running import RunningServer
from neosocksd_lua_ruleset import LuaRuleset
from neosocksd_lua_ruleset.testing import Ruled

lua, backend, path = sys.argv[1:]
limits = {"lua": lua, "hard_memlimit": 64, "time_limit": 0}
settings = {"listen": "127.0.0.1:0", "ruleset": path, "lua_ruleset": limits, "loglevel": 1}
with RunningServer(settings, plugins=["socks5", LuaRuleset], backend=backend) as running:
    server = Ruled(running)
    for first in range(1, 10001, 1000):
        server.run(f"storm({first}, {first + 999})")
        assert server.reply("192.0.2.1", 1) == server.reply("x.test", 1) == 2
        server.call("while left > 0 do await.idle() end")
        server.run("for _ = 1, 10 do collectgarbage() end")
        server.post("/ruleset/gc")
        gc.collect()
    print(server.call("return failed"))
"""


@pytest.mark.parametrize("lua", LUA_VERSIONS)
def test_ten_thousand_routines_that_fail_in_native_calls_do_not_crash(
    tmp_path: Path, backend: Backend, lua: LuaVersion
) -> None:
    path = tmp_path / "ruleset.lua"
    path.write_text(RULESET)
    assert run(STORM, lua, backend, str(path)) == "10000\n"


FINALIZERS = """
import gc, sys
from neosocksd_lua_ruleset.config import LuaRulesetSettings
from neosocksd_lua_ruleset.engine import Engine

engine = Engine(LuaRulesetSettings(lua=sys.argv[1]))
engine.invoke(b'''
    local function finalize()
        neosocksd.now()
        pcall(neosocksd.splithostport, "x")
        pcall(require, "libruleset")
        pcall(regex.compile, "x")
        coroutine.wrap(function() for i = 1, 20000 do local t = { i } end end)()
    end
    collectgarbage("stop")
    _G.kept = {}
    for i = 1, 500 do
        setmetatable({}, { __gc = finalize })
        kept[i] = setmetatable({}, { __gc = finalize })
    end''')
if sys.argv[2] == "cycle":
    cycle = [engine]
    cycle.append(cycle)
    engine.cycle = cycle
    del cycle
if sys.argv[2] != "exit":
    del engine
    gc.collect()
print("alive")
"""


@pytest.mark.parametrize("lua", LUA_VERSIONS)
@pytest.mark.parametrize("end", ["deleted", "cycle", "exit"])
def test_finalizers_that_call_native_functions_do_not_crash_at_the_end(
    lua: LuaVersion, end: str
) -> None:
    assert run(FINALIZERS, lua, end) == "alive\n"
