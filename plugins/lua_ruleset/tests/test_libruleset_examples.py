"""The examples and the chapter on rulesets: each runs as it stands, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neosocksd_core.testing.peers import closed_address
from neosocksd_lua_ruleset.testing import Rule
from neosocksd_lua_ruleset.trial import LUA_VERSIONS, LuaVersion, Script

FOLDER = Path(__file__).parents[1]
EXAMPLES = sorted(
    path for path in (FOLDER / "examples").glob("*.lua") if path.stem not in ("neosocksd", "config")
)
CHAPTER = (FOLDER / "docs" / "rulesets.md").read_text()
BLOCKS = re.findall(r"^```lua\n(.*?)^```$", CHAPTER, re.MULTILINE | re.DOTALL)


def load(name: str, version: LuaVersion = "5.4") -> Script:
    script = Script(version)
    script.engine.load_file(FOLDER / "examples" / f"{name}.lua")
    return script


def decide(script: Script, kind: str, address: str) -> str:
    return script.values(f"return ruleset.decide.{kind}('{address}')")


@pytest.mark.parametrize("version", LUA_VERSIONS)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path, version: LuaVersion) -> None:
    assert load(path.stem, version).values("return type(ruleset.resolve)") == '"function"'


@pytest.mark.parametrize("version", LUA_VERSIONS)
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_chapter_loads(number: int, version: LuaVersion) -> None:
    script = Script(version)
    script.engine.load(BLOCKS[number].encode(), b"=chapter")
    assert script.values("return type(ruleset.resolve)") == '"function"'


def test_the_python_block_of_the_chapter_runs() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", CHAPTER, re.MULTILINE | re.DOTALL)
    exec(compile(block, "rulesets.md", "exec"), {})


def test_simple() -> None:
    script = load("simple")
    for kind, address, decision in (
        ("resolve", "www.example.com:80", '"www.example.com:80"'),
        ("resolve", "x.ads.example:80", "nil"),
        ("resolve", "tracker.example:80", "nil"),
        ("resolve", "mail.example.net:25", "nil"),
        ("route", "10.1.2.3:80", '"10.1.2.3:80"'),
        ("route6", "[fd00::1]:80", '"[fd00::1]:80"'),
        ("resolve", "other:80", '"other:80"'),
    ):
        assert decide(script, kind, address) == decision, address


def test_full() -> None:
    script = load("full")
    home, office = "socks5://192.0.2.10:1080", "http://192.0.2.20:8080"
    for kind, address, decision in (
        ("resolve", "x.ads.example:80", "nil"),
        ("resolve", "api.neosocksd.internal:80", '"127.0.0.1:9080"'),
        ("resolve", "www.example.com:80", '"www.example.com:8080"'),
        ("resolve", "www.wiki.office:80", f'"wiki.office.example:80","{office}","{home}"'),
        ("resolve", "mirror2.old.example:80", '"mirror2.new.example:80"'),
        ("resolve", "www.old.example:80", f'"www.new.example:80","{home}"'),
        ("resolve", "printer.home.arpa:631", '"192.168.1.9:631"'),
        ("resolve", "nas.home.arpa:80", '"[fd00::9]:80"'),
        ("route", "203.0.113.53:53", '"192.168.1.1:53"'),
        ("route", "198.51.100.1:80", f'"198.51.100.1:80","{office}"'),
        ("route6", "[2001:db8::1]:80", f'"[2001:db8::1]:80","{home}"'),
        ("resolve", "other:80", f'"other:80","{home}"'),
    ):
        assert decide(script, kind, address) == decision, address


@pytest.mark.parametrize(
    ("day", "hour", "allowed"),
    [(4, 12, False), (4, 7, True), (4, 18, True), (1, 12, True), (7, 12, True)],
)
def test_full_has_a_schedule(day: int, hour: int, allowed: bool) -> None:
    script = load("full")
    script.run(f"os.date = function() return {{ wday = {day}, hour = {hour} }} end")
    assert (decide(script, "resolve", "www.video.example:80") != "nil") is allowed


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("'a:80', 'alice', 'wonderland'", True),
        ("'a:80', 'alice', 'x'", False),
        ("'a:80', 'guest', 'x'", True),
        ("'a:22', 'guest', 'x'", False),
        ("'a:22', 'bob', 'builder'", True),
        ("'a:80'", False),
    ],
)
def test_full_knows_its_users(arguments: str, allowed: bool) -> None:
    answer = load("full").values(f"return (ruleset.resolve({arguments}))")
    assert (answer != "nil") is allowed


def test_the_balancer_takes_turns_and_weights_change() -> None:
    script = load("balancer")
    turns = "local t = {} for i = 1, 4 do t[i] = select(2, ruleset.decide.resolve('a:80')):match('%.(%d+):') end return table.concat(t, ' ')"
    assert script.values(turns) == '"10 20 10 10"'
    script.run("weights.fast[1] = 0")
    assert script.values(turns) == '"20 20 20 20"'
    assert decide(script, "resolve", "x.lan:80") == '"x.lan:80"'


@pytest.mark.usefixtures("backend")
def test_failover_goes_on_to_the_way_that_works(rule: Rule, echo: Any) -> None:
    text = (FOLDER / "examples" / "failover.lua").read_text()
    with closed_address() as (host, port):
        ways = f'{{ {{ "socks5://{host}:{port}" }}, {{}} }}'
        server = rule(
            re.sub(r"^ways = \{.*?^\}", "ways = " + ways, text, flags=re.MULTILINE | re.DOTALL)
        )
        for _ in range(2):
            assert server.reply("127.0.0.1", echo.port) == 0
    assert server.call("return ways[1][1] ~= nil, num_requests") == "true,2"


def test_the_far_end_hands_out_its_list() -> None:
    script = load("egress")
    assert (
        script.values("return rpc.blocked_names(nil)") == '1,{".ads.example",".tracker.example",}'
    )
    assert script.values("return rpc.blocked_names(1)") == "1"
    script.run("block('.more.example')")
    assert (
        script.values("return rpc.blocked_names(1)")
        == '2,{".ads.example",".tracker.example",".more.example",}'
    )
    assert decide(script, "resolve", "api.neosocksd.internal:80") == '"127.0.0.1:9081"'
    assert decide(script, "resolve", "other.internal:80") == "nil"


@pytest.mark.usefixtures("backend")
def test_the_near_end_fetches_the_list_of_the_far_end(rule: Rule) -> None:
    pytest.importorskip("neosocksd_rest_api")
    near, far = (
        (FOLDER / "examples" / f"{name}.lua").read_text() for name in ("ingress", "egress")
    )
    egress = rule(far, plugins=("rest_api",), restapi="127.0.0.1:0")
    (host, port, *_), (_, api, *_) = egress.running.addresses
    egress.run(f"_G.redirect_name[1][2] = rule.redirect('127.0.0.1:{api}')")
    ingress = rule(near.replace("socks5://127.0.0.1:1081", f"socks5://{host}:{port}"))
    wait = "for _ = 1, 500 do if lists.blocked then break end await.sleep(0.01) end return lists.blocked ~= nil"
    assert ingress.call(wait) == "true"
    decided = "return require('libruleset').decide.resolve"
    assert ingress.call(f"{decided}('x.ads.example:80')") == "nil"
    assert ingress.call(f"{decided}('ok.example:80')") == (
        f'"ok.example:80","socks5://{host}:{port}"'
    )
    ingress.run("ruleset.tick(0)")
    told = "for _ = 1, 500 do for _, e in recent_events:iter() do if e.message:find('refused') then return e.message end end await.sleep(0.01) end"
    assert egress.call(told) == '"refused at the near end: x.ads.example, 1 times"'


def test_the_configuration_is_read() -> None:
    script = Script()
    fields = script.engine.read_config(FOLDER / "examples" / "config.lua")
    assert fields == {
        "listen": "127.0.0.1:1080",
        "http_listen": "127.0.0.1:8080",
        "timeout": 30,
        "max_sessions": 4096,
        "loglevel": 5,
        "block_loopback": True,
    }
    assert decide(script, "resolve", "x.ads.example:80") == "nil"


def test_the_benchmark_of_big_lists_runs() -> None:
    path = FOLDER / "benchmarks" / "big_lists.py"
    done = subprocess.run(
        [sys.executable, str(path), "3000"], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    for name in ("domains", "ipv4", "ipv6"):
        assert re.search(rf"^{name} +load .* s, look-up .* µs, memory", done.stdout, re.MULTILINE)
