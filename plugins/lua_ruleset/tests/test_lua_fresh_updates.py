"""/ruleset/update?fresh=1: a ruleset begins anew in another machine, and what is under way ends in the old one."""

import gc
import weakref
from pathlib import Path

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_core.testing.running import Backend
from neosocksd_lua_ruleset.engine import Engine
from neosocksd_lua_ruleset.ruleset import Ruleset
from neosocksd_lua_ruleset.testing import Rule, Ruled, WriteScript, eventually


def test_a_fresh_update_begins_anew(rule: Rule, echo: EchoServer, backend: Backend) -> None:
    server = rule("_G.gathered = 1 neosocksd.setinterval(1000) return {}")
    text = "_G.loads = (loads or 0) + 1 return { route = function(a) return a end }"
    assert server.post("/ruleset/update", text, fresh="1").status == 200
    assert server.call("return gathered, loads, ruleset.route ~= nil") == "nil,1,true"
    assert server.reply("127.0.0.1", echo.port) == 0
    assert server.post("/ruleset/update", text).status == 200
    assert server.call("return loads") == "2"


def test_a_fresh_update_finds_modules_beside_the_ruleset(
    rule: Rule, script: WriteScript, backend: Backend
) -> None:
    server = rule()
    script("return 'found'", "beside.lua")
    text = "_G.beside = require('beside') return {}"
    assert server.post("/ruleset/update", text, fresh="yes").status == 200
    assert server.call("return beside") == '"found"'


@pytest.mark.parametrize("chunk", ["return = 1", "error('boom')", "return nil"])
def test_a_fresh_update_that_fails_leaves_the_old_machine_in_force(
    rule: Rule, backend: Backend, chunk: str
) -> None:
    server = rule("_G.gathered = 1 return {}")
    assert server.post("/ruleset/update", chunk, fresh="1").status == 500
    assert server.call("return gathered") == "1"


def test_a_fresh_update_of_a_module_is_a_bad_request(rule: Rule) -> None:
    assert rule().post("/ruleset/update", "", fresh="1", module="string").status == 400


def test_calls_in_flight_end_in_the_old_machine_which_then_is_collected(
    rule: Rule, echo: EchoServer, backend: Backend, tmp_path: Path
) -> None:
    closed, sent = tmp_path / "closed", tmp_path / "sent"
    server = rule(f"""
        neosocksd.async(print, function()
            local guard <close> = setmetatable({{}}, {{ __close = function() io.open("{closed}", "w"):close() end }})
            await.sleep(1000)
        end)
        neosocksd.setinterval(0.001)
        return {{
            tick = function() _G.ticks = (ticks or 0) + 1 end,
            resolve = function()
                _G.begun = true
                await.execute("while ! [ -e '{sent}' ]; do sleep 0.01; done")
                return "127.0.0.1:{echo.port}"
            end,
        }}""")
    engine = server.running.call(lambda: weakref.ref(machine_of(server)))
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    text = "return { resolve = function() return nil end }"
    assert server.post("/ruleset/update", text, fresh="1").status == 200
    assert server.reply("x.test", 1) == 2
    assert not closed.exists()
    sent.touch()
    assert client.receive(10)[1] == 0
    client.close()
    server.running.wait_idle()
    eventually(lambda: closed.exists() and server.running.call(is_collected, engine))


def test_a_stop_ends_the_calls_of_old_machines_too(
    rule: Rule, backend: Backend, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    server = rule(f"""
        return {{ resolve = function()
            local guard <close> = setmetatable({{}}, {{ __close = function() io.open("{closed}", "w"):close() end }})
            _G.begun = true
            await.sleep(1000)
        end }}""")
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    server.post("/ruleset/update", "return {}", fresh="1")
    server.running.stop()
    assert closed.exists()
    client.close()


def machine_of(server: Ruled) -> Engine:
    """The machine in force."""
    router = server.running.server._router  # pyright: ignore[reportPrivateUsage]
    assert isinstance(router, Ruleset)
    return router.engine


def is_collected(reference: "weakref.ref[Engine]") -> bool:
    gc.collect()
    return reference() is None
