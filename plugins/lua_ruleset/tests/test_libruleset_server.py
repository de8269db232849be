"""libruleset in a listening server: requests through the rule tables, failover, look-ups, and calls between two servers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from neosocksd_core.testing.peers import closed_address
from neosocksd_lua_ruleset.testing import Rule, api_of
from neosocksd_lua_ruleset.vm import read_source

pytestmark = pytest.mark.usefixtures("backend")

SUCCESS, NOT_ALLOWED = 0, 2


def ruleset(code: str) -> str:
    return f"_G.R = require('libruleset')\n{code}\nreturn R"


def test_requests_pass_the_rule_tables(rule: Rule, echo: Any) -> None:
    server = rule(
        ruleset(f"""
        redirect_name = {{
            {{ match.domain(".allowed.test"), rule.redirect("127.0.0.1:{echo.port}"), "allowed" }},
            {{ match.any(), rule.reject() }},
        }}
        route = {{ {{ inet.subnet("203.0.113.0/24"), rule.redirect("127.0.0.1:{echo.port}") }} }}
        route6 = {{ {{ inet6.subnet("2001:db8::/32"), rule.redirect("127.0.0.1:{echo.port}") }} }}
        route_default = {{ rule.reject(), "default" }}
        """)
    )
    assert server.reply("www.allowed.test", 80) == SUCCESS
    assert server.reply("www.other.test", 80) == NOT_ALLOWED
    assert server.reply("203.0.113.7", 80) == SUCCESS
    assert server.reply("198.51.100.7", 80) == NOT_ALLOWED
    assert server.reply("2001:db8::1", 80) == SUCCESS
    assert server.reply("2001:db9::1", 80) == NOT_ALLOWED
    assert server.call("return num_requests, num_authorized") == "6,6"
    events = server.call(
        "local t = {} for i, e in recent_events:iter() do t[i] = e.message end return t"
    )
    assert events.startswith('{"default: [2001:db9::1]:80",')
    assert '"allowed: www.allowed.test:80",' in events


def test_secrets_let_users_in(rule: Rule, echo: Any) -> None:
    server = rule(
        ruleset(f"""
        secrets = {{ alice = "wonder", bob = true }}
        route_default = {{ rule.redirect("127.0.0.1:{echo.port}") }}
        """),
        auth_required=True,
    )
    assert server.reply("a.test", 80, "alice", "wonder") == SUCCESS
    assert server.reply("a.test", 80, "alice", "wrong") == NOT_ALLOWED
    assert server.reply("a.test", 80, "bob", "any") == SUCCESS
    assert server.reply("a.test", 80, "eve", "any") == NOT_ALLOWED
    assert server.call("return num_requests, num_authorized") == "4,2"


def test_authenticate_may_await(rule: Rule, echo: Any) -> None:
    server = rule(
        ruleset(f"""
        function R.authenticate(addr, user, pass) await.sleep(0.001) return user == pass end
        route_default = {{ rule.redirect("127.0.0.1:{echo.port}") }}
        """),
        auth_required=True,
    )
    assert server.reply("a.test", 80, "x", "x") == SUCCESS
    assert server.reply("a.test", 80, "x", "y") == NOT_ALLOWED


def test_resolve_looks_the_host_up_keeps_the_port_and_decides_again(rule: Rule, echo: Any) -> None:
    server = rule(
        ruleset(f"""
        redirect_name = {{ {{ match.host("localhost"), rule.resolve() }} }}
        redirect = {{ {{ match.exact("127.0.0.1:81"), rule.redirect("127.0.0.1:{echo.port}") }} }}
        redirect6 = {{ {{ match.exact("[::1]:81"), rule.redirect("127.0.0.1:{echo.port}") }} }}
        route_default = {{ rule.reject() }}
        """)
    )
    assert server.reply("localhost", 81) == SUCCESS
    assert server.reply("localhost", 82) == NOT_ALLOWED


def test_resolve_rejects_what_has_no_address(rule: Rule) -> None:
    server = rule(ruleset("redirect_name = { { match.any(), rule.resolve() } }"))
    assert server.reply("no-such-name.invalid", 80) == NOT_ALLOWED


@pytest.fixture
def nobody() -> Generator[str]:
    """An address that refuses connections."""
    with closed_address() as (host, port):
        yield f"{host}:{port}"


def test_failover_takes_the_first_chain_that_stands(rule: Rule, echo: Any, nobody: str) -> None:
    server = rule(
        ruleset(f"""
        function R.resolve(addr)
            return R.failover("127.0.0.1:{echo.port}", {{ {{ "socks5://{nobody}" }}, "http://{nobody}", {{}} }})
        end
        """)
    )
    assert server.reply("a.test", 80) == SUCCESS


@pytest.mark.parametrize("chains", ["{}", "{{'%s'}, {'%s'}}"])
def test_failover_rejects_when_no_chain_stands(
    rule: Rule, echo: Any, nobody: str, chains: str
) -> None:
    listed = chains.replace("%s", f"socks5://{nobody}")
    server = rule(
        ruleset(f"""
        function R.resolve(addr)
            _G.got = table.pack(R.failover("127.0.0.1:{echo.port}", {listed}))
            return table.unpack(got, 1, 1)
        end
        """)
    )
    assert server.reply("a.test", 80) != SUCCESS
    assert server.call("return got[1], type(got[2])") == 'nil,"string"'


def test_futures_of_routines_that_await(rule: Rule) -> None:
    server = rule(ruleset(""))
    code = """
        local begin, futures, sum = time.monotonic(), {}, 0
        for i = 1, 100 do futures[i] = async(function() await.sleep(0.05) return i end) end
        for i = 1, 100 do
            local ok, n = futures[i]:get()
            sum = sum + n
        end
        return sum, time.monotonic() - begin < 3
    """
    assert server.call(code) == "5050,true"


def test_callback_is_resumed_by_another_routine(rule: Rule) -> None:
    code = """
        return await.callback(function(f, ...)
            async(function(...) await.sleep(0.01) f(...) end, ...)
        end, 1, nil, 3)
    """
    assert rule(ruleset("")).call(code) == "1,nil,3"


def test_the_example_of_the_reference_for_async(rule: Rule) -> None:
    code = """
        local out
        local done = async(function(...)
            local future1 = async(function(...)
                await.idle()
                return "result1"
            end, ...)
            local future2 = async(function(...)
                return "result2"
            end, ...)
            local ok1, r1 = future1:get()
            local ok2, r2 = future2:get()
            out = { ok1, r1, ok2, r2 }
        end, 1)
        done:get()
        return out
    """
    assert rule(ruleset("")).call(code) == '{true,"result1",true,"result2",}'


def test_rpcall_runs_a_function_of_the_peer_by_name(rule: Rule) -> None:
    peer = rule(
        ruleset("""
        function rpc.add(a, b) await.sleep(0.001) return a + b, nil, "x" end
        function rpc.fail() error("broken", 0) end
        """)
    )
    server = rule(ruleset(""))
    with api_of(peer) as (address, _):
        for call, result in {
            f"{{'{address}'}}, 'echo', 1, nil, {{a = 'b\\0'}}, nil": 'true,1,nil,{["a"]="b\\000",},nil',
            f"{{'{address}'}}, 'echo'": "true",
            f"'{address}', 'add', 1, 2": 'true,3,nil,"x"',
            f"{{'{address}'}}, 'fail'": 'false,"broken"',
            f"{{'{address}'}}, 'none'": 'false,"no such function: rpc.none"',
        }.items():
            assert server.call(f"return await.rpcall({call})") == result, call
        big = server.call(
            f"local ok, s = await.rpcall({{'{address}'}}, 'echo', ('x'):rep(100000)) return ok, #s"
        )
        assert big == "true,100000"


def test_rpcall_gives_false_and_a_message_when_the_peer_is_not_there(
    rule: Rule, nobody: str
) -> None:
    answer = rule(ruleset("")).call(f"return await.rpcall({{'{nobody}'}}, 'echo')")
    assert answer.startswith('false,"')


@pytest.mark.parametrize("function", ["await.rpcall", "neosocksd.sendmsg"])
def test_an_argument_that_cannot_be_sent_is_an_error_where_it_was_given(
    rule: Rule, function: str
) -> None:
    error = rule(ruleset("")).error(f"\n{function}({{'127.0.0.1:1'}}, 'echo', 1, print)")
    assert error == "(invoke):2: unable to marshal a function"


def test_a_ruleset_that_inherits_from_the_module_follows_its_reload(rule: Rule, echo: Any) -> None:
    server = rule(f"""
        _G.libruleset = require("libruleset")
        redirect_name = {{ {{ match.any(), rule.redirect("127.0.0.1:{echo.port}"), "first" }} }}
        local ruleset = {{}}
        return setmetatable(ruleset, {{ __index = function(_, k) return _G.libruleset[k] end }})
    """)
    assert server.reply("a.test", 80) == SUCCESS
    source = read_source("libruleset")
    assert source is not None
    replaced = source.replace(
        b"num_requests = num_requests + 1", b"num_requests = num_requests + 100"
    )
    for posted in (source, replaced):
        assert server.post("/ruleset/update", posted, module="libruleset").status == 200
        assert server.reply("a.test", 80) == SUCCESS
    assert server.call("return num_requests, recent_events:get(1).count") == "102,3"


@pytest.mark.parametrize("target", ["nil", "{}", "7", "{7}"])
@pytest.mark.parametrize("function", ["await.rpcall", "neosocksd.sendmsg"])
def test_a_target_is_an_address_with_its_proxies(rule: Rule, function: str, target: str) -> None:
    error = rule(ruleset("")).error(f"\n{function}({target}, 'nop')")
    name = function.rpartition(".")[2]
    assert error.startswith(f"(invoke):2: bad argument #1 to '{name}'")


def test_sendmsg_runs_a_handler_of_the_peer(rule: Rule, nobody: str) -> None:
    peer = rule(ruleset("function msgh.set(...) _G.got = table.pack(...) end"))
    server = rule(ruleset(""))
    with api_of(peer) as (address, _):
        server.run(
            f"neosocksd.sendmsg({{'{address}'}}, 'none') neosocksd.sendmsg('{address}', 'nop')"
        )
        server.run(f"neosocksd.sendmsg({{'{address}'}}, 'set', 1, nil, 'x')")
        code = "for _ = 1, 500 do if got then break end await.sleep(0.01) end return got and got.n, got and got[1], got and got[3]"
        assert peer.call(code) == '3,1,"x"'
    server.run(f"neosocksd.sendmsg({{'{nobody}'}}, 'nop')")


def test_the_stats_of_the_ruleset(rule: Rule) -> None:
    server = rule(ruleset("route_default = { rule.reject(), 'default' }"))
    server.reply("a.test", 80)
    text = server.call("return R.stats(1, '')")
    assert "1 (1 authorized)" in text
    assert "default: a.test:80" in text


def test_ten_thousand_futures_leave_nothing_behind(rule: Rule) -> None:
    server = rule(ruleset(""))
    code = """
        local function once()
            local futures = {}
            for i = 1, 1000 do futures[i] = async(function() await.idle() return i end) end
            for i = 1, 1000 do futures[i]:get() end
        end
        once() once()
        collectgarbage() collectgarbage()
        local before = collectgarbage("count")
        for _ = 1, 10 do once() end
        collectgarbage() collectgarbage()
        return collectgarbage("count") - before < 200
    """
    assert server.call(code) == "true"
