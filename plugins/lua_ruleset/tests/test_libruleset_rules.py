"""libruleset: decisions over rule tables, actions, load balancing, counters, credentials, and what a reload keeps."""

import pathlib

import pytest

from neosocksd_lua_ruleset.trial import Script
from neosocksd_lua_ruleset.vm import read_source

TABLES = "for _, n in ipairs({'redirect_name','redirect','redirect6','route','route6','route_default','hosts','secrets'}) do _G[n] = nil end "


def decide(lua: Script, kind: str, address: str, tables: str = "") -> str:
    return lua.values(f"{TABLES} _ENV = _G {tables} return R.decide.{kind}('{address}')")


@pytest.mark.parametrize(
    ("kind", "address"), [("resolve", "a.b:80"), ("route", "192.0.2.1:80"), ("route6", "[::1]:80")]
)
def test_without_any_table_a_request_goes_as_it_is(lua: Script, kind: str, address: str) -> None:
    assert decide(lua, kind, address) == f'"{address}"'


@pytest.mark.parametrize(
    ("action", "decision"),
    [
        ("rule.direct()", '"www.a:80"'),
        ("rule.reject()", "nil"),
        ("rule.redirect('b:81')", '"b:81"'),
        (
            "rule.redirect('b:81', 'socks5://p1:1', 'http://p2:2')",
            '"b:81","http://p2:2","socks5://p1:1"',
        ),
        ("rule.redirect(':81')", '"www.a:81"'),
        ("rule.redirect('b:')", '"b:80"'),
        ("rule.redirect(':', 'socks5://p:1')", '"www.a:80","socks5://p:1"'),
        ("rule.redirect('[::1]:')", '"[::1]:80"'),
        ("rule.proxy('socks5://p1:1')", '"www.a:80","socks5://p1:1"'),
        (
            "rule.proxy('socks5://p1:1', 'http://p2:2', 'socks4a://p3:3')",
            '"www.a:80","socks4a://p3:3","http://p2:2","socks5://p1:1"',
        ),
        ("rule.rewrite('^www%.(.*)$', '%1')", '"a:80"'),
        ("rule.rewrite('^WWW%.', '')", '"a:80"'),
        ("rule.rewrite('^x%.', '')", '"www.a:80"'),
        ("rule.rewrite('^(%a+)%.', {www = 'host.'})", '"host.a:80"'),
        ("rule.maybe({k = false}, 'k')", "nil"),
        (
            "rule.rewrite('^www', 'ftp', 'socks5://p1:1', 'http://p2:2')",
            '"ftp.a:80","http://p2:2","socks5://p1:1"',
        ),
        ("rule.default()", '"www.a:80","socks5://default:1"'),
        ("rule.maybe({k = rule.reject()}, 'k')", "nil"),
        ("rule.maybe({k = rule.redirect('c:1')}, 'k')", '"c:1"'),
        ("rule.maybe({}, 'k')", "nil"),
        ("rule.loopback('^www%.', 'host.')", '"192.0.2.9:80","socks5://four:1"'),
        ("rule.loopback('^.*:', '[::1]:')", '"[::1]:80","socks5://six:1"'),
        ("rule.loopback('^www', 'www')", "nil"),
        ("function(addr) return addr, 'mine' end", '"www.a:80","mine"'),
        ("lb.roundrobin({rule.reject()})", "nil"),
    ],
)
def test_an_action_decides(lua: Script, action: str, decision: str) -> None:
    tables = f"""
        redirect_name = {{ {{ match.host("www.a"), {action} }} }}
        hosts = {{ ["host.a"] = "192.0.2.9" }}
        route = {{ {{ inet.subnet("192.0.2.0/24"), rule.proxy("socks5://four:1") }} }}
        route6 = {{ {{ inet6.subnet("::1/128"), rule.proxy("socks5://six:1") }} }}
        route_default = {{ rule.proxy("socks5://default:1"), "wan" }}
    """
    assert decide(lua, "resolve", "www.a:80", tables) == decision


