"""neosocksd.*: what each function gives, and how each refuses wrong arguments, with the place of the call."""

import time

import pytest

from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule, Ruled


def eval_all(server: Ruled, expressions: dict[str, str]) -> None:
    for code, expected in expressions.items():
        assert server.call("return " + code) == expected, code


# neosocksd.config


def test_config_gives_the_configuration_in_force(rule: Rule) -> None:
    server = rule(
        timeout=33, loglevel=6, max_sessions=7, memlimit=5, traceback=False, tcp_sndbuf=65536
    )
    eval_all(
        server,
        {
            "neosocksd.config().timeout == 33": "true",
            "neosocksd.config().loglevel": "6",
            "neosocksd.config().max_sessions": "7",
            "neosocksd.config().memlimit": "5",
            "neosocksd.config().traceback": "false",
            "neosocksd.config().tcp_sndbuf": "65536",
            "neosocksd.config().tcp_nodelay": "true",
            "neosocksd.config().tcp_keepalive": "true",
            "neosocksd.config().block_multicast": "true",
            "neosocksd.config().block_loopback": "false",
            "neosocksd.config().startup_limit_rate": "30",
            "neosocksd.config().resolve_pf": "0",
            "neosocksd.config().auth_required": "false",
            "neosocksd.config().listen": '"127.0.0.1:0"',
            "neosocksd.config().proxy": "nil",
        },
    )
    assert server.call("return neosocksd.config().ruleset") == f'"{server.path}"'


def test_config_is_a_fresh_table_at_each_call(rule: Rule) -> None:
    server = rule()
    assert (
        server.call(
            "local c = neosocksd.config() c.loglevel = 99 return neosocksd.config().loglevel"
        )
        == "4"
    )


def test_config_works_while_the_ruleset_is_loaded(rule: Rule) -> None:
    assert rule("_G.level = neosocksd.config().loglevel return {}").call("return level") == "4"


# neosocksd.splithostport


def test_splithostport(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.splithostport("example.com:80")': '"example.com","80"',
            'neosocksd.splithostport("[::1]:80")': '"::1","80"',
            'neosocksd.splithostport(":80")': '"","80"',
        },
    )


@pytest.mark.parametrize("text", ["", "example.com", "::1:80", "[::1:80", "::1]:80"])
def test_splithostport_raises_on_failure_at_the_place_of_the_call(rule: Rule, text: str) -> None:
    error = rule().error(f'\n\nneosocksd.splithostport("{text}")')
    assert error.startswith("(invoke):3: ")


# neosocksd.parse_ipv4, parse_ipv6


def test_parse_ipv4(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.parse_ipv4("169.254.0.0") == 0xA9FE0000': "true",
            'neosocksd.parse_ipv4("255.255.255.255") == 0xFFFFFFFF': "true",
            'math.type(neosocksd.parse_ipv4("0.0.0.0"))': '"integer"',
        },
    )


@pytest.mark.parametrize(
    "text", ["", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::1", "a.b.c.d", "1.2.3.4\\0", "\\255"]
)
def test_parse_ipv4_gives_nil_on_failure(rule: Rule, text: str) -> None:
    assert rule().call(f'return neosocksd.parse_ipv4("{text}")') == "nil"


def test_parse_ipv6_gives_the_high_half_first(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.parse_ipv6("::1")': "0,1",
            'select("#", neosocksd.parse_ipv6("::1"))': "2",
            '(neosocksd.parse_ipv6("FE80::")) == 0xFE80000000000000': "true",
            '(neosocksd.parse_ipv6("2001:DB8::1")) == 0x20010DB800000000': "true",
            'select(2, neosocksd.parse_ipv6("ffff::ffff:ffff:ffff:ffff")) == -1': "true",
        },
    )


@pytest.mark.parametrize("text", ["", ":", "1.2.3.4", "fe80::1%lo", "[::1]", "g::", "\\255"])
def test_parse_ipv6_gives_nil_on_failure(rule: Rule, text: str) -> None:
    assert rule().call(f'return neosocksd.parse_ipv6("{text}")') == "nil"


# neosocksd.resolve


def test_resolve_blocks_and_gives_an_address(rule: Rule) -> None:
    server = rule(resolve_pf=2)
    server.run('_G.found = neosocksd.resolve("localhost")')
    assert server.call("return found") == '"127.0.0.1"'


