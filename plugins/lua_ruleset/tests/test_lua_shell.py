"""os.execute and io.popen: as in any Lua on POSIX, under every event loop, and nothing is left of a command."""

import os
from pathlib import Path

import pytest

from neosocksd_lua_ruleset.testing import Rule, eventually
from neosocksd_lua_ruleset.trial import Script

pytestmark = pytest.mark.usefixtures("backend")

OUTCOMES = [
    ("true", 'true,"exit",0'),
    ("exit 3", 'nil,"exit",3'),
    ("exit 15", 'nil,"exit",15'),
    ("kill -9 $$", 'nil,"signal",9'),
    ("no-such-command 2>/dev/null", 'nil,"exit",127'),
]


@pytest.mark.parametrize(("command", "outcome"), OUTCOMES)
def test_os_execute_await_execute_and_a_closed_pipe_tell_the_same(
    rule: Rule, command: str, outcome: str
) -> None:
    server = rule()
    for call in ("os.execute(%s)", "await.execute(%s)", "io.popen(%s):close()"):
        assert server.call("return " + call.replace("%s", f"'{command}'")) == outcome


def test_there_is_a_shell(rule: Rule) -> None:
    assert rule().call("return os.execute()") == "true"


def test_what_a_command_prints_is_read_as_a_file(rule: Rule) -> None:
    server = rule()
    code = """
        local file = io.popen("printf '1\\\\n2\\\\n3\\\\n'; exit 4")
        local kind, first, rest = io.type(file), file:read("n"), {}
        for line in file:lines() do rest[#rest + 1] = line end
        local ok, what, status = file:close()
        return kind, first, table.concat(rest, ","), ok, what, status, io.type(file)"""
    assert server.call(code) == '"file",1,",2,3",nil,"exit",4,"closed file"'


def test_what_is_written_is_read_by_the_command(rule: Rule, tmp_path: Path) -> None:
    server = rule()
    server.run(f"""
        local other = io.popen("cat > /dev/null", "w")
        local file = io.popen("cat > {tmp_path}/out", "w")
        file:write("a\\0b", 1)
        assert(file:close())
        assert(io.close(other))""")
    assert (tmp_path / "out").read_bytes() == b"a\x00b1"


def test_a_to_be_closed_pipe_waits_for_its_command(rule: Rule, tmp_path: Path) -> None:
    server = rule()
    code = f"""
        do local file <close> = io.popen("cat > {tmp_path}/out", "w") file:write("x") end
        return io.open("{tmp_path}/out"):read("a")"""
    assert server.call(code) == '"x"'


def test_pipes_that_nobody_closes_leave_nothing_behind(rule: Rule) -> None:
    server = rule()
    before = len(os.listdir("/proc/self/fd"))
    server.run("for i = 1, 50 do io.popen('exit 1') io.popen('cat', 'w') end")
    server.post("/ruleset/gc")
    assert len(os.listdir("/proc/self/fd")) <= before
    eventually(lambda: not children())


def children() -> list[str]:
    """The processes that this one has started, dead ones included."""
    tasks = Path("/proc/self/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def test_a_script_that_is_ended_while_it_starts_commands_leaves_nothing_behind(
    rule: Rule,
) -> None:
    server = rule(lua_ruleset={"time_limit": 0.02})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        assert "time limit" in server.error("while true do io.popen('true'):close() end")
    server.post("/ruleset/gc")
    assert len(os.listdir("/proc/self/fd")) <= before
    eventually(lambda: not children())


def test_a_forgotten_command_is_taken_leave_of_when_it_ends(backend: str, rule: Rule) -> None:
    server = rule()
    server.run("""
        io.popen("read line", "w")
        _G.kept = io.popen("read line", "w")""")
    server.post("/ruleset/gc")
    eventually(lambda: len(children()) == 1)
    server.run("_G.kept = nil")
    server.post("/ruleset/gc")
    eventually(lambda: not children())


def test_routines_that_wait_for_commands_are_not_disturbed(rule: Rule) -> None:
    server = rule()
    server.run("""
        _G.left = 10
        for i = 1, 10 do
            neosocksd.async(function(ok, done, what, status)
                if what == "exit" and status == i then _G.left = left - 1 end
            end, await.execute, "exit " .. i)
            assert(select(3, os.execute("exit 7")) == 7)
            assert(select(3, io.popen("exit 8"):close()) == 8)
        end""")
    assert server.call("while left > 0 do await.sleep(0.001) end return left") == "0"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("io.popen()", "bad argument #1 to 'popen' (string expected, got nil)"),
        ("io.popen({})", "bad argument #1 to 'popen' (string expected, got table)"),
        ("io.popen('true', 'rw')", "bad argument #2 to 'popen' (invalid mode)"),
        ("io.popen('true', {})", "bad argument #2 to 'popen' (string expected, got table)"),
        ("io.popen('a\\0b')", "the command contains a NUL byte"),
        ("os.execute({})", "bad argument #1 to 'execute' (string expected, got table)"),
        ("io.close(7)", "bad argument #1 to 'close' (FILE* expected, got number)"),
        ("io.stdout.close(7)", "bad argument #1 to 'close' (FILE* expected, got number)"),
    ],
)
def test_a_wrong_argument_is_named_where_it_was_given(lua: Script, call: str, message: str) -> None:
    assert lua.error(f"\nlocal x = {call}") == f"(invoke):2: {message}"


def test_a_closed_pipe_is_a_closed_file(lua: Script) -> None:
    for opened in ("io.popen('true')", "io.tmpfile()"):
        message = lua.error(f"local file = {opened} file:close()\nfile:close()")
        assert message == "(invoke):2: attempt to use a closed file"


def test_the_default_output_may_be_closed_and_other_files_close_as_ever(lua: Script) -> None:
    assert lua.values("return io.tmpfile():close()") == "true"
    code = "local old = io.output() io.output(io.tmpfile()) local ok = io.close() io.output(old) return ok"
    assert lua.values(code) == "true"