def test_names_pass_redirect_name_then_hosts_then_route_then_the_default(lua: Script) -> None:
    tables = """
        redirect_name = { { match.host("first"), rule.redirect("one:1") } }
        hosts = { first = "192.0.2.1", second = "192.0.2.1", third = "2001:db8::1", fourth = "198.51.100.1", Fifth = "x" }
        redirect = { { match.any(), rule.reject() } }
        route = { { inet.subnet("192.0.2.0/24"), rule.redirect("four:4") } }
        route6 = { { inet6.subnet("2001:db8::/32"), rule.redirect("six:6") } }
        route_default = { rule.proxy("socks5://p:1") }
    """
    for address, decision in {
        "first:80": '"one:1"',
        "second:80": '"four:4"',
        "SECOND:80": '"four:4"',
        "second.:80": '"four:4"',
        "third:80": '"six:6"',
        "fourth:80": '"198.51.100.1:80","socks5://p:1"',
        "Fifth:80": '"x:80","socks5://p:1"',
        "other:80": '"other:80","socks5://p:1"',
        # what an HTTP client writes as an address is one
        "192.0.2.7:80": '"four:4"',
        "[2001:db8::9]:80": '"six:6"',
        "[::9]:80": '"[::9]:80","socks5://p:1"',
        # what is no address at all
        ":0": '":0","socks5://p:1"',
        "junk": '"junk","socks5://p:1"',
    }.items():
        assert decide(lua, "resolve", address, tables) == decision, address


@pytest.mark.parametrize(
    ("kind", "text_table", "table", "net", "one", "two", "three"),
    [
        (
            "route",
            "redirect",
            "route",
            "inet.subnet('192.0.2.0/24')",
            "192.0.2.1:80",
            "192.0.2.2:80",
            "198.51.100.1:80",
        ),
        (
            "route6",
            "redirect6",
            "route6",
            "inet6.subnet('2001:db8::/32')",
            "[2001:db8::1]:80",
            "[2001:db8::2]:80",
            "[::1]:80",
        ),
    ],
)
def test_addresses_pass_redirect_as_text_then_route_as_integers(
    lua: Script, kind: str, text_table: str, table: str, net: str, one: str, two: str, three: str
) -> None:
    tables = f"""
        {text_table} = {{ {{ match.exact("{one}"), rule.redirect("text:1") }} }}
        {table} = {{ {{ {net}, rule.redirect("integer:2") }} }}
        route_default = {{ rule.redirect("default:3") }}
    """
    assert decide(lua, kind, one, tables) == '"text:1"'
    assert decide(lua, kind, two, tables) == '"integer:2"'
    assert decide(lua, kind, three, tables) == '"default:3"'


@pytest.mark.parametrize(
    "rule",
    [
        "{ match.any(), rule.redirect('b:1'), 'tag' }",
        "{ function() return rule.redirect('b:1'), 'tag' end }",
        "{ function() return rule.redirect('b:1') end, 'tag' }",
        "{ composite.subchain({ k = { { match.port(1), rule.reject() }, { match.any(), rule.redirect('b:1'), 'tag' } } }, 'k') }",
    ],
)
def test_the_forms_of_a_rule_and_its_tag_as_an_event(lua: Script, rule: str) -> None:
    tables = f"redirect_name = {{ {{ match.port(9), rule.reject() }}, {rule} }} recent_events = rlist:new(9)"
    assert decide(lua, "resolve", "a:80", tables) == '"b:1"'
    assert lua.values("return recent_events.len, recent_events:get(1).message") == '1,"tag: a:80"'


def test_a_function_rule_that_finds_nothing_is_passed_over(lua: Script) -> None:
    tables = "redirect_name = { { function() end }, { composite.subchain({}, 1) }, { match.any(), rule.reject() } }"
    assert decide(lua, "resolve", "a:80", tables) == "nil"


@pytest.mark.parametrize(
    ("default", "decision"),
    [
        ("{ rule.redirect('b:1'), 'tag' }", '"b:1"'),
        ("{ rule.redirect('b:1') }", '"b:1"'),
        ("rule.redirect('b:1')", '"b:1"'),
        ("{ match.any(), rule.redirect('b:1'), 'tag' }", '"b:1"'),
        ("{ match.port(9), rule.redirect('b:1'), 'tag' }", "nil"),
        ("{ { match.port(80), rule.redirect('b:1') } }", '"b:1"'),
        ("{ { match.port(81), rule.redirect('b:1') } }", "nil"),
        ("{ rule.default() }", "nil"),
    ],
)
def test_the_forms_of_route_default(lua: Script, default: str, decision: str) -> None:
    assert decide(lua, "resolve", "a:80", f"route_default = {default}") == decision