@pytest.mark.parametrize("name", ["no such host", "x.invalid", "", "\\255", "a..b"])
def test_resolve_gives_nil_on_failure(rule: Rule, name: str) -> None:
    assert rule().call(f'return neosocksd.resolve("{name}")') == "nil"


# neosocksd.stats, now


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


@pytest.mark.parametrize("name", COUNTERS)
def test_stats_has_integers(rule: Rule, name: str) -> None:
    assert rule().call(f"return math.type(neosocksd.stats().{name})") == '"integer"'


def test_while_loading_the_fields_are_zero(rule: Rule) -> None:
    server = rule("_G.first = neosocksd.stats() return {}")
    assert server.call("return first.num_request, first.num_sessions, first.byt_up") == "0,0,0"


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


# neosocksd.async


def test_async_calls_finish_with_what_pcall_gives(rule: Rule) -> None:
    server = rule()
    code = """
        local seen = {}
        local function finish(...) seen[#seen + 1] = table.pack(...) end
        neosocksd.async(finish, function(...) return ... end, 1, nil, "x")
        neosocksd.async(finish, function() error("boom", 0) end)
        local first, second = seen[1], seen[2]
        return first.n, first[1], first[2], first[3], first[4], second.n, second[1], second[2]"""
    assert server.call(code) == '4,true,1,nil,"x",2,false,"boom"'


def test_async_gives_the_coroutine(rule: Rule) -> None:
    code = "local co = neosocksd.async(print, await.idle) return type(co), coroutine.status(co)"
    assert rule().call(code) == '"thread","suspended"'


def test_the_function_of_async_is_yieldable_and_finish_is_not(rule: Rule) -> None:
    server = rule()
    code = """
        local inside, after
        neosocksd.async(function() after = coroutine.isyieldable() end, function() inside = coroutine.isyieldable() end)
        return inside, after"""
    assert server.call(code) == "true,false"


@pytest.mark.logs_error("attempt to yield across a C-call boundary")
def test_finish_cannot_await(rule: Rule) -> None:
    rule().call("neosocksd.async(function() await.idle() end, print)")


def test_async_works_outside_of_routines(rule: Rule) -> None:
    server = rule()
    server.run("neosocksd.async(function(ok) _G.done = ok end, await.sleep, 0.001)")
    assert server.call("while done == nil do await.idle() end return done") == "true"


def test_routines_that_begin_while_the_ruleset_loads_run_with_the_server(rule: Rule) -> None:
    server = rule("neosocksd.async(function(...) _G.done = ... end, await.sleep, 0.001) return {}")
    assert server.call("while done == nil do await.idle() end return done") == "true"


# neosocksd.traceback


@pytest.mark.logs_error("stack traceback")
def test_traceback_logs_and_hands_the_error_on(rule: Rule) -> None:
    code = 'return xpcall(function() error("boom", 0) end, neosocksd.traceback)'
    assert rule().call(code) == 'false,"boom"'


# where a routine cannot wait


@pytest.mark.parametrize(
    "call", ["sleep(0)", "idle()", "resolve('x')", "execute('true')", "invoke('', 'x:1')"]
)
def test_await_outside_of_a_routine_raises(rule: Rule, call: str) -> None:
    assert rule().error(f"\nlocal x = await.{call}") == "(invoke):2: not in asynchronous routine"


@pytest.mark.parametrize(
    "code",
    [
        "table.sort({2, 1}, function() await.idle() end)",
        "string.gsub('x', 'x', function() await.idle() end)",
        "load(function() await.idle() end)()",
    ],
)
def test_a_yield_where_none_is_allowed_raises(rule: Rule, code: str) -> None:
    server = rule()
    text = server.call(
        f"local ok, message = pcall(function() {code} end) return ok, tostring(message)"
    )
    assert text.startswith("false")
    assert "C-call boundary" in text or "attempt to call a nil value" in text


# os.exit, print


@pytest.mark.parametrize(
    ("code", "status"), [("3", 3), ("true", 0), ("false", 1), ("", 0), ("256 + 7", 7)]
)
def test_os_exit_stops_the_server_with_that_status(rule: Rule, code: str, status: int) -> None:
    server = rule()
    assert "ended the server" in server.error(f"pcall(os.exit, {code or 'nil'})")
    server.running.join()
    assert server.running.server.exit_status == status


def test_print_writes_a_line_to_standard_output(
    rule: Rule, capfd: pytest.CaptureFixture[str]
) -> None:
    rule().run('print("a", 1, nil)')
    assert capfd.readouterr().out == "a\t1\tnil\n"
