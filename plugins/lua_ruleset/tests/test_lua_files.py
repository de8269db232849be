"""Scripts in files: the ruleset's and the configuration's, modules beside them, gzip, reloads by the server, and what is no script."""

import gc
import gzip
import logging
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from neosocksd_core import ConfigurationError
from neosocksd_core.plugins import Plugins
from neosocksd_core.server import Server
from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset import LuaRuleset
from neosocksd_lua_ruleset.scripts import MAX_SCRIPT_SIZE, read_script
from neosocksd_lua_ruleset.testing import Rule, Ruled, Serve, WriteScript


def make_server(path: Path, **settings: object) -> Server:
    return Server(
        {"ruleset": str(path), **settings}, plugins=Plugins([LuaRuleset, "socks5"], defaults=False)
    )


# reading


@pytest.mark.parametrize("name", ["ruleset.lua", "ruleset.lua.gz"])
def test_plain_and_gzip_scripts_are_read(script: WriteScript, name: str) -> None:
    text = b"return {}"
    path = script(gzip.compress(text) if name.endswith("gz") else text, name)
    assert read_script(path) == text


def test_a_gzip_file_may_have_several_members(script: WriteScript) -> None:
    assert read_script(script(gzip.compress(b"return ") + gzip.compress(b"{}"))) == b"return {}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"return {}")[:-4], "ends too early"),
        (b"\x1f\x8bnonsense", "malformed gzip"),
        (gzip.compress(bytes(MAX_SCRIPT_SIZE + 1)), "longer than"),
    ],
)
def test_gzip_data_that_is_broken_or_too_long_is_refused(
    script: WriteScript, data: bytes, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_script(script(data))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("fifo", "loop", "missing", ".", "nul\0"):
        with pytest.raises(ConfigurationError, match="fifo|loop|missing|regular|usable|directory"):
            read_script(tmp_path / name)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_script(Path("/dev/zero"))


def test_a_script_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.lua"
    with path.open("wb") as file:
        file.truncate(MAX_SCRIPT_SIZE + 1)
    with pytest.raises(ConfigurationError, match="longer than"):
        read_script(path)


# the ruleset's file


def test_a_gzip_ruleset_routes(rule: Rule, echo: EchoServer) -> None:
    server = rule(gzip.compress(b"return { route = function(a) return a end }"))
    assert server.reply("127.0.0.1", echo.port) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return = 1", r"ruleset.lua:1: unexpected symbol"),
        ("\nerror('boom')", r"ruleset.lua:2: boom"),
        ("error({})", r"error object is a table value"),
        ("return nil", r"returned a nil, expected a table"),
        ("return 1", r"returned a number, expected a table"),
        ("\x1bLua", r"binary chunk"),
        ("", r"returned a nil"),
    ],
)
def test_a_ruleset_that_fails_is_an_error_at_the_start(
    script: WriteScript, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_server(script(text))


def test_a_missing_ruleset_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing.lua"):
        make_server(tmp_path / "missing.lua")


def test_without_a_ruleset_the_plugin_routes_nothing() -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    assert plugins.create_router(Server({}, plugins=plugins)) is None


def test_auth_required_is_satisfied_by_a_ruleset(script: WriteScript) -> None:
    make_server(script("return {}"), auth_required=True)


def test_a_server_that_is_gone_takes_its_machine_with_it(script: WriteScript) -> None:
    def make() -> tuple[weakref.ref[Any], ...]:
        plugin = Plugins([LuaRuleset, "socks5"], defaults=False)
        server = Server({"ruleset": str(script("return {}"))}, plugins=plugin)
        router = plugin.create_router(server)
        return weakref.ref(server), weakref.ref(router)

    made = make()
    gc.collect()
    assert [reference() for reference in made] == [None, None]


def test_two_servers_share_nothing(rule: Rule) -> None:
    one, two = rule("_G.x = 1 return {}"), rule("_G.x = 2 return {}")
    assert (one.call("return x"), two.call("return x")) == ("1", "2")


@pytest.mark.parametrize("lua", ["5.3", "5.4", "5.5"])
def test_the_setting_lua_chooses_the_version(rule: Rule, echo: EchoServer, lua: str) -> None:
    server = rule(
        f"""return {{ resolve = function() await.idle() return "127.0.0.1:{echo.port}" end }}""",
        lua_ruleset={"lua": lua},
    )
    assert server.call("return _VERSION") == f'"Lua {lua}"'
    assert server.reply("x.test", 1) == 0


# modules


def test_require_finds_modules_beside_the_ruleset(rule: Rule, script: WriteScript) -> None:
    script("return { name = ... }", "beside.lua")
    server = rule("_G.found = require('beside') return {}")
    assert server.call("return found.name, require('beside') == found") == '"beside",true'


def test_require_finds_modules_in_the_working_directory(
    rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "here.lua").write_text("return 'here'")
    monkeypatch.chdir(tmp_path / "work")
    assert rule("_G.found = require('here') return {}").call("return found") == '"here"'


def test_a_module_that_is_missing_or_broken_is_an_error(rule: Rule, script: WriteScript) -> None:
    script("return =", "broken.lua")
    server = rule()
    assert "module 'missing' not found" in server.error("require('missing')")
    assert "error loading module 'broken'" in server.error("require('broken')")


# reload by the server (SIGHUP)


def test_a_reload_reads_the_ruleset_again_and_keeps_what_was_gathered(
    rule: Rule, script: WriteScript
) -> None:
    server = rule("_G.count = (count or 0) + 1 return { version = 1 }")
    script("_G.count = (count or 0) + 1 return { version = 2 }")
    server.running.reload(
        {"listen": "127.0.0.1:0", "ruleset": str(server.path), "lua_ruleset": {"time_limit": 0.05}}
    )
    assert server.call("return ruleset.version, count") == "2,2"
    assert "time limit of 0.05" in server.error("while true do end")


def test_a_reload_that_fails_leaves_the_ruleset_in_place(rule: Rule, script: WriteScript) -> None:
    server = rule("_G.loads = (loads or 0) + 1 return { version = 1 }")
    settings = {"listen": "127.0.0.1:0", "ruleset": str(server.path)}
    script("_G.touched = 1 error('boom')")
    with pytest.raises(ConfigurationError, match="boom"):
        server.running.reload({**settings, "timeout": 9, "lua_ruleset": {"time_limit": 0.05}})
    assert server.call("return ruleset.version, touched, loads") == "1,nil,1"
    assert server.call("return neosocksd.config().timeout == 60") == "true"
    script("_G.loads = loads + 1 return { version = 2 }")
    server.running.reload(settings)
    assert server.call("return ruleset.version, loads") == "2,2"


def test_the_first_ruleset_takes_effect_after_a_restart(serve: Serve, script: WriteScript) -> None:
    running = serve({"listen": "127.0.0.1:0"}, plugins=["socks5", LuaRuleset])
    with pytest.raises(ConfigurationError, match="after a restart"):
        running.reload({"listen": "127.0.0.1:0", "ruleset": str(script("return {}"))})


# configuration scripts


def load_config(path: Path) -> dict[str, object]:
    return dict(LuaRuleset().load_config(path) or {})


def test_other_formats_are_left_to_others(tmp_path: Path) -> None:
    assert LuaRuleset().load_config(tmp_path / "x.toml") is None


@pytest.mark.parametrize("name", ["c.lua", "c.lua.gz"])
def test_a_configuration_script_returns_the_fields(script: WriteScript, name: str) -> None:
    text = b"assert(... == 'config') return { listen = '127.0.0.1:1', timeout = 7.5, loglevel = 5, pipe = false, proxy = nil }"
    path = script(gzip.compress(text) if name.endswith("gz") else text, name)
    assert load_config(path) == {
        "listen": "127.0.0.1:1",
        "timeout": 7.5,
        "loglevel": 5,
        "pipe": False,
    }


def test_a_section_of_a_plugin_is_a_table(script: WriteScript) -> None:
    path = script("return { lua_ruleset = { time_limit = 3 }, timeout = 9 }", "c.lua")
    assert load_config(path) == {"lua_ruleset": {"time_limit": 3}, "timeout": 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return", "returned a nil, expected a table"),
        ("return {", r"^\S+c.lua:1: "),
        ("error('boom')", "c.lua:1: boom"),
        ("return { ruleset = 'x.lua' }", "ruleset: expected a table, got a string"),
        ("return { timeout = print }", "timeout: a function cannot be a setting"),
        ("return { 1 }", "c.lua: value 1 has no name, expected { name = value, ... }"),
        ("return { [print] = 1 }", "named by a function"),
        ("return { listen = { 'a:1', 2 } }", "listen: entry 2 is a number, expected a string"),
        ("return { a = { b = { 'x', print } } }", "a.b: entry 2 is a function, expected a string"),
        ("return { a = { b = { } } }", "a.b: a table cannot be a setting"),
        ("return { listen = '\\255' }", "listen: not UTF-8"),
        ("\x1bLua", "binary chunk"),
    ],
)
def test_a_configuration_that_fails_names_the_file(
    script: WriteScript, text: str, message: str
) -> None:
    path = script(text, "c.lua")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_config(path)
    assert str(caught.value).count(str(path)) == 1