def test_rules_that_go_round_in_circles_end(lua: Script) -> None:
    tables = (
        "redirect_name = { { match.any(), rule.loopback('^', 'x') } } recent_events = rlist:new(9)"
    )
    assert decide(lua, "resolve", "a:80", tables) == "nil"
    message = lua.values("return recent_events:get(1).message")
    assert message == f'"rules go round in circles: {"x" * 17}a:80"'


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ("redirect_name = {\n{ match.any(),\nrule.reject(), 'tag' } }", 3),
        ("redirect_name = { { match.any(),\nfunction() end, 'tag' } }", 2),
        ("redirect_name = { { function() return\nrule.reject(), 'tag' end } }", 2),
        ("route_default = {\nrule.reject(), 'tag' }", 2),
        ("route_default = {\nlb.roundrobin({\nrule.reject() }), 'tag' }", 2),
        ("redirect_name = { { match.any(),\nrule.loopback('^', 'x') } }", 2),
    ],
)
def test_the_event_of_a_rule_names_the_line_of_its_action(
    lua: Script, tables: str, line: int
) -> None:
    decide(lua, "resolve", "a:80", tables)
    assert lua.values("return recent_events:get(1).source") == f'"(invoke):{line}"'


def test_an_event_whose_line_is_not_known_is_that_of_libruleset(lua: Script) -> None:
    decide(lua, "resolve", "a:80", "redirect_name = { { match.any(), tostring, 'tag' } }")
    assert lua.values("return recent_events:get(1).source") == '"libruleset"'


@pytest.mark.parametrize("rules", ["{ match.any() }", "{ match.any(), 'tag' }"])
def test_a_rule_without_an_action_is_named(lua: Script, rules: str) -> None:
    lua.run(f"_G.redirect_name = {{ {{ match.port(9), rule.reject() }}, {rules} }}")
    error = lua.error("R.decide.resolve('a:80')")
    assert error == "rule 2 of a table has a matcher and no action"
    lua.run("_G.redirect_name = nil")


@pytest.mark.parametrize("action", ["rewrite", "loopback"])
def test_case_does_not_matter_where_an_address_is_rewritten(lua: Script, action: str) -> None:
    tables = (
        f"redirect_name = {{ {{ match.domain('.old'), rule.{action}('%.old:', '.new:') }} }}"
        " route_default = { rule.direct() }"
    )
    assert decide(lua, "resolve", "WWW.Old:80", tables) == '"www.new:80"'
    assert decide(lua, "resolve", "WWW.Other:80", tables) == '"WWW.Other:80"'


def test_tables_may_be_lists_and_change_at_any_time(lua: Script) -> None:
    tables = (
        "route = list:new({ { inet.subnet(list:new({ '10.0.0.0/8' })), rule.redirect('b:1') } })"
    )
    assert decide(lua, "route", "10.0.0.1:80", tables) == '"b:1"'
    lua.run("route:insert(1, { inet.subnet('10.0.0.0/24'), rule.reject() })")
    assert lua.values("return R.decide.route('10.0.0.1:80')") == "nil"
    lua.run("_G.route = false")
    assert lua.values("return R.decide.route('10.0.0.1:80')") == '"10.0.0.1:80"'


def test_resolve_leaves_an_address_as_it_is(lua: Script) -> None:
    assert (
        decide(lua, "route", "192.0.2.1:80", "route_default = { rule.resolve() }")
        == '"192.0.2.1:80"'
    )
    assert decide(lua, "route6", "[::1]:80", "route_default = { rule.resolve() }") == '"[::1]:80"'


@pytest.mark.parametrize(
    "code",
    [
        "rule.redirect()",
        "rule.redirect('nocolon')",
        "rule.redirect('a:1', 7)",
        "rule.proxy({})",
        "rule.rewrite()",
        "rule.rewrite('(', '')",
        "rule.rewrite('a')",
        "rule.rewrite('a', 'b', false)",
        "rule.loopback('(', '')",
        "rule.loopback('a')",
        "rule.maybe(nil, 'k')",
        "R.failover('a:80')",
        "lb.roundrobin()",
        "lb.iwrr(7)",
        "lb.iwrr({}, 'x')",
    ],
)
def test_a_bad_argument_of_an_action_is_an_error_of_the_script(lua: Script, code: str) -> None:
    assert lua.error(f"\n{code}\n").startswith("(invoke):2: ")


# load balancing

ACTIONS = "local function act(n) return function(addr) return n end end local function run(f, n) local t = {} for i = 1, n do t[i] = tostring(f('a:1')) end return table.concat(t) end "


