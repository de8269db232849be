"""What the API reference shows, in the shape in which it shows it: its synopses as scripts that run."""

import re

import pytest

from neosocksd_core.testing.peers import closed_address
from neosocksd_lua_ruleset.testing import Rule, api_of

pytestmark = pytest.mark.usefixtures("backend")

WITH_LIBRARY = (
    "_G.libruleset = require('libruleset') return setmetatable({}, { __index = libruleset })"
)


def test_config_and_loglevel(rule: Rule, capfd: pytest.CaptureFixture[str]) -> None:
    server = rule(loglevel=6)
    server.run("""
        _G.config = neosocksd.config()
        if config.loglevel >= 6 then
            print("loud")
        end""")
    assert capfd.readouterr().out == "loud\n"


def test_a_subnet_by_mask(rule: Rule) -> None:
    code = """
        local subnet = neosocksd.parse_ipv4("169.254.0.0")
        local mask = 0xFFFF0000
        local inside, outside = neosocksd.parse_ipv4("169.254.7.8"), neosocksd.parse_ipv4("203.0.113.1")
        return (inside & mask) == subnet, (outside & mask) == subnet"""
    assert rule().call(code) == "true,false"


def test_an_ipv6_subnet_by_masks(rule: Rule) -> None:
    code = """
        local subnet1 = neosocksd.parse_ipv6("FE80::")
        local mask1 = 0xFFC0000000000000
        local ip1 = neosocksd.parse_ipv6("fe80::1:2")
        local other = neosocksd.parse_ipv6("2001:DB8::1")
        return (ip1 & mask1) == subnet1, (other & mask1) == subnet1"""
    assert rule().call(code) == "true,false"


def test_tick_is_called_with_the_time(rule: Rule) -> None:
    server = rule("""
        local ruleset = {}
        function ruleset.tick(now) _G.seen = math.type(now) neosocksd.setinterval(0) end
        neosocksd.setinterval(0.001)
        return ruleset""")
    assert server.call("while not seen do await.sleep(0.001) end return seen") == '"float"'


def test_stats_are_joined_lines(rule: Rule) -> None:
    server = rule("""
        local ruleset = {}
        function ruleset.stats(dt, q)
            local w = {}
            table.insert(w, string.format("dt = %.03f, q = %q", dt, q))
            table.insert(w, "second")
            return table.concat(w, "\\n")
        end
        return ruleset""")
    running = server.running
    found = running.call(running.server.plugins.report_stats, running.server, 2.0, "all")
    assert found == ['dt = 2.000, q = "all"\nsecond']


def test_invoke_with_a_long_string_through_a_proxy(rule: Rule) -> None:
    with closed_address() as (_, port, *_):
        rule().run(f'neosocksd.invoke([[log("x")]], "api.test:80", "socks4a://127.0.0.1:{port}")')


def test_an_expression_finds_and_matches(rule: Rule) -> None:
    code = r"""
        local reg = regex.compile([[\.example\.(com|org)$]])
        local s, e = reg:find("www.example.org")
        local m, sub1 = reg:match("www.example.com")
        local n = 0
        for m, sub1 in regex.compile("(a)b"):gmatch("abxab") do n = n + 1 end
        return s, e, m, sub1, n"""
    assert rule().call(code) == '4,15,".example.com","com",2'


def test_clocks(rule: Rule) -> None:
    code = """
        local t0, t1, t2, t3 = time.monotonic(), time.process(), time.thread(), time.wall()
        local t, a, b = time.measure(function(...) return ... end, 1, 2)
        return t0 > 0, t1 > 0, t2 > 0, t3 > 1e9, t >= 0, a, b"""
    assert rule().call(code) == "true,true,true,true,true,1,2"


def test_compression_goes_both_ways(rule: Rule) -> None:
    assert (
        rule().call('local s = ("x"):rep(99) return zlib.uncompress(zlib.compress(s)) == s')
        == "true"
    )


def test_marshal_writes_lua(rule: Rule) -> None:
    code = 'return marshal("a", {"b", ["c"] = "d"})'
    assert rule().call(code) == r'"\"a\",{\"b\",[\"c\"]=\"d\",}"'


