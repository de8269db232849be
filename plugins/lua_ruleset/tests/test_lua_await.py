"""await.* and routines: what is waited for, and that nothing is left of what was abandoned."""

import os
from pathlib import Path
from socket import AddressFamily

import anyio
import pytest

from neosocksd_core import Resolution, Resolver, hookimpl
from neosocksd_core.testing.peers import BlackHole, EchoServer
from neosocksd_lua_ruleset.testing import Rule, Ruled, eventually

pytestmark = pytest.mark.usefixtures("backend")

HANDLER = "local r = {{}} function r.resolve(addr) {0} end return r"


def measure(server: Ruled) -> dict[str, str]:
    """What /ruleset/gc reports."""
    text = server.post("/ruleset/gc").body.decode()
    return {
        line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()
    }


def assert_nothing_waits(server: Ruled) -> None:
    found = measure(server)
    assert found["Ruleset Threads"].startswith("0 "), found
    assert found["Ruleset Events"] == "0", found


class SilentNames:
    """A plugin whose lookups never end."""

    def __init__(self) -> None:
        self.asked = self.given_up = 0

    @hookimpl
    def create_resolver(self) -> Resolver:
        return self

    async def resolve(self, host: str, family: AddressFamily) -> Resolution:
        self.asked += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.given_up += 1
        raise AssertionError


class NotedFamilies:
    """A plugin that knows every name, and notes which family is asked for."""

    def __init__(self) -> None:
        self.families: list[AddressFamily] = []

    @hookimpl
    def create_resolver(self) -> Resolver:
        return self

    async def resolve(self, host: str, family: AddressFamily) -> Resolution:
        self.families.append(family)
        return Resolution(("192.0.2.1", "192.0.2.2"))


# sleep, idle


@pytest.mark.parametrize("seconds", ["0", "0.01", "'0.01'"])
def test_sleep_pauses_for_at_least_the_interval(rule: Rule, seconds: str) -> None:
    server = rule()
    code = f"local t = time.monotonic() await.sleep({seconds}) return time.monotonic() - t >= {seconds.strip(chr(39))}"
    assert server.call(code) == "true"
    assert_nothing_waits(server)


def test_sleep_gives_nothing(rule: Rule) -> None:
    assert rule().call("return select('#', await.sleep(0)), select('#', await.idle())") == "0,0"


def test_thousands_of_routines_sleep_at_once(rule: Rule) -> None:
    server = rule()
    code = """
        local left = 3000
        for i = 1, left do
            neosocksd.async(function() left = left - 1 end, await.sleep, 0.01 + i % 7 / 1000)
        end
        while left > 0 do await.sleep(0.005) end
        return left"""
    assert server.call(code) == "0"
    assert_nothing_waits(server)


# resolve


def test_resolve_takes_a_bare_host_and_gives_a_bare_address(rule: Rule) -> None:
    server = rule(resolve_pf=2)
    assert server.call('return await.resolve("localhost")') == '"127.0.0.1"'
    assert_nothing_waits(server)


@pytest.mark.parametrize(
    ("setting", "family"),
    [(0, AddressFamily.AF_UNSPEC), (2, AddressFamily.AF_INET), (10, AddressFamily.AF_INET6)],
)
def test_resolve_asks_for_the_family_of_the_setting_and_gives_the_first_address(
    rule: Rule, setting: int, family: AddressFamily
) -> None:
    names = NotedFamilies()
    server = rule(plugins=(names,), resolve_pf=setting)
    assert server.call('return await.resolve("a.test")') == '"192.0.2.1"'
    assert names.families == [family]


def test_the_blocking_resolve_asks_the_system_whoever_looks_names_up_otherwise(rule: Rule) -> None:
    server = rule(plugins=(NotedFamilies(),), resolve_pf=2)
    code = "return await.resolve('localhost'), neosocksd.resolve('localhost')"
    assert server.call(code) == '"192.0.2.1","127.0.0.1"'


def test_resolve_does_not_hold_up_the_others(rule: Rule, echo: EchoServer) -> None:
    names = SilentNames()
    server = rule("return { route = function(a) return a end }", plugins=(names,))
    server.run("neosocksd.async(type, await.resolve, 'slow.test')")
    eventually(lambda: names.asked == 1)
    assert server.reply("127.0.0.1", echo.port) == 0
    assert names.given_up == 0


