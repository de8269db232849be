"""What looks wrong about a ruleset is told when it is loaded, and changes nothing."""

import logging

import pytest

from neosocksd_lua_ruleset.testing import MakeEngine

DOUBTS = {
    "redirect_name = { { match.any(), rule.reject } }": (
        "redirect_name, rule 1: the action is rule.reject itself, which is to be called: rule.reject(...)"
    ),
    "route = { { match.any, rule.reject() } }": (
        "route, rule 1: the matcher is match.any itself, which is to be called: match.any(...)"
    ),
    "route = { { inet.subnet('10.0.0.0/8'), rule.reject() }, { 'a.b', rule.reject() } }": (
        "route, rule 2: the matcher is a string, expected what match.exact(...) or the like gives"
    ),
    "route6 = { { match.any(), {} } }": (
        "route6, rule 1: the action is a table, expected what rule.direct() or the like gives"
    ),
    "redirect = { { match.any(), rule.direct(), 5 } }": (
        "redirect, rule 1: the tag is a number, expected a string"
    ),
    "redirect6 = { match.any(), }": (
        "redirect6, rule 1: it is a function, expected { matcher, action, tag }"
    ),
    "route = 'direct'": "route is a string, expected a table of rules",
    "route_default = rule.direct": (
        "route_default: the action is rule.direct itself, which is to be called: rule.direct(...)"
    ),
    "route_default = { { match.any, rule.direct() } }": (
        "route_default, rule 1: the matcher is match.any itself, which is to be called: match.any(...)"
    ),
    "route_default = { 'socks5://a:1' }": (
        "route_default: the action is a string, expected what rule.direct() or the like gives"
    ),
    "redirct_name = {}": "redirct_name is no table of rules; is redirect_name meant?",
}

GOOD = [
    "redirect_name = { { match.any(), rule.reject() }, { match.any(), rule.direct(), 'tag' } }",
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
    assert told(caplog) == [f"ruleset: {DOUBTS[code]}"]


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