def test_futures_of_routines(rule: Rule) -> None:
    server = rule(WITH_LIBRARY)
    server.run("""
        async(function(...)
            local future1 = async(function(...) await.idle() return "result1" end, ...)
            local future2 = async(function(...) return "result2" end, ...)
            local ok1, r1 = future1:get()
            local ok2, r2 = future2:get()
            _G.got = { ok1, r1, ok2, r2 }
        end, 1)""")
    code = "while not got do await.idle() end return table.unpack(got)"
    assert server.call(code) == 'true,"result1",true,"result2"'


def test_a_command_in_a_routine(rule: Rule) -> None:
    server = rule(WITH_LIBRARY)
    server.run('async(function() _G.got = table.pack(await.execute("exit 4")) end)')
    assert (
        server.call("while not got do await.idle() end return got[1], got[2], got[3]")
        == 'nil,"exit",4'
    )


def test_a_call_whose_peer_cannot_be_reached(rule: Rule) -> None:
    server = rule(WITH_LIBRARY)
    with closed_address() as (_, port, *_):
        server.run(f"""
            async(function(addr)
                local ok, result = await.invoke([[await.idle(); return "ok"]], addr)
                _G.got = {{ ok, result }}
            end, "127.0.0.1:{port}")""")
        code = "while not got do await.sleep(0.001) end return got[1], got[2]"
        assert server.call(code) == 'false,"connection failed"'


def test_a_call_gives_a_function_that_gives_the_outcome(
    rule: Rule, capfd: pytest.CaptureFixture[str]
) -> None:
    server = rule(WITH_LIBRARY, loglevel=6)
    with api_of(rule()) as (address, _):
        server.run(f"""
            async(function(addr)
                local begin = neosocksd.now()
                local ok, result = await.invoke([[await.idle(); return "ok"]], addr)
                if not ok then
                    error("invocation failed: " .. result)
                end
                ok, result = result()
                if not ok then
                    error("remote error: " .. result)
                end
                assert(result == "ok")
                local rtt = neosocksd.now() - begin
                logf("ping %s: %dms", addr, math.ceil(rtt * 1e+3))
                _G.over = true
            end, "{address}")""")
        assert server.call("while not over do await.sleep(0.001) end return over") == "true"
    assert re.search(rf" ping {re.escape(address)}: \d+ms\n", capfd.readouterr().out)


def test_calls_of_one_line(rule: Rule) -> None:
    code = """
        local addr = neosocksd.resolve("localhost")
        local host, port = neosocksd.splithostport("example.com:80")
        neosocksd.setinterval(1.5)
        neosocksd.setinterval(0)
        local t = neosocksd.stats()
        local now = neosocksd.now()
        return type(addr), host, port, type(t), type(now)"""
    assert rule().call(code) == '"string","example.com","80","table","number"'


def test_a_routine_works_like_finish_of_pcall(rule: Rule) -> None:
    code = """
        local function func(...) await.idle() return ... end
        local expected = table.pack(pcall(func, 1, nil, 3))
        local found
        local function finish(...) found = table.pack(...) end
        local co, err = neosocksd.async(finish, func, 1, nil, 3)
        assert(co, err)
        while not found do await.idle() end
        return marshal(table.unpack(found, 1, found.n)) == marshal(table.unpack(expected, 1, expected.n)), found.n"""
    assert rule().call(code) == "true,4"


def test_names_and_pauses_in_a_routine(rule: Rule) -> None:
    server = rule(WITH_LIBRARY, resolve_pf=2)
    server.run("""
        async(function()
            local addr = await.resolve("localhost")
            await.sleep(0.001)
            _G.got = addr
        end)""")
    assert server.call("while not got do await.idle() end return got") == '"127.0.0.1"'


def test_xpcall_with_the_traceback(rule: Rule) -> None:
    code = "local ok, result = xpcall(function(...) return ... end, neosocksd.traceback, 7) return ok, result"
    assert rule().call(code) == "true,7"
