"""/ruleset/update and package.replace: a ruleset or a module is replaced while the server runs."""

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule

# update


def test_update_replaces_the_ruleset(rule: Rule, echo: EchoServer) -> None:
    server = rule("return { route = function() return nil end }")
    assert server.reply("127.0.0.1", echo.port) == 2
    response = server.post("/ruleset/update", "return { route = function(a) return a end }")
    assert response.status == 200
    assert response.body.startswith(b"Time Cost           : ")
    assert server.reply("127.0.0.1", echo.port) == 0


def test_update_runs_in_the_running_machine(rule: Rule) -> None:
    server = rule("_G.gathered = { 1, 2, 3 } return {}")
    server.run("package.loaded.mine = 'kept'")
    assert server.post("/ruleset/update", "_G.second = true return {}").status == 200
    assert server.call("return #gathered, second, package.loaded.mine") == '3,true,"kept"'


def test_the_chunk_is_called_with_the_text_ruleset(rule: Rule) -> None:
    server = rule("_G.first = table.pack(...) return {}")
    assert server.call("return first.n, first[1]") == '1,"ruleset"'
    server.post("/ruleset/update", "_G.again = ... return {}")
    assert server.call("return again") == '"ruleset"'


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ("return = 1", "unexpected symbol"),
        ("_G.touched = 1 package.loaded.touched = 1 _G.known = 2 error('boom')", "boom"),
        (
            "_G.touched = 1 _G.known = nil package.loaded.string = nil return nil",
            "returned a nil, expected a table",
        ),
        ("_G.touched = 1 _G.ruleset = 7 return 42", "returned a number, expected a table"),
        ("\x1bLua", "binary chunk"),
    ],
)
def test_an_update_that_fails_changes_nothing_and_says_why(
    rule: Rule, echo: EchoServer, chunk: str, message: str
) -> None:
    server = rule("_G.known = 1 return { route = function(a) return a end }")
    response = server.post("/ruleset/update", chunk)
    assert response.status == 500
    assert message in response.body.decode()
    code = "return touched, known, package.loaded.touched, package.loaded.string == string"
    assert server.call(code) == "nil,1,nil,true"
    assert server.reply("127.0.0.1", echo.port) == 0


def test_the_chunk_name_stands_in_messages(rule: Rule) -> None:
    server = rule()
    response = server.post("/ruleset/update", "error('boom')", chunkname="@new.lua")
    assert response.body == b"new.lua:1: boom"
    assert server.post("/ruleset/update", "error('boom')").body == b"(ruleset):1: boom"


def test_update_replaces_a_module_and_the_global_that_refers_to_it(rule: Rule) -> None:
    server = rule(
        "package.preload.mine = function() return { 1 } end _G.mine = require('mine') return {}"
    )
    response = server.post("/ruleset/update", "return { 2, ... }", module="mine")
    assert response.status == 200
    assert server.call("return mine[1], mine[2], require('mine') == mine") == '2,"mine",true'


def test_a_global_that_does_not_refer_to_the_module_stays(rule: Rule) -> None:
    server = rule(
        "package.preload.mine = function() return { 1 } end _G.mine = 'other' require('mine') return {}"
    )
    server.post("/ruleset/update", "return { 2 }", module="mine")
    assert server.call("return mine, require('mine')[1]") == '"other",2'


def test_a_module_that_returns_nothing_counts_as_true(rule: Rule) -> None:
    server = rule()
    server.post("/ruleset/update", "_G.ran = ...", module="m")
    assert server.call("return require('m'), ran") == 'true,"m"'


def test_a_module_that_fails_stays_as_it_was(rule: Rule) -> None:
    server = rule(
        "package.preload.mine = function() return 'old' end _G.mine = require('mine') return {}"
    )
    response = server.post(
        "/ruleset/update", "_G.touched = 1 error('boom')", module="mine", chunkname="@mine.lua"
    )
    assert (response.status, response.body) == (500, b"mine.lua:1: boom")
    assert server.call("return mine, package.loaded.mine, touched") == '"old","old",nil'


def test_calls_in_flight_keep_what_they_hold(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""
        local version = "old"
        return {{ resolve = function()
            _G.begun = true
            while not go do await.idle() end
            _G.seen = version
            return "127.0.0.1:{echo.port}"
        end }}""")
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    server.post("/ruleset/update", "return { resolve = function() end }")
    server.run("_G.go = true")
    assert client.receive(2)[1] == 0
    client.close()
    assert server.call("return seen") == '"old"'


def test_timer_and_routines_survive_a_reload(rule: Rule) -> None:
    server = rule("""
        neosocksd.async(print, function() while true do await.sleep(0.001) _G.beats = (beats or 0) + 1 end end)
        neosocksd.setinterval(0.001)
        return { tick = function() end }""")
    server.post("/ruleset/update", "return { tick = function() _G.ticks = (ticks or 0) + 1 end }")
    server.call("_G.beats, _G.ticks = 0, 0 while beats < 2 or ticks < 2 do await.sleep(0.001) end")


@pytest.mark.usefixtures("backend")
def test_a_thousand_reloads_leave_memory_where_it_was(rule: Rule) -> None:
    server = rule()
    chunk = "local big = string.rep('x', 10000) .. tostring({}) return { route = function() return big end }"

    def load(count: int) -> int:
        for _ in range(count):
            assert server.post("/ruleset/update", chunk).status == 200
        for line in server.post("/ruleset/gc").body.decode().splitlines():
            if line.startswith("Ruleset Allocated"):
                return int(line.split(":")[1].split()[0])
        raise AssertionError

    before = load(20)
    assert load(1000) < before + 64 * 1024


@pytest.mark.parametrize("module", ["../../etc/passwd", "", "a b", "a/b", "a.", "\n"])
def test_what_is_no_name_of_a_module_is_a_bad_request(rule: Rule, module: str) -> None:
    assert rule().post("/ruleset/update", "return {}", module=module).status == 400


# package.replace


def test_package_replace_takes_a_function_and_gives_the_value(rule: Rule) -> None:
    server = rule("package.loaded.mine = 'old' _G.mine = 'old' return {}")
    server.run("_G.got = package.replace('mine', function(name) return name .. '!' end)")
    assert server.call("return got, mine, require('mine')") == '"mine!","mine!","mine!"'


def test_package_replace_that_fails_raises_and_changes_nothing(rule: Rule) -> None:
    server = rule("package.loaded.mine = 'old' return {}")
    assert "boom" in server.error(
        "package.replace('mine', function() _G.touched = 1 error('boom') end)"
    )
    assert server.call("return package.loaded.mine, touched") == '"old",nil'