@pytest.mark.parametrize("literal", ["192.0.2.1", "::1"])
def test_resolve_of_an_address_gives_it(rule: Rule, literal: str) -> None:
    assert rule().call(f'return await.resolve("{literal}")') == f'"{literal}"'


@pytest.mark.parametrize(
    "name", ["no such host", "x.invalid", "", "\\255", "[::1]", "localhost:80"]
)
def test_resolve_gives_nil_on_failure(rule: Rule, name: str) -> None:
    assert rule().call(f'return (await.resolve("{name}"))') == "nil"


# execute


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", 'true,"exit",0'),
        ("exit 3", 'nil,"exit",3'),
        ("kill -9 $$", 'nil,"signal",9'),
        ("no-such-command 2>/dev/null", 'nil,"exit",127'),
        ("a\\0b", 'nil,"exit",127'),
    ],
)
def test_execute_gives_what_os_execute_does(rule: Rule, command: str, expected: str) -> None:
    server = rule()
    assert server.call(f'return await.execute("{command}")') == expected
    assert_nothing_waits(server)


def test_execute_does_not_hold_up_the_others(rule: Rule, tmp_path: Path) -> None:
    server = rule()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    server.run(
        f'neosocksd.async(function(...) _G.done = select("#", ...) end, await.execute, "read x < {fifo}")'
    )
    assert server.call("await.idle() return done") == "nil"
    fifo.write_bytes(b"\n")
    assert server.call("while not done do await.sleep(0.001) end return done") == "4"


