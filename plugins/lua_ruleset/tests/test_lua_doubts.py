"""What looks wrong about a ruleset is told when it is loaded, and changes nothing."""

import logging

import pytest

from neosocksd_lua_ruleset.testing import MakeEngine

DOUBTS: dict[str, str | list[str]] = {
    "redirect_name = { { match.any(), rule.reject } }": (
        "redirect_name, rule 1 (t:1): the action is rule.reject itself, which is to be called: rule.reject(...)"
    ),
    "route = { { match.any, rule.reject() } }": (
        "route, rule 1 (t:1): the matcher is match.any itself, which is to be called: match.any(...)"
    ),
    "route = { { inet.subnet('10.0.0.0/8'), rule.reject() }, { 'a.b', rule.reject() } }": (
        "route, rule 2 (t:1): the matcher is a string, expected what match.exact(...) or the like gives"
    ),
    "route6 = { { match.any(), {} } }": (
        "route6, rule 1 (t:1): the action is a table, expected what rule.direct() or the like gives"
    ),
    "redirect = { { match.any(), rule.direct(), 5 } }": (
        "redirect, rule 1 (t:1): the tag is a number, expected a string"
    ),
    "redirect6 = { match.any(), }": (
        "redirect6, rule 1: it is a function, expected { matcher, action, tag }"
    ),
    "route = 'direct'": "route is a string, expected a table of rules",
    "route_default = rule.direct": (
        "route_default: the action is rule.direct itself, which is to be called: rule.direct(...)"
    ),
    "route_default = { { match.any, rule.direct() } }": (
        "route_default, rule 1 (t:1): the matcher is match.any itself, which is to be called: match.any(...)"
    ),
    "route_default = { 'socks5://a:1' }": (
        "route_default: the action is a string, expected what rule.direct() or the like gives"
    ),
    "redirct_name = {}": "redirct_name is no table of rules; is redirect_name meant?",
    "route = {\n{ match.host('10.0.0.1'), rule.direct() } }": (
        "route, rule 1 (t:2): the matcher wants the address as text and is given an IPv4 address as an integer"
    ),
    "redirect_name = { { inet.subnet('10.0.0.0/8'), rule.direct() } }": (
        "redirect_name, rule 1 (t:1): the matcher wants an IPv4 address as an integer and is given the address as text"
    ),
    "route6 = { { inet.subnet('10.0.0.0/8'), rule.direct() } }": (
        "route6, rule 1 (t:1): the matcher wants an IPv4 address as an integer and is given an IPv6 address as two integers"
    ),
    "route = { { inet6.subnet('fd00::/8'), rule.direct() } }": (
        "route, rule 1 (t:1): the matcher wants an IPv6 address as two integers and is given an IPv4 address as an integer"
    ),
    "route_default = { { inet.subnet('10.0.0.0/8'), rule.direct() } }": (
        "route_default, rule 1 (t:1): the matcher wants an IPv4 address as an integer and is given the address as text"
    ),
    "redirect = { { match.exact({ 'a.b:80', 'a.c' }), rule.direct() } }": (
        "redirect, rule 1 (t:1): the matcher has a.c, which has no port: match.host is for a host with any port"
    ),
    "redirect = { { match.host('a.b:80'), rule.direct() } }": (
        "redirect, rule 1 (t:1): the matcher has a.b:80, which ends in a port: match.exact and match.port are for ports"
    ),
    "redirect_name = { { match.domain('*.a.b'), rule.direct() } }": (
        "redirect_name, rule 1 (t:1): the matcher has *.a.b, and * is no wildcard:"
        " .a.b in match.domain is a.b and every name below it"
    ),
    "redirect_name = { { rule.direct(), match.port(1) } }": [
        "redirect_name, rule 1 (t:1): an action stands where the matcher should: { matcher, action, tag }",
        "redirect_name, rule 1 (t:1): a matcher stands where the action should: { matcher, action, tag }",
    ],
    "redirect_name = { { match.port(1) } }": (
        "redirect_name, rule 1 (t:1): it has a matcher and no action: { matcher, action, tag }"
    ),
    "redirect_name = { { match.port(1), 'socks5://a:1' } }": (
        "redirect_name, rule 1 (t:1): it has a matcher and no action: { matcher, action, tag }"
    ),
    "redirect_name = { { rule.direct() } }": (
        "redirect_name, rule 1 (t:1): it has an action and no matcher: { matcher, action, tag }"
    ),
    "redirect_name = { {} }": (
        "redirect_name, rule 1: the matcher is missing, expected what match.exact(...) or the like gives"
    ),
    "redirect_name = { { match.port(1), rule.direct(), tag = 'x' } }": (
        "redirect_name, rule 1 (t:1): it has a field tag, which nothing reads: { matcher, action, tag }"
    ),
    "redirect_name = { { match.port(1), rule.direct(), 'tag', 'x' } }": (
        "redirect_name, rule 1 (t:1): it has a field [4], which nothing reads: { matcher, action, tag }"
    ),
    "redirect_name = { { match.any(), rule.direct() }, { match.port(1), rule.reject() } }": (
        "redirect_name, rule 1 (t:1): it matches everything, so those after it are never tried"
    ),
    "redirect_name = { nil, { match.port(1), rule.reject() } }": (
        "redirect_name, rule 1: it is nil, and those after it are never tried"
    ),
    "redirect_name = { rules = {} }": "redirect_name has a field rules, expected a list of rules",
    "route = { { composite.anyof({ inet.subnet('10.0.0.0/8'), match.port(1) }), rule.direct() } }": (
        "route, rule 1 (t:1): in its part 2, the matcher wants the address as text"
        " and is given an IPv4 address as an integer"
    ),
    "redirect = { { composite.allof({ composite.inverse(match.any) }), rule.direct() } }": (
        "redirect, rule 1 (t:1): in its part 1, in its part 1,"
        " the matcher is match.any itself, which is to be called: match.any(...)"
    ),
    "route_default = { lb.roundrobin({ 'socks5://a:1' }) }": (
        "route_default (t:1): in its turn 1, the action is a string, expected what rule.direct() or the like gives"
    ),
    "route_default = lb.iwrr({ { rule.direct(), 3 } })": (
        "route_default: in its turn 1, it is no { weight, action }"
    ),
    "route_default = { lb.iwrr({ 3, rule.direct() }) }": [
        "route_default (t:1): in its turn 1, it is no { weight, action }",
        "route_default (t:1): in its turn 2, it is no { weight, action }",
    ],
    "route_default = { lb.iwrr({ { 1, rule.direct } }), 'tag' }": (
        "route_default (t:1): in its turn 1, the action is rule.direct itself, which is to be called: rule.direct(...)"
    ),
    "route_default = { rule.direct(), tag = 'x' }": (
        "route_default (t:1): it has a field tag, which nothing reads: { action, tag }"
    ),
    "hosts = { 'nas' }": "hosts: a name is a number, expected { name = address }",
    "hosts = { ['NAS.home'] = '192.0.2.1' }": (
        "hosts: NAS.home is not in lower case, as names are when they are looked for"
    ),
    "hosts = { nas = 5 }": "hosts: the address of nas is a number, expected a string",
    "hosts = { nas = '192.0.2.1:80' }": (
        "hosts: the address of nas ends in a port; that of the request is kept"
    ),
    "hosts = 'nas'": "hosts is a string, expected a table",
    "secrets = { 'alice' }": "secrets: a user is a number, expected { user = password }",
    "secrets = { alice = 5 }": (
        "secrets: the password of alice is a number, expected a string, or true for any"
    ),
    "function r.reslove() end": "ruleset.reslove is no callback; is ruleset.resolve meant?",
}

