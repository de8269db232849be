"""neosocksd.stats and neosocksd.now: what a script is told about the server and its time."""

import time
from http.client import HTTPConnection

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule, eventually

pytestmark = pytest.mark.usefixtures("backend")


COUNTERS = [
    "uptime",
    "num_halfopen",
    "num_sessions",
    "num_sessions_peak",
    "num_request",
    "num_success",
    "num_reject_ruleset",
    "num_reject_timeout",
    "num_reject_upstream",
    "byt_up",
    "byt_down",
    "num_accept",
    "num_serve",
    "num_api_request",
    "num_api_success",
    "num_dns_query",
    "num_dns_success",
    "bytes_allocated",
    "num_object",
    "num_thread_active",
    "num_thread_peak",
]


def test_stats_has_integers(rule: Rule) -> None:
    server = rule()
    for name in COUNTERS:
        assert server.call(f"return math.type(neosocksd.stats().{name})") == '"integer"', name


def test_while_loading_the_counters_are_zero(rule: Rule) -> None:
    server = rule("_G.first = neosocksd.stats() return {}")
    for name in COUNTERS:
        expected = "integer" if name in ("uptime", "bytes_allocated") else "0"
        code = f"local n = first.{name} return tostring(n == 0 and n or math.type(n))"
        assert server.call(code) == f'"{expected}"', name


COUNTED = {
    "a session": ("return a", 0, {"num_accept", "num_serve", "num_request", "num_success"}),
    "the ruleset": (
        "return nil",
        2,
        {"num_accept", "num_serve", "num_request", "num_reject_ruleset"},
    ),
    "the upstream": (
        "return '127.0.0.1:0'",
        5,
        {"num_accept", "num_serve", "num_request", "num_reject_upstream"},
    ),
    "the time limit": (
        "await.sleep(1000)",
        6,
        {"num_accept", "num_serve", "num_request", "num_reject_timeout"},
    ),
}


@pytest.mark.parametrize("what", COUNTED)
def test_stats_count_what_becomes_of_a_request(rule: Rule, echo: EchoServer, what: str) -> None:
    answer, reply, counted = COUNTED[what]
    server = rule(f"return {{ route = function(a) {answer} end }}")
    if reply == 6:
        server.running.shorten_timeout(0.05)
    assert server.reply("127.0.0.1", echo.port) == reply
    server.running.wait_idle()
    for name in sorted(
        name for name in COUNTERS if name.startswith("num_") and "thread" not in name
    ):
        peak = name == "num_sessions_peak" and reply == 0
        expected = "1" if name in counted or peak else "0"
        assert server.call(f"return neosocksd.stats().{name}") == expected, name


def test_stats_tell_who_is_there_now(rule: Rule, echo: EchoServer) -> None:
    server = rule("""
        local r = {}
        function r.route(a) return a end
        function r.resolve() coroutine.yield() end
        return r""")
    session, waiting = server.connect("127.0.0.1", echo.port), server.connect("x.test", 1)
    session.receive(10)
    code = "local s = neosocksd.stats() return s.num_sessions, s.num_halfopen, s.num_thread_active"
    eventually(lambda: server.call(code) == "1,1,2")
    session.close()
    waiting.close()
    server.running.wait_idle()
    assert server.call(code) == "0,0,1"
    code = "local s = neosocksd.stats() return s.num_sessions_peak, s.num_thread_peak"
    assert server.call(code) == "1,2"


def test_stats_count_lookups(rule: Rule) -> None:
    server = rule(resolve_pf=2)
    server.call("await.resolve('localhost') await.resolve('x.invalid')")
    code = "local s = neosocksd.stats() return s.num_dns_query, s.num_dns_success"
    assert server.call(code) == "2,1"


def test_stats_count_requests_to_the_api(rule: Rule) -> None:
    pytest.importorskip("neosocksd_rest_api")
    server = rule(plugins=("rest_api",), restapi="127.0.0.1:0")
    address = server.running.addresses[1][:2]
    for path, status in (("/healthy", 200), ("/nothing", 404)):
        connection = HTTPConnection(*address)
        connection.request("GET", path)
        assert connection.getresponse().status == status
        connection.close()
    code = "local s = neosocksd.stats() return s.num_api_request, s.num_api_success"
    eventually(lambda: server.call(code) == "2,1")


def test_stats_counts(rule: Rule, echo: EchoServer) -> None:
    server = rule("return { route = function(a) return a end }")
    assert server.reply("127.0.0.1", echo.port) == 0
    server.running.wait_idle()
    code = "local s = neosocksd.stats() return s.num_request, s.num_success, s.byt_up, s.byt_down, s.num_thread_active"
    assert server.call(code) == "1,1,5,5,1"


def test_stats_tells_the_last_error(rule: Rule) -> None:
    server = rule("return { route = function(a) return '127.0.0.1:0' end }")
    assert server.call("return neosocksd.stats().lasterror") == "nil"
    assert server.reply("127.0.0.1", 1) == 5
    assert "no port" in server.call("return neosocksd.stats().lasterror")


def test_uptime_is_in_nanoseconds(rule: Rule) -> None:
    server = rule()
    assert (
        0
        < int(server.call("return string.format('%d', neosocksd.stats().uptime)").strip('"'))
        < 60e9
    )


def test_now_is_unix_time_as_a_float(rule: Rule) -> None:
    server = rule()
    before = time.time()
    found = float(
        server.call(
            'return string.format("%.6f", neosocksd.now()), math.type(neosocksd.now())'
        ).split('"')[1]
    )
    assert before - 0.01 <= found <= time.time() + 0.01
    assert server.call("return math.type(neosocksd.now())") == '"float"'


def test_now_stays_the_same_until_the_next_event(rule: Rule) -> None:
    server = rule()
    code = """local first = neosocksd.now()
        local began = time.monotonic() repeat until time.monotonic() > began + 0.002
        local same = neosocksd.now() == first
        await.sleep(0.002)
        return same, neosocksd.now() > first"""
    assert server.call(code) == "true,true"