def test_the_child_of_an_abandoned_routine_is_killed_with_all_that_it_started(
    rule: Rule, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    server = rule(
        HANDLER.format(
            f'await.execute("sleep 1000 & echo $! > {pid}.new; mv {pid}.new {pid}; wait")'
        )
    )
    client = server.connect("x.test", 1)
    eventually(pid.exists)
    child = int(pid.read_text())
    client.reset()

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    eventually(is_gone)
    eventually(lambda: measure(server)["Ruleset Events"] == "0")
    assert_nothing_waits(server)


# abandoned routines


@pytest.mark.parametrize(
    "wait",
    [
        "await.sleep(1000)",
        "coroutine.yield()",
        "await.invoke('', '127.0.0.1:%d')",
        "await.forward('127.0.0.1:%d', 'socks5://127.0.0.1:%d')",
    ],
)
def test_a_client_that_leaves_ends_its_routine(rule: Rule, wait: str) -> None:
    with BlackHole() as hole:
        wait = wait.replace("%d", str(hole.address[1]))
        server = rule(HANDLER.format(f"_G.begun = true {wait} _G.went_on = true"))
        client = server.connect("x.test", 1)
        server.call("while not begun do await.idle() end")
        assert measure(server)["Ruleset Threads"].startswith("1 ")
        client.reset()
        server.running.wait_idle()
        eventually(lambda: measure(server)["Ruleset Events"] == "0")
        assert_nothing_waits(server)
        assert server.call("return went_on") == "nil"


def test_a_client_that_ends_its_side_with_nothing_said_ends_its_routine(rule: Rule) -> None:
    server = rule(HANDLER.format("_G.begun = true await.sleep(1000) _G.went_on = true"))
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    client.finish()
    server.running.wait_idle()
    assert_nothing_waits(server)
    assert server.call("return went_on") == "nil"
    client.close()


def test_a_client_that_has_said_something_may_end_its_side_while_its_routine_waits(
    rule: Rule, echo: EchoServer
) -> None:
    server = rule(HANDLER.format(f'await.sleep(0.02) return "127.0.0.1:{echo.port}"'))
    client = server.connect("x.test", 1)
    client.send(b"early")
    client.finish()
    assert client.receive(10)[1] == 0
    client.expect(b"early")
    client.close()


def test_a_lookup_goes_with_its_routine(rule: Rule) -> None:
    names = SilentNames()
    server = rule(HANDLER.format("await.resolve('slow.test') _G.went_on = true"), plugins=(names,))
    client = server.connect("x.test", 1)
    eventually(lambda: names.asked == 1)
    client.reset()
    eventually(lambda: names.given_up == 1)
    server.running.wait_idle()
    assert_nothing_waits(server)
    assert server.call("return went_on") == "nil"


@pytest.mark.parametrize(
    "wait",
    [
        "await.sleep(1000)",
        "coroutine.yield()",
        "require('libruleset') async(coroutine.yield):get()",
        "require('libruleset') await.callback(function() end)",
    ],
)
def test_the_time_limit_of_a_session_ends_its_routine(rule: Rule, wait: str) -> None:
    server = rule(HANDLER.format(wait))
    server.running.shorten_timeout(0.05)
    client = server.connect("x.test", 1)
    assert client.receive(2)[1] == 6
    client.close()
    assert_nothing_waits(server)
    assert server.running.statistics().num_reject_timeout == 1


def test_to_be_closed_variables_of_an_abandoned_routine_are_closed(rule: Rule) -> None:
    server = rule(
        HANDLER.format("""
        local guard <close> = setmetatable({}, { __close = function() _G.closed = true end })
        _G.begun = true
        await.sleep(1000)""")
    )
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    client.reset()
    assert server.call("while not closed do await.sleep(0.001) end return closed") == "true"


@pytest.mark.logs_error("error while a routine was closed")
def test_a_close_that_raises_is_logged(rule: Rule) -> None:
    server = rule(
        HANDLER.format("""
        local guard <close> = setmetatable({}, { __close = function() error("boom") end })
        _G.begun = true
        await.sleep(1000)""")
    )
    client = server.connect("x.test", 1)
    server.call("while not begun do await.idle() end")
    client.reset()
    server.running.wait_idle()
    assert_nothing_waits(server)


def test_a_stop_ends_every_routine(rule: Rule, tmp_path: Path) -> None:
    marker = tmp_path / "closed"
    server = rule(f"""
        neosocksd.async(print, function()
            local guard <close> = setmetatable({{}}, {{ __close = function() io.open("{marker}", "w"):close() end }})
            await.sleep(1000)
        end)
        neosocksd.async(print, await.execute, "sleep 1000")
        return {{}}""")
    server.call("await.sleep(0.01)")
    server.running.stop()
    assert marker.exists()


def test_a_stop_ends_calls_lookups_and_messages(rule: Rule) -> None:
    names = SilentNames()
    with BlackHole() as hole:
        target = f"127.0.0.1:{hole.address[1]}"
        server = rule(
            f"""
            neosocksd.async(print, await.invoke, "", "{target}")
            neosocksd.async(print, await.resolve, "slow.test")
            neosocksd.invoke("", "{target}")
            return {{}}""",
            plugins=(names,),
        )
        eventually(lambda: measure(server)["Ruleset Events"] == "3")
        server.running.stop()
    assert names.given_up == 1


def test_a_coroutine_that_a_script_closes_stops_waiting(rule: Rule) -> None:
    server = rule()
    code = """
        local co = neosocksd.async(print, await.sleep, 1000)
        assert(coroutine.close(co))
        return coroutine.status(co)"""
    assert server.call(code) == '"dead"'
    assert measure(server)["Ruleset Events"] == "0"


@pytest.mark.parametrize("number", [1000])
def test_a_finished_routine_leaves_nothing_behind(rule: Rule, number: int) -> None:
    server = rule()
    work = f"""
        local left = {number}
        for i = 1, {number} do
            neosocksd.async(function() left = left - 1 end, function()
                local co = coroutine.wrap(function() coroutine.yield() end)
                co()
                await.idle()
                pcall(error, {{}})
            end)
        end
        while left > 0 do await.idle() end"""
    for _ in range(3):
        server.call(work)
    before = int(measure(server)["Ruleset Allocated"].split()[0])
    for _ in range(5):
        server.call(work)
    after = int(measure(server)["Ruleset Allocated"].split()[0])
    assert_nothing_waits(server)
    # 10,000 coroutines would be ten megabytes; tables that grew for them keep their size.
    assert after < before + 500_000
