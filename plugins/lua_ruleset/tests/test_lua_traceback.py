"""The setting ``traceback``: the way to an error is logged wherever a script can fail, and it changes nothing else."""

from collections.abc import Callable

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule, Ruled, eventually

pytestmark = pytest.mark.usefixtures("backend")

RULESET = """
    local function deep() error("boom") end
    _G.deep = deep
    local r = { stats = deep, metrics = deep, healthy = deep }
    function r.tick() neosocksd.setinterval(0) deep() end
    function r.resolve() await.idle() deep() end
    r.route = deep
    return r"""


def ask_stats(server: Ruled) -> object:
    running = server.running
    return running.call(running.server.plugins.report_stats, running.server, 1.0, "")


def ask_metrics(server: Ruled) -> object:
    running = server.running
    return running.call(running.server.plugins.report_metrics, running.server)


def ask_health(server: Ruled) -> object:
    running = server.running
    return running.call(running.server.plugins.check_health, running.server)


PLACES: dict[str, Callable[[Ruled], object]] = {
    "a callback": lambda server: server.reply("192.0.2.1", 1),
    "a callback that has waited": lambda server: server.reply("x.test", 1),
    "tick": lambda server: server.run("neosocksd.setinterval(0.001)"),
    "stats": ask_stats,
    "metrics": ask_metrics,
    "healthy": ask_health,
    "posted code": lambda server: server.error("deep()"),
    "a call": lambda server: server.post("/ruleset/rpcall", "deep()"),
    "an update": lambda server: server.post("/ruleset/update", "deep()"),
    "a module": lambda server: server.post("/ruleset/update", "deep()", module="m"),
    "a routine": lambda server: server.run("neosocksd.async(type, function() deep() end)"),
    "a finish function": lambda server: server.run("neosocksd.async(deep, os.clock)"),
}


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    return [text for text in found if "stack traceback" in text]


@pytest.mark.logs_error("boom")
@pytest.mark.parametrize("place", PLACES)
def test_the_way_to_an_error_is_logged_once(
    rule: Rule, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    server = rule(RULESET, traceback=True)
    PLACES[place](server)
    eventually(lambda: bool(tracebacks(caplog)))
    [text] = tracebacks(caplog)
    assert "/ruleset.lua:2: boom\\nstack traceback:" in text


@pytest.mark.logs_error("boom")
@pytest.mark.parametrize("place", ["a callback", "a callback that has waited", "stats"])
def test_without_the_setting_the_error_alone_is_logged(
    rule: Rule, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    PLACES[place](rule(RULESET))
    assert any("boom" in record.getMessage() for record in caplog.records)
    assert tracebacks(caplog) == []
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.logs_error("boom")
def test_an_error_while_the_ruleset_loads_is_logged_with_the_way_to_it(
    rule: Rule, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Exception, match=r"ruleset\.lua:1: boom"):
        rule("local function deep() error('boom') end deep()", traceback=True)
    assert len(tracebacks(caplog)) == 1


def test_an_error_that_the_script_catches_is_not_logged(
    rule: Rule, caplog: pytest.LogCaptureFixture
) -> None:
    server = rule(traceback=True)
    server.run("pcall(error, 'x') pcall(package.replace, 'm', function() error('x') end)")
    assert tracebacks(caplog) == []


@pytest.mark.logs_error("time limit")
@pytest.mark.parametrize("before", ["", "await.idle()"])
def test_what_the_time_limit_ends_is_answered_with_the_setting_too(
    rule: Rule, echo: EchoServer, before: str
) -> None:
    server = rule(
        f"""return {{
            resolve = function() {before} while true do end end,
            route = function(addr) return addr end }}""",
        traceback=True,
        lua_ruleset={"time_limit": 0.05},
    )
    assert server.reply("x.test", 1) == 2
    response = server.post("/ruleset/rpcall", f"{before} while true do end")
    assert response.body == b"rpcall did not return"
    server.run("""
        local function finish(ok, message) _G.over = { ok, message } end
        pcall(neosocksd.async, finish, function() await.idle() while true do end end)""")
    found = server.call("while not over do await.idle() end return over[1], over[2]")
    assert found.startswith("false,")
    assert "time limit" in found
    assert server.reply("127.0.0.1", echo.port) == 0