GOOD = [
    "redirect_name = { { match.port(1), rule.reject() }, { match.any(), rule.direct(), 'tag' } }",
    "redirect_name = { { composite.subchain({}, 1) }, { composite.subchain({}, 1), 'tag' } }",
    "redirect_name = { { composite.maybe({}, 1), rule.maybe({}, 1) } }",
    "redirect_name = { { match.host({ '::1', '[::1]', 'a.b.', '192.0.2.1' }), rule.direct() } }",
    "redirect6 = { { match.exact({ '[::1]:80', 'a.b:1' }), rule.direct() } }",
    "route = { { match.any(), rule.direct() } } route6 = { { match.any(), rule.direct() } }",
    "route = { { composite.allof({ inet.subnet('10.0.0.0/8'), print, match.any() }), rule.direct() } }",
    "route6 = { { inet6.subnet('fd00::/8'), lb.iwrr({ { 1, rule.direct() }, { 0, print } }) } }",
    "local t = {} t[1] = composite.anyof(t) redirect = { { t[1], rule.direct() } }",
    "local t = {} t[1] = lb.roundrobin(t) redirect = { { match.any(), t[1] } }",
    "hosts = { ['a.b'] = '::1', c = 'd.e' } secrets = { a = 'b', c = true, d = false }",
    "function r.resolve() end function r.helper() end",
    "redirect_name = { { function() return rule.direct(), 'tag' end } }",
    "redirect_name = { { function() return rule.direct() end, 'tag' } }",
    "route = { { setmetatable({}, { __call = function() end }), rule.proxy('socks5://a:1') } }",
    "route = setmetatable({}, { __index = function() error('asked') end })",
    "route_default = { rule.proxy('socks5://a:1') }",
    "route_default = { rule.direct(), 'tag' }",
    "route_default = { match.any(), rule.direct() }",
    "route_default = { { match.any(), rule.direct() } }",
    "route_default = function(addr) return addr end",
    "redirect_name, routers, hosts = {}, {}, { ['a'] = '192.0.2.1' }",
]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("code", DOUBTS)
def test_a_rule_that_cannot_work_is_told(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    engine().load(f"local r = require('libruleset') {code} return r".encode(), b"=t")
    expected = DOUBTS[code]
    doubts = [expected] if isinstance(expected, str) else expected
    assert told(caplog) == [f"ruleset: {doubt}" for doubt in doubts]


@pytest.mark.parametrize("code", GOOD)
def test_rules_of_all_forms_raise_no_doubt(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    engine().load(f"local r = require('libruleset') {code} return r".encode(), b"=t")
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("reslove", "resolve"),
        ("resolv", "resolve"),
        ("tcik", "tick"),
        ("healhty", "healthy"),
        ("status", "stats"),
    ],
)
def test_a_misspelt_callback_is_told(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture, name: str, meant: str
) -> None:
    engine().load(f"return {{ {name} = print }}".encode(), b"=t")
    assert told(caplog) == [f"ruleset: ruleset.{name} is no callback; is ruleset.{meant} meant?"]


@pytest.mark.parametrize(
    "fields",
    [
        "helper = print",
        "stats = print, status = print",
        "route = print, route6 = print, route4 = print",
        "tock = 5",
    ],
)
def test_a_name_of_its_own_is_no_misspelt_callback(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture, fields: str
) -> None:
    engine().load(f"return {{ {fields} }}".encode(), b"=t")
    assert told(caplog) == []


def test_rules_without_libruleset_are_the_scripts_own(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine().load(b"route = { 'whatever' } return {}", b"=t")
    assert told(caplog) == []


def test_ten_doubts_are_told_at_most(engine: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    code = b"local r = require('libruleset') route = {} for i = 1, 99 do route[i] = i end return r"
    engine().load(code, b"=t")
    assert len(told(caplog)) == 10
