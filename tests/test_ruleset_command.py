"""The installed command with Lua: -r, -c x.lua, --dump-config, --memlimit, --traceback, and SIGHUP, with real clients."""

import gzip
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from neosocksd_core.testing import EchoServer
from tests.command import Command, fails, run

NOWHERE = ("192.0.2.1", 7)
"""Where nobody answers: a ruleset sends those that ask for it elsewhere."""


def write(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def route(echo: EchoServer) -> str:
    """A callback that sends everybody to the echo server."""
    return f'function() return "127.0.0.1:{echo.port}" end'


def speak(command: Command) -> None:
    """A session that the ruleset has sent to the echo server."""
    client = command.open(NOWHERE)
    client.send(b"hello")
    client.expect(b"hello")
    client.close()


def refused(command: Command) -> None:
    """A request that the ruleset has rejected."""
    client = command.request(NOWHERE)
    client.expect(b"\x05\x00\x05\x02")
    client.close()


@pytest.mark.parametrize("name", ["ruleset.lua", "ruleset.lua.gz", "ruleset.txt"])
@pytest.mark.parametrize("flag", ["-r", "--ruleset"])
def test_a_ruleset_needs_no_other_flag(
    tmp_path: Path, echo: EchoServer, name: str, flag: str
) -> None:
    text = f'assert(... == "ruleset") return {{ route = {route(echo)} }}'
    with Command(flag, str(write(tmp_path / name, text))) as command:
        speak(command)


def test_what_looks_wrong_about_a_ruleset_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "ruleset.lua", "return { rout = function() end }")
    doubt = "ruleset: ruleset.rout is no callback; is ruleset.route meant?"
    checked = run("check", "-r", str(path))
    assert (checked.returncode, checked.stdout) == (0, "the configuration is good\n")
    assert checked.stderr == f"neosocksd: warning: {doubt}\n"
    with Command("-r", str(path)) as command:
        assert command.lines[0].endswith(f" WARNING {doubt}")
        write(path, "return { tik = function() end }")
        command.send_signal(signal.SIGHUP)
        command.wait_for("WARNING ruleset: ruleset.tik is no callback; is ruleset.tick meant?")


def test_what_looks_wrong_about_a_ruleset_of_a_configuration_is_told(tmp_path: Path) -> None:
    text = "return { listen = '127.0.0.1:0', ruleset = { %s = function() end } }"
    path = write(tmp_path / "config.lua", text % "rout")
    with Command("-c", str(path), listen=None) as command:
        assert command.lines[0].endswith("ruleset.rout is no callback; is ruleset.route meant?")
        write(path, text % "tik")
        command.send_signal(signal.SIGHUP)
        command.wait_for("WARNING ruleset: ruleset.tik is no callback; is ruleset.tick meant?")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("rule.proxy('socks5//a:1')", "proxy 1: "),
        ("rule.proxy('http://a:1', 'sokcs5://b:1')", "proxy 2: "),
        ("rule.redirect(':80', 'socks5://a:x')", "proxy 1: "),
        ("rule.rewrite('x', 'y', 'socks5://')", "proxy 1: host name is empty"),
        ("lb.roundrobin({ rule.proxy('a:1,b:2') })", "in its turn 1, proxy 1: a proxy is one URI"),
    ],
)
def test_a_rule_with_a_proxy_that_is_none_is_told(
    tmp_path: Path, action: str, message: str
) -> None:
    text = f"local r = require('libruleset')\nroute_default = {{ {action} }}\nreturn r"
    checked = run("check", "-r", str(write(tmp_path / "ruleset.lua", text)))
    assert (checked.returncode, checked.stdout) == (0, "the configuration is good\n")
    assert checked.stderr.startswith("neosocksd: warning: ruleset: route_default (")
    assert "ruleset.lua:2): " in checked.stderr
    assert message in checked.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local ruleset = {}", "ruleset.lua: the ruleset returned a nil, expected a table"),
        ("require('libruleset')\nmatch.pattern('^www%')", ":2: malformed pattern (ends with '%')"),
        ("require('libruleset')\nrule.rewrite('(x', '')", ":2: unfinished capture"),
        ("require('libruleset')\nmatch.regex('(x')", ":2: invalid regular expression"),
        ("require('libruleset')\ninet.subnet('10.0.0.1/8')", ":2: host bits set in subnet"),
        ("require('libruleset')\nmatch.domian('a.b')", ":2: attempt to call a nil value"),
        ("return {\n{ 1 }\n{ 2 } }", ":3: '}' expected"),
    ],
)
def test_a_ruleset_that_is_wrong_is_one_line_that_names_file_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    line = fails(2, "-r", str(write(tmp_path / "ruleset.lua", text)))
    assert "ruleset.lua" in line
    assert message in line


def test_a_ruleset_that_is_not_there_is_one_line_that_names_where_it_was_given(
    tmp_path: Path,
) -> None:
    write(tmp_path / "x.toml", "ruleset = 'none.lua'")
    message = "none.lua: No such file or directory"
    for command in ((), ("check",)):
        assert fails(2, *command, "-r", "none.lua", cwd=tmp_path) == f"-r: {message}"
        assert fails(2, *command, "-c", "x.toml", cwd=tmp_path) == f"x.toml: ruleset: {message}"