@pytest.mark.parametrize(
    ("balancer", "turns"),
    [
        ("lb.roundrobin({act('A'), act('B'), act('C')})", "ABCABCAB"),
        ("lb.roundrobin({act('A')})", "AAAAAAAA"),
        ("lb.iwrr({{3, act('A')}, {1, act('B')}})", "ABAAABAA"),
        ("lb.iwrr({{1, act('A')}, {3, act('B')}, {2, act('C')}})", "ABCBCBAB"),
        ("lb.iwrr({{2, act('A')}, {0, act('B')}, {-1, act('C')}})", "AAAAAAAA"),
        ("lb.iwrr({{0, act('A')}, {1, act('B')}})", "BBBBBBBB"),
        ("lb.iwrr({{1/0, act('A')}, {1, act('B')}})", "BBBBBBBB"),
        ("lb.iwrr({{0/0, act('A')}, {1, act('B')}})", "BBBBBBBB"),
        ("lb.iwrr({{-1/0, act('A')}, {1, act('B')}})", "BBBBBBBB"),
        ("lb.iwrr({{0.5, act('A')}, {0.5, act('B')}}, 2)", "ABABABAB"),
        ("lb.iwrr({{300, act('A')}, {100, act('B')}}, 4)", "ABAAABAA"),
    ],
)
def test_balancers_take_turns(lua: Script, balancer: str, turns: str) -> None:
    assert lua.values(ACTIONS + f"return run({balancer}, 8)") == f'"{turns}"'


def test_fractions_get_their_share(lua: Script) -> None:
    code = (
        ACTIONS
        + "local s = run(lb.iwrr({{0.7, act('A')}, {0.3, act('B')}}), 100) return select(2, s:gsub('A', ''))"
    )
    assert lua.values(code) == "70"


@pytest.mark.parametrize(
    "balancer", ["lb.roundrobin({})", "lb.iwrr({})", "lb.iwrr({{0, rule.direct()}})"]
)
def test_a_balancer_without_anybody_to_serve_rejects(lua: Script, balancer: str) -> None:
    assert lua.values(f"local f = {balancer} return f('a:1'), f('a:1')") == "nil,nil"


def test_weights_and_members_may_change_at_any_time(lua: Script) -> None:
    code = (
        ACTIONS
        + """
        local t = { { 1, act("A") }, { 1, act("B") } }
        local f = lb.iwrr(t)
        local before = run(f, 4)
        t[1][1] = 0
        local without = run(f, 4)
        t[1][1], t[3] = 1, { 2, act("C") }
        run(f, 4)
        local s = run(f, 40)
        local u = { act("A"), act("B") }
        local g = lb.roundrobin(u)
        local r = run(g, 2)
        u[2] = nil
        return before, without, select(2, s:gsub("C", "")), r .. run(g, 2)
    """
    )
    assert lua.values(code) == '"ABAB","BBBB",20,"ABAA"'


# who may ask, and counters


def ask(lua: Script, credentials: str, setup: str) -> str:
    return lua.values(
        f"{TABLES} R.authenticate = nil _G.ruleset = R {setup} return R.resolve('a:80', {credentials})"
    )


@pytest.mark.parametrize(
    ("secrets", "credentials", "allowed"),
    [
        ("nil", "nil, nil", True),
        ("nil", "'u', 'p'", True),
        ("{}", "nil, nil", False),
        ("{u = 'p'}", "'u', 'p'", True),
        ("{u = 'p'}", "'u', 'q'", False),
        ("{u = 'p'}", "'u', nil", False),
        ("{u = 'p'}", "'v', 'p'", False),
        ("{u = 'p'}", "nil, nil", False),
        ("{u = true}", "'u', nil", True),
        ("{u = true}", "'u', 'any'", True),
        ("{u = false}", "'u', 'p'", False),
        ("{[''] = true}", "'', nil", True),
    ],
)
def test_secrets(lua: Script, secrets: str, credentials: str, allowed: bool) -> None:
    assert ask(lua, credentials, f"_G.secrets = {secrets}") == ('"a:80"' if allowed else "nil")


@pytest.mark.parametrize("place", ["R", "_G.ruleset"])
def test_authenticate_comes_before_secrets(lua: Script, place: str) -> None:
    setup = f"""
        _G.secrets = {{}}
        if '{place}' ~= 'R' then _G.ruleset = {{}} end
        {place}.authenticate = function(addr, user, pass) return addr == 'a:80' and user == 'u' and pass == 'p' end
    """
    assert ask(lua, "'u', 'p'", setup) == '"a:80"'
    assert ask(lua, "'u', 'q'", setup) == "nil"


def test_decide_asks_nobody_and_counts_nothing(lua: Script) -> None:
    lua.run("_G.secrets = {}")
    code = "local n = num_requests return R.decide.resolve('a:1'), R.decide.route('192.0.2.1:1'), R.decide.route6('[::1]:1'), num_requests - n"
    assert lua.values(code) == '"a:1","192.0.2.1:1","[::1]:1",0'
    lua.run("_G.secrets = nil")


