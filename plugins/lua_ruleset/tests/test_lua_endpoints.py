"""/ruleset/*: posted code, remote calls, updates, garbage; the reports and the health of a ruleset; all without HTTP."""

import gc
import weakref
from pathlib import Path

import pytest

from neosocksd_core.endpoints import EndpointRequest
from neosocksd_core.testing.peers import EchoServer
from neosocksd_core.testing.running import Backend, RunningServer
from neosocksd_lua_ruleset import LuaRuleset
from neosocksd_lua_ruleset.engine import Engine
from neosocksd_lua_ruleset.ruleset import Ruleset
from neosocksd_lua_ruleset.testing import Rule, Ruled, Serve, WriteScript, eventually

PATHS = ["/ruleset/invoke", "/ruleset/rpcall", "/ruleset/update", "/ruleset/gc"]


@pytest.mark.parametrize("path", PATHS)
def test_each_endpoint_takes_posts_only(rule: Rule, path: str) -> None:
    server = rule().running.server
    assert server.plugins.endpoints(server)[path].methods == {"POST"}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_ruleset_the_answer_is_500_and_says_so(serve: Serve, path: str) -> None:
    running: RunningServer = serve({"listen": "127.0.0.1:0"}, plugins=["socks5", LuaRuleset])
    endpoint = running.server.plugins.endpoints(running.server)[path]
    response = running.call(endpoint.handle, EndpointRequest("POST"))
    assert response.status == 500
    assert b"no ruleset" in response.body


# invoke


def test_invoke_runs_the_code_and_answers_an_empty_200(rule: Rule) -> None:
    server = rule()
    response = server.post("/ruleset/invoke", "_G.x = 42")
    assert (response.status, response.body) == (200, b"")
    assert server.call("return x") == "42"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nerror('boom')", "(invoke):2: boom"),
        ("x = = 1", "(invoke):1: unexpected symbol near '='"),
        ("error({})", "(error object is a table value)"),
        ("error(nil)", "(error object is a nil value)"),
        ("error(setmetatable({}, {__tostring = function() return 'made' end}))", "made"),
        ("\x1bLua", "attempt to load a binary chunk (mode is 't')"),
    ],
)
def test_an_error_of_posted_code_is_500_with_the_message(
    rule: Rule, code: str, message: str
) -> None:
    response = rule().post("/ruleset/invoke", code)
    assert response.status == 500
    assert message in response.body.decode()


def test_plain_globals_of_posted_code_do_not_leak(rule: Rule) -> None:
    server = rule("_G.known = 'k' return {}")
    server.run("plain = 1 _G.real = known")
    assert server.call("return plain, real") == 'nil,"k"'
    assert server.call("plain = 2 return plain") == "2"
    assert server.call("return plain") == "nil"


# rpcall


def test_rpcall_answers_lua_source_with_the_results(rule: Rule) -> None:
    server = rule()
    response = server.post("/ruleset/rpcall", 'return 1, "two", { three = 3 }, nil')
    assert response.status == 200
    assert response.content_type == "application/x-neosocksd-rpc; version=1"
    assert response.body == b'return true,1,"two",{["three"]=3,},nil'


def test_rpcall_without_results(rule: Rule) -> None:
    assert rule().post("/ruleset/rpcall", "local x = 1").body == b"return true"


def test_rpcall_runs_in_a_routine(rule: Rule, backend: Backend) -> None:
    assert (
        rule().post("/ruleset/rpcall", "await.sleep(0.001) return 'late'").body
        == b'return true,"late"'
    )


def test_rpcall_is_binary_safe(rule: Rule) -> None:
    body = rule().post("/ruleset/rpcall", b'return "a\xff\x00b"').body
    assert body == b'return true,"a\xff\\000b"'


def test_code_that_does_not_compile_is_500_with_the_message(rule: Rule) -> None:
    response = rule().post("/ruleset/rpcall", "return return")
    assert response.status == 500
    assert response.body.startswith(b"(rpc):1: ")


@pytest.mark.parametrize(
    "code", ["error('boom')", "await.idle() error('boom')", "return print", "return io.stdout"]
)
def test_code_that_raises_or_returns_what_cannot_be_marshalled_did_not_return(
    rule: Rule, code: str
) -> None:
    response = rule().post("/ruleset/rpcall", code)
    assert (response.status, response.body) == (500, b"rpcall did not return")


def test_a_call_that_takes_too_long_is_given_up(rule: Rule) -> None:
    server = rule(timeout=5)
    server.set_timeout(0.01)
    response = server.post("/ruleset/rpcall", "await.sleep(1000)")
    assert (response.status, response.body) == (500, b"rpcall did not return")
    assert "Ruleset Threads     : 0 " in server.post("/ruleset/gc").body.decode()


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


# update in a new machine


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


# gc