@pytest.mark.parametrize("name", ["config.lua", "config.lua.gz"])
@pytest.mark.parametrize(
    "text",
    [
        "_G.ruleset = { route = %s } return { listen = '127.0.0.1:0' }",
        "return { listen = '127.0.0.1:0', ruleset = { route = %s } }",
    ],
)
def test_a_configuration_in_lua_may_install_a_ruleset(
    tmp_path: Path, echo: EchoServer, name: str, text: str
) -> None:
    path = write(tmp_path / name, 'assert(... == "config") ' + text.replace("%s", route(echo)))
    with Command("-c", str(path), listen=None) as command:
        speak(command)


def test_a_configuration_in_lua_and_a_ruleset_exclude_each_other(tmp_path: Path) -> None:
    config = write(tmp_path / "config.lua", "return {}")
    ruleset = write(tmp_path / "ruleset.lua", "return {}")
    line = fails(2, "-c", str(config), "-r", str(ruleset))
    assert "exclude each other" in line


def test_a_field_beats_the_command_line_unless_it_is_nil(tmp_path: Path) -> None:
    text = "return { timeout = 33, pipe = true, max_sessions = nil, no_such_field = 1 }"
    path = write(tmp_path / "config.lua", text)
    done = run("-c", str(path), "-t", "44", "-m", "5", "--no-pipe", "--dump-config")
    assert done.returncode == 0
    assert "no_such_field: unknown field" in done.stderr
    for line in ("timeout = 33.0,", "max_sessions = 5,", "pipe = true,"):
        assert line in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return { timeout = 'x' }", "timeout: expected a number"),
        ("return { listen = true }", "listen: should be a string or a list"),
        ("return { pipe = 1 }", "pipe: expected true or false"),
        ("return { ruleset = 'x.lua' }", "ruleset: expected a table"),
        ("return 7", "returned a number, expected a table"),
        ("error('boom')", "config.lua:1: boom"),
        ("return {", "config.lua:1: "),
    ],
)
def test_a_configuration_in_lua_that_is_wrong_is_one_line_that_names_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path / "config.lua", text)
    line = fails(2, "-c", str(path))
    assert line.startswith(str(path))
    assert message in line


def test_the_configuration_is_dumped_as_a_chunk_that_is_read_again(tmp_path: Path) -> None:
    flags = ("-4", "--traceback", "--memlimit", "7", "-l", "127.0.0.1:1", "--block-outbound=local")
    done = run(*flags, "--dump-config")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("return {", "}")
    for field in ("resolve_pf = 2", "traceback = true", "memlimit = 7", 'listen = "127.0.0.1:1"'):
        assert f"    {field}," in lines
    path = write(tmp_path / "config.lua", done.stdout)
    again = run("-c", str(path), "--dump-config")
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")


def test_traceback_logs_the_way_to_an_error(tmp_path: Path) -> None:
    text = (
        "local function deep() error('boom') end return { route = function() deep() return '' end }"
    )
    path = str(write(tmp_path / "ruleset.lua", text))
    with Command("-r", path, "--traceback") as command:
        refused(command)
        assert "'deep'" in command.wait_for("stack traceback:").replace("\\", "")
    with Command("-r", path) as command:
        refused(command)
        command.wait_for("boom")
        command.stop()
        assert "stack traceback" not in "\n".join(command.lines)


def test_above_the_memory_limit_a_collection_is_forced_and_nothing_refused(
    tmp_path: Path, echo: EchoServer
) -> None:
    path = write(
        tmp_path / "ruleset.lua",
        f"""
        collectgarbage("stop")
        local target = {route(echo)}
        local r = {{}}
        function r.route()
            setmetatable({{}}, {{ __gc = function() io.stderr:write("collected\\n") end }})
            _G.big = string.rep("x", 8 << 20)
            return target()
        end
        return r""",
    )
    with Command("-r", str(path), "--memlimit", "4") as command:
        speak(command)
        command.wait_for("collected")
    with Command("-r", str(path)) as command:
        speak(command)
        command.stop()
        assert "collected" not in command.lines


@pytest.mark.parametrize("flag", ["-r", "-c"])
def test_a_hangup_signal_reads_the_script_again_and_keeps_every_session(
    tmp_path: Path, echo: EchoServer, flag: str
) -> None:
    wrap = "return %s" if flag == "-r" else "return { listen = '127.0.0.1:0', ruleset = %s }"

    def script(route: str) -> str:
        return "_G.loads = (loads or 0) + 1 " + wrap.replace("%s", f"{{ route = {route} }}")

    path = write(tmp_path / "script.lua", script(route(echo)))
    with ExitStack() as stack:
        listen = "127.0.0.1:0" if flag == "-r" else None
        command = stack.enter_context(Command(flag, str(path), listen=listen))
        session = command.open(NOWHERE)
        stack.callback(session.close)
        write(path, "_G.loads = 100 error('boom')")
        command.send_signal(signal.SIGHUP)
        command.wait_for("boom")
        speak(command)
        write(path, script("function() assert(loads == 2) return nil end"))
        command.send_signal(signal.SIGHUP)
        command.wait_for("reloaded")
        refused(command)
        session.send(b"still here")
        session.expect(b"still here")