def test_requests_are_counted(lua: Script) -> None:
    code = """
        _G.num_requests, _G.num_authorized, _G.ruleset = 0, 0, R
        _G.secrets = { u = "p" }
        R.resolve("a:1") R.route("192.0.2.1:1", "u", "p") R.route6("[::1]:1", "u", "p")
        _G.secrets = nil
        return num_requests, num_authorized
    """
    assert lua.values(code) == "3,2"


def test_tick_keeps_the_requests_of_each_minute(lua: Script) -> None:
    code = """
        R.tick(0)
        for _ = 1, 3 do R.resolve("a:1") end
        R.tick(60)
        R.tick(120)
        return stat_requests:get(1), stat_requests:get(2), stat_requests.cap
    """
    assert lua.values(code) == "0,3,60"


def test_a_minute_is_a_minute_however_often_it_ticks(lua: Script) -> None:
    code = """
        R.tick(0)
        local pushed = stat_requests:get(1)
        for now = 10, 120, 10 do
            R.resolve("a:1")
            R.tick(now)
        end
        return stat_requests:get(1), stat_requests:get(2), stat_requests:get(3) == pushed
    """
    assert lua.values(code) == "6,6,true"


def test_stats_is_a_text(lua: Script) -> None:
    lua.run(
        "_G.recent_events = rlist:new(9) for i = 1, 3 do evlogf('event %d', i) end evlogf('other')"
    )
    everything = lua.values("return R.stats(1.5, '')")
    for part in ("Ruleset Requests", "authorized", "Requests a Minute", "event 1", "other"):
        assert part in everything
    assert (
        lua.values("local s = R.stats(1, '1') return s:find('other') ~= nil, s:find('event')")
        == "true,nil"
    )
    assert (
        lua.values(
            "local s = R.stats(1, 'event 2') return s:find('event 2') ~= nil, s:find('other')"
        )
        == "true,nil"
    )
    assert lua.values("return type(R.stats(1)), type(R.stats(1, '0'))") == '"string","string"'


def test_rpc_and_msgh_have_their_samples(lua: Script) -> None:
    assert lua.values("return rpc.echo(1, nil, 'x')") == '1,nil,"x"'
    assert lua.values("return select('#', msgh.nop(1))") == "0"


KEPT = """
    _G.secrets, _G.num_requests, _G.num_authorized = { u = true }, 70, 60
    rpc.mine, msgh.mine = print, print
    evlogf("kept")
    stat_requests:push(42)
"""


def test_a_reload_of_the_module_keeps_what_was_gathered() -> None:
    lua = Script()
    lua.run("_G.libruleset = require('libruleset')" + KEPT)
    source = read_source("libruleset")
    assert source is not None
    lua.engine.replace_module(source, b"@libruleset.lua", b"libruleset")
    code = """
        return require("libruleset") == libruleset, secrets.u, num_requests, num_authorized, rpc.mine == print,
            msgh.mine == print, recent_events:get(1).message, stat_requests:get(1), rpc.echo(7), type(libruleset.resolve)
    """
    assert lua.values(code) == 'true,true,70,60,true,true,"kept",42,7,"function"'


def test_a_reload_of_the_module_keeps_the_requests_of_the_minute_that_has_begun() -> None:
    lua = Script()
    lua.run("_G.libruleset = require('libruleset') libruleset.tick(0) libruleset.resolve('a:1')")
    source = read_source("libruleset")
    assert source is not None
    lua.engine.replace_module(source, b"@libruleset.lua", b"libruleset")
    code = "libruleset.resolve('a:1') libruleset.tick(60) return stat_requests:get(1)"
    assert lua.values(code) == "2"


def test_the_modules_table_has_what_it_should(lua: Script) -> None:
    code = """
        local t = {}
        for k, v in pairs(R) do t[#t + 1] = k .. "=" .. type(v) end
        table.sort(t)
        return table.concat(t, " "), type(R.decide.resolve), type(R.decide.route), type(R.decide.route6)
    """
    expected = "decide=table failover=function resolve=function route6=function route=function stats=function tick=function"
    assert (
        lua.values("R.authenticate = nil " + code)
        == f'"{expected}","function","function","function"'
    )


def test_a_file_of_the_same_name_beside_the_ruleset_wins(tmp_path: pathlib.Path) -> None:
    (tmp_path / "libruleset.lua").write_text("return { mine = ... }")
    (tmp_path / "ruleset.lua").write_text("return require('libruleset')")
    lua = Script()
    lua.engine.load_file(tmp_path / "ruleset.lua")
    assert lua.values("return ruleset.mine") == '"libruleset"'