def test_gc_collects_and_reports(rule: Rule) -> None:
    server = rule()
    server.run(
        "for i = 1, 1000 do local t = { i } end _G.finalized = 0 setmetatable({}, { __gc = function() _G.finalized = 1 end })"
    )
    response = server.post("/ruleset/gc")
    assert response.status == 200
    names = [line.partition(":")[0].strip() for line in response.body.decode().splitlines()]
    assert names == [
        "Difference",
        "Ruleset Allocated",
        "Ruleset Threads",
        "Ruleset Events",
        "Time Cost",
    ]
    assert server.call("return finalized") == "1"


# stats, metrics, healthy


def report(server: Ruled, interval: float = 1.5, query: str = "") -> list[str]:
    running = server.running
    found: list[str] = running.call(
        running.server.plugins.report_stats, running.server, interval, query
    )
    return found


def test_stats_is_given_interval_and_query(rule: Rule) -> None:
    server = rule(
        "return { stats = function(dt, q) return string.format('dt = %.03f, q = %q', dt, q) end }"
    )
    assert report(server, 1.5, 'a"b') == ['dt = 1.500, q = "a\\"b"']


@pytest.mark.parametrize("chunk", ["return {}", "return { stats = function() end }"])
def test_without_stats_there_is_no_text(rule: Rule, chunk: str) -> None:
    assert report(rule(chunk)) == []


FAILURES = [
    ("error('boom', 0)", "boom"),
    ("return {}", "ruleset.%s returned a table, expected a string"),
    ("await.idle()", "not in asynchronous routine"),
]


@pytest.mark.logs_error("ruleset: stats: ")
@pytest.mark.parametrize(("body", "message"), FAILURES)
def test_stats_that_fail_are_one_line_of_the_log(
    rule: Rule, caplog: pytest.LogCaptureFixture, body: str, message: str
) -> None:
    assert report(rule(f"return {{ stats = function() {body} end }}")) == []
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().endswith(message.replace("%s", "stats"))
    assert record.exc_info is None


def test_the_query_of_stats_may_be_any_bytes(rule: Rule) -> None:
    server = rule("return { stats = function(_, q) return #q .. ':' .. q:byte() end }")
    assert report(server, 1.0, "\udcff") == ["1:255"]


def test_stats_may_be_a_number(rule: Rule) -> None:
    assert report(rule("return { stats = function() return 7 end }")) == ["7"]


@pytest.mark.logs_error("ruleset: metrics: ")
@pytest.mark.parametrize(("body", "message"), FAILURES)
def test_metrics_that_fail_are_one_line_of_the_log_and_those_of_the_machine_stay(
    rule: Rule, caplog: pytest.LogCaptureFixture, body: str, message: str
) -> None:
    running = rule(f"return {{ metrics = function() {body} end }}").running
    [text] = running.call(running.server.plugins.report_metrics, running.server)
    assert "\nneosocksd_lua_memory_bytes " in text
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().endswith(message.replace("%s", "metrics"))
    assert record.exc_info is None


def test_the_runtime_report_tells_of_the_machine(rule: Rule) -> None:
    running = rule().running
    [text] = running.call(running.server.plugins.report_runtime, running.server)
    names = [line.partition(":")[0].strip() for line in text.splitlines()]
    assert names == ["Ruleset Allocated", "Ruleset Threads", "Ruleset Events"]


def test_metrics_tell_of_the_machine_and_append_the_scripts_own(rule: Rule) -> None:
    server = rule("return { metrics = function() return 'mine 1\\n' end }")
    running = server.running
    [text] = running.call(running.server.plugins.report_metrics, running.server)
    for name in ("lua_memory_bytes", "lua_objects", "lua_threads_active", "lua_threads_peak"):
        assert f"\nneosocksd_{name} " in text
    assert text.endswith("mine 1\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", []),
        ("return nil", []),
        ("return ''", []),
        ("return 'the upstream is down'", ["the upstream is down"]),
        ("error('boom', 0)", ["boom"]),
        ("return {}", ["ruleset.healthy returned a table, expected a string"]),
    ],
)
def test_healthy_tells_what_is_wrong(rule: Rule, body: str, expected: list[str]) -> None:
    running = rule(f"return {{ healthy = function() {body} end }}").running
    assert running.call(running.server.plugins.check_health, running.server) == expected


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-neosocksd-rpc; version=2"])
def test_a_call_of_another_type_is_a_bad_request(rule: Rule, kind: str) -> None:
    request = EndpointRequest("POST", {}, {"content-type": kind}, b"return 1")
    server = rule()
    endpoint = server.running.server.endpoints()["/ruleset/rpcall"]
    assert server.running.call(endpoint.handle, request).status == 400


@pytest.mark.parametrize("module", ["../../etc/passwd", "", "a b", "a/b", "a.", "\n"])
def test_what_is_no_name_of_a_module_is_a_bad_request(rule: Rule, module: str) -> None:
    assert rule().post("/ruleset/update", "return {}", module=module).status == 400