def test_a_list_of_a_configuration_is_a_table_of_strings(script: WriteScript) -> None:
    path = script(
        "return { listen = { 'a:1', 'b:2' }, rest_api = { listen = { 'c:3' } } }", "c.lua"
    )
    assert load_config(path) == {"listen": ["a:1", "b:2"], "rest_api": {"listen": ["c:3"]}}


def test_a_configuration_that_loops_is_ended(
    script: WriteScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neosocksd_lua_ruleset.engine.CONFIG_SECONDS", 0.05)
    with pytest.raises(ConfigurationError, match="time limit"):
        load_config(script("while true do end", "c.lua"))


@pytest.mark.parametrize(
    "text",
    [
        "_G.ruleset = { route = function(a) return a end } return { timeout = 9 }",
        "return { timeout = 9, ruleset = { route = function(a) return a end } }",
    ],
)
def test_a_configuration_may_install_a_ruleset(
    serve: Serve, script: WriteScript, echo: EchoServer, text: str
) -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    values = plugins.load_config(script(text, "c.lua"))
    assert values == {"timeout": 9}
    server = Ruled(serve({"listen": "127.0.0.1:0", "timeout": 9}, plugins=plugins))
    assert server.reply("127.0.0.1", echo.port) == 0


def test_a_configuration_that_is_read_again_runs_in_the_same_machine(
    serve: Serve, script: WriteScript, echo: EchoServer
) -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    text = "_G.count = (count or 0) + 1 return { ruleset = { resolve = function() return %s end } }"
    path = script(text.replace("%s", "nil"), "c.lua")
    plugins.load_config(path)
    server = Ruled(serve({"listen": "127.0.0.1:0"}, plugins=plugins))
    assert server.reply("x.test", 1) == 2
    script("_G.count = 99 error('boom')", "c.lua")
    with pytest.raises(ConfigurationError, match="boom"):
        server.running.call(plugins.load_config, path)
    script(text.replace("%s", f'"127.0.0.1:{echo.port}"'), "c.lua")
    server.running.call(plugins.load_config, path)
    server.running.reload({"listen": "127.0.0.1:0"})
    assert server.reply("x.test", 1) == 0
    assert server.call("return count") == "2"


@pytest.mark.parametrize("text", ["return { ruleset = {} }", "return { timeout = 9 }"])
def test_a_configuration_in_lua_and_a_ruleset_s_file_exclude_each_other(
    script: WriteScript, text: str
) -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    plugins.load_config(script(text, "c.lua"))
    with pytest.raises(ConfigurationError, match="exclude each other"):
        Server({"ruleset": str(script("return {}"))}, plugins=plugins)


@pytest.mark.parametrize("settings", [{"sandbox": True}, {"lua": "5.3"}])
def test_a_ruleset_of_the_configuration_has_neither_sandbox_nor_another_lua(
    script: WriteScript, settings: dict[str, Any]
) -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    plugins.load_config(script("return { ruleset = {} }", "c.lua"))
    with pytest.raises(ConfigurationError, match="lua, sandbox"):
        Server({"lua_ruleset": settings}, plugins=plugins)


def test_what_takes_effect_after_a_restart_is_said_at_a_reload(
    rule: Rule, caplog: pytest.LogCaptureFixture
) -> None:
    server = rule()
    changed = {"lua": "5.3", "sandbox": True}
    server.running.reload(
        {"listen": "127.0.0.1:0", "ruleset": str(server.path), "lua_ruleset": changed}
    )
    assert any("after a restart" in record.getMessage() for record in caplog.records)


def test_a_configuration_without_a_ruleset_installs_none(script: WriteScript) -> None:
    plugins = Plugins([LuaRuleset, "socks5"], defaults=False)
    plugins.load_config(script("return { timeout = 9 }", "c.lua"))
    assert plugins.create_router(Server({}, plugins=plugins)) is None


def test_the_server_is_out_of_reach_while_the_configuration_is_read(script: WriteScript) -> None:
    path = script("neosocksd.invoke('x', 'y.test:1') return {}", "c.lua")
    with pytest.raises(ConfigurationError, match="c.lua:1: not available"):
        load_config(path)
    assert load_config(
        script("neosocksd.config() return { timeout = neosocksd.stats().num_request + 5 }", "c.lua")
    ) == {"timeout": 5}


# the command


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "neosocksd_core.cli", "--plugin", "lua_ruleset", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_ruleset_that_fails_is_one_line_and_status_2(script: WriteScript) -> None:
    ran = run_command("-r", str(script("error('boom')")), "check")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "boom" in ran.stderr


def test_the_plugin_is_light_to_import() -> None:
    code = "import sys, neosocksd_lua_ruleset; sys.exit('lupa' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def start_command(path: Path) -> subprocess.Popen[str]:
    """The command with a ruleset; what its script prints comes by its standard output."""
    command = [sys.executable, "-m", "neosocksd_core.cli", "--plugin", "lua_ruleset"]
    options = ["-l", "127.0.0.1:0", "--loglevel", "1", "-r", str(path)]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)


def test_os_exit_ends_the_command_with_that_status(script: WriteScript) -> None:
    path = script("neosocksd.async(print, function() await.sleep(0.01) os.exit(7) end) return {}")
    with start_command(path) as process:
        assert process.wait(60) == 7


@pytest.mark.parametrize("code", ["os.exit(7)", "pcall(os.exit, 7) error('boom')"])
def test_os_exit_while_the_ruleset_loads_ends_the_command_with_that_status(
    script: WriteScript, code: str
) -> None:
    ran = run_command("-l", "127.0.0.1:0", "-r", str(script(f"{code} return {{}}")))
    assert (ran.returncode, ran.stderr) == (7, "")


def test_os_exit_in_a_configuration_script_ends_the_command_with_that_status(
    script: WriteScript,
) -> None:
    ran = run_command("-c", str(script("os.exit(false)", "c.lua")))
    assert (ran.returncode, ran.stderr) == (1, "")


def test_os_exit_is_no_error(rule: Rule, caplog: pytest.LogCaptureFixture) -> None:
    server = rule(
        """
        local r = {}
        function r.resolve() await.idle() neosocksd.async(print, os.exit, 5) os.exit(4) end
        return r""",
        traceback=True,
    )
    client = server.connect("x.test", 1)
    server.running.join()
    client.close()
    assert server.running.server.exit_status == 5
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_hangup_signal_reloads_the_ruleset_in_the_running_machine(script: WriteScript) -> None:
    path = script("""
        _G.loads = (loads or 0) + 1
        neosocksd.async(print, function()
            await.idle()
            print("loaded " .. loads)
            if loads == 3 then os.exit(3) end
        end)
        return {}""")
    with start_command(path) as process:
        assert process.stdout is not None
        for number in (1, 2, 3):
            assert process.stdout.readline() == f"loaded {number}\n"
            process.stdout.readline()  # what `print` says as the finish function
            if number < 3:
                process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 3
