"""The command as its user has it: arguments in; text, exit statuses, signals and bytes out."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

import pytest

from tests.command import COMMAND, Command, connect, environment, fails, greet, run

FLAGS = [
    "-h",
    "--help",
    "-c",
    "--config",
    "-4",
    "-6",
    "-l",
    "--listen",
    "--http",
    "--auth-required",
    "-f",
    "--forward",
    "-x",
    "--proxy",
    "--nameserver",
    "-i",
    "--netdev",
    "--reuseport",
    "--pipe",
    "--no-fastopen",
    "-t",
    "--timeout",
    "--log",
    "--loglevel",
    "-d",
    "--daemonize",
    "-u",
    "--user",
    "-m",
    "--max-sessions",
    "--max-startups",
    "--block-outbound",
    "--plugin",
    "--no-plugin",
    "--loop",
    "--version",
]
"""What a user who comes from the original, or from the documentation, may write."""

HEAVY = ("anyio", "asyncio", "uvloop", "trio", "dns", "shtab", "tomllib", "ssl", "difflib")


def label(value: object) -> str:
    """A command line as the name of its test."""
    return " ".join(cast("list[str]", value)) if isinstance(value, list) else ""


# Help, version, subcommands.


def test_help_is_on_stdout_and_names_every_flag() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = set(re.findall(r"(?<![\w-])--?[\w-]+", done.stdout))
    assert set(FLAGS) <= words
    text = " ".join(done.stdout.split())
    assert "longest time in seconds from accept to relay (default 60)" in text
    assert "relay with splice(2) where the system has it (default on)" in text
    for command in ("plugins", "schema", "check", "completion", "hash-password"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)


def test_help_imports_nothing_that_only_serving_needs() -> None:
    code = (
        "import sys\nfrom neosocksd_core.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('imported:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_version() -> None:
    assert run("--version").stdout == "neosocksd 0.1.0\n"


def test_plugins_lists_state_version_origin_and_what_is_provided() -> None:
    done = run("plugins", "--no-plugin", "forward")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert re.search(r"enabled +0\.1\.0 +neosocksd .*socks4a://.*socks5://", rows["socks5"])
    assert re.search(r"off +0\.1\.0 +neosocksd", rows["forward"])
    assert "authenticator" in rows["static_auth"]


def test_schema_is_a_json_schema_of_everything() -> None:
    schema = json.loads(run("schema").stdout)
    assert {"listen", "timeout", "socks5", "http_connect"} <= set(schema["properties"])


def test_check_says_that_all_is_well_and_listens_nowhere(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "a.toml").write_text(f'listen = "{address}"\n')
        done = run("check", "-c", "a.toml", "-t", "9", "-t", "8", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "the configuration is good\n"
    assert done.stderr == "neosocksd: warning: -t is given twice, the last one wins\n"


def test_a_reader_that_has_left_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [COMMAND, "schema"], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 1


def test_a_subcommands_help_is_its_own() -> None:
    done = run("check", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: neosocksd check")


# Errors.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiemout", "5"], "there is no flag --tiemout (did you mean --timeout?)"),
        (["chekc"], "argument COMMAND: invalid choice: 'chekc'"),
        (["completion", "tcsh"], "argument shell: invalid choice"),
        (["-t", "4"], "-t: should be greater than or equal to 5"),
        (["-l", "127.0.0.1:70000"], "-l: not a port number: '70000'"),
        (["-x", "ftp://a", "check"], "-x: unknown proxy scheme 'ftp'"),
        (["-x", "socks5://u:secret@[::1", "check"], "-x: "),
        (["-x", f"socks5://{'u' * 300}:secret@h", "check"], "-x: socks5://h:1080: user name or"),
        (["-x", "socks4a://a%00b@h,socks5://i", "check"], "-x: socks4a://h:1080: NUL in user id"),
        (["-f", "h:0", "check"], "-f: there is no port 0 to forward to"),
        (["-f", ":", "check"], "-f: `:` leaves the target to a router, and there is none"),
        (["-f", "h:80", "--auth-required", "check"], "-f: clients cannot authenticate"),
        (["--plugin", "nix"], "--plugin: there is no plugin 'nix' (installed: "),
        (["--no-plugin", "nix"], "--no-plugin: there is no plugin 'nix' (installed: "),
        (["--time", "5"], "there is no flag --time (did you mean --timeout?)"),
        (["--plugin", "./nix.py"], "plugin "),
        (["-c", "nix.toml"], "nix.toml: No such file or directory"),
        (["--auth-required"], "--auth-required: "),
    ],
    ids=label,
)
def test_an_error_in_the_configuration_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    line = fails(2, *arguments, cwd=tmp_path)
    assert line.startswith(message)
    assert "secret" not in line


def test_an_error_in_file_or_environment_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("tiemout = 5\n")
    assert fails(2, "-c", "a.toml", cwd=tmp_path).startswith("a.toml: tiemout: unknown key")
    assert fails(2, NEOSOCKSD_TIMEOUT="x").startswith("NEOSOCKSD_TIMEOUT: should be")
    for key in ("plugins", "no_plugins"):
        (tmp_path / "a.toml").write_text(f'{key} = ["nix"]\n')
        line = fails(2, "-c", "a.toml", "check", cwd=tmp_path)
        assert line.startswith(f"a.toml: {key}: there is no plugin 'nix' (installed: ")
    assert fails(2, NEOSOCKSD_PLUGINS="nix").startswith("NEOSOCKSD_PLUGINS: there is no plugin")
    assert fails(2, NEOSOCKSD_NO_PLUGINS="nix").startswith("NEOSOCKSD_NO_PLUGINS: there is no")
    (tmp_path / "a.toml").write_text('[static_auth]\nusers = "alice"\n')
    line = fails(2, "-c", "a.toml", "check", cwd=tmp_path)
    assert line == "a.toml: static_auth.users: should be a table"
    (tmp_path / "b.toml").write_text('plugins = ["./c.py"]\n')
    (tmp_path / "c.py").write_text("raise RuntimeError('no\\nluck')\n")
    assert "'c'" in fails(2, "-c", str(tmp_path / "b.toml"))


def test_a_broken_file_does_not_keep_help_away(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("tiemout = 5\n")
    assert run("--help", NEOSOCKSD_CONFIG=str(tmp_path / "a.toml")).returncode == 0


def test_an_address_in_use_is_one_line_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(1, "-l", "127.0.0.1:0", "-l", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_an_address_of_another_machine_is_one_line_and_status_1() -> None:
    assert "192.0.2.1:1080" in fails(1, "-l", "192.0.2.1:1080")


# Serving.


PRINTING = ["--help", "--version", "plugins", "schema", "check", "completion bash", "--dump-config"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [*PRINTING, "check --help", "hash-password"])
def test_a_full_disk_is_told_in_one_line(arguments: str, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [COMMAND, *arguments.split()],
            input="secret",
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (1, "neosocksd: No space left on device\n")


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", PRINTING)
def test_a_standard_stream_may_be_closed(arguments: str, closing: str) -> None:
    ran = subprocess.run(
        f"'{COMMAND}' {arguments} {closing}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert bool(ran.stdout) != (">&-" in closing.replace("2>&-", ""))


def test_a_password_from_a_closed_stream_is_an_empty_one() -> None:
    ran = subprocess.run(
        f"'{COMMAND}' hash-password <&-", shell=True, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (
        2,
        "neosocksd hash-password: the password is empty\n",
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [*PRINTING, "check --help"])
def test_a_reader_may_leave_before_it_has_read(arguments: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        ran = subprocess.run(
            [COMMAND, *arguments.split()],
            stdout=broken,
            stderr=subprocess.PIPE,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_status_0(loop: str, number: signal.Signals) -> None:
    pytest.importorskip("trio" if loop == "trio" else "anyio")
    with Command("--loop", loop) as command:
        assert greet(command.addresses[0]) == b"\x05\x00"
        assert command.stop(number) == 0


def test_without_any_listener_it_listens_on_1080() -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # somebody else listens there already
            stack.enter_context(socket.create_server(("127.0.0.1", 1080)))
        done = run()
    assert done.returncode == 1
    assert done.stderr == "neosocksd: cannot listen on 127.0.0.1:1080: Address already in use\n"


def test_a_second_signal_does_not_wait_for_sessions(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
        options = ("--drain", "3600", "--loglevel", "5")
        with Command(*options) as command, connect(command.addresses[0]) as client:
            client.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2))
            assert client.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
            assert client.recv(10, socket.MSG_WAITALL)[1] == 0
            command.process.send_signal(signal.SIGTERM)
            command.wait_for("waiting up to 3600 s for 1 sessions")
            assert command.stop(signal.SIGINT) == 0


def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("")
    with Command("-c", "a.toml", cwd=tmp_path) as command:
        file.write_text('http_listen = "127.0.0.1:0"\ntcp_rcvbuf = 1\n')
        command.process.send_signal(signal.SIGHUP)
        command.wait_for("tcp_rcvbuf is below")
        command.wait_for("NOTICE reloaded")
        file.write_text('loglevel = 8\nproxy = "ftp://x"\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("ERROR not reloaded: a.toml: proxy: unknown proxy scheme")
        greet(command.addresses[0])  # would be logged from level 5 on
        for broken in ("tiemout = 5\n", "= =\n", "\0", 'proxy = "ftp://x"\n', 'plugins = ["nix"]'):
            file.write_text(broken)
            command.process.send_signal(signal.SIGHUP)
            assert command.wait_for("ERROR not reloaded: ").startswith("a.toml: ")
        file.unlink()
        command.process.send_signal(signal.SIGHUP)
        assert command.wait_for("ERROR not reloaded: ") == "a.toml: No such file or directory"
        assert greet(command.addresses[0]) == b"\x05\x00"
        assert command.stop() == 0
    assert not [line for line in command.lines if "session" in line]


def test_a_choice_of_plugins_that_a_reload_cannot_follow_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('plugins = ["nameserver"]\n')
    with Command("-c", "a.toml", cwd=tmp_path) as command:
        file.write_text('plugins = ["nameserver"]\ntimeout = 5\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("NOTICE reloaded")
        assert not [line for line in command.lines if "plugins" in line]
        file.write_text('no_plugins = ["forward"]\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("the choice of plugins has changed, which takes effect after a restart")
        file.write_text("plugins = 3\n")
        command.send_signal(signal.SIGHUP)
        command.wait_for("ERROR not reloaded: a.toml: plugins: expected a list of names")
        assert command.stop() == 0


def test_signals_without_a_meaning_do_not_end_it() -> None:
    with Command() as command:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            command.process.send_signal(number)
        assert greet(command.addresses[0]) == b"\x05\x00"
        assert command.stop() == 0


def test_the_log_may_be_json() -> None:
    with Command("--log-format", "json") as command:
        assert command.stop() == 0
    entries = [json.loads(line) for line in command.lines]
    assert entries[0]["level"] == "notice"


OWN_FORMAT = """
import json

from neosocksd_core import hookimpl


@hookimpl
def load_config(path):
    return json.loads(path.read_text()) if path.suffix == ".json" else None


@hookimpl
def before_serving(settings):
    print(f"timeout {settings.timeout:g}, drain {settings.drain:g}")
    return 7 if settings.drain == 7 else None
"""


def test_a_file_of_a_plugins_own_format_has_the_last_word(tmp_path: Path) -> None:
    plugin, config = tmp_path / "own.py", tmp_path / "x.json"
    plugin.write_text(OWN_FORMAT)
    config.write_text('{"timeout": 11, "drain": 7}')
    done = run("--plugin", str(plugin), "-c", str(config), "--timeout", "22", NEOSOCKSD_DRAIN="3")
    assert (done.returncode, done.stdout) == (7, "timeout 11, drain 7\n")


def test_what_is_unknown_in_a_file_of_a_plugins_own_format_is_a_warning(tmp_path: Path) -> None:
    plugin, config = tmp_path / "own.py", tmp_path / "x.json"
    plugin.write_text(OWN_FORMAT)
    config.write_text('{"listen": "127.0.0.1:0", "nonsense": 1}')
    with Command("--plugin", str(plugin), "-c", str(config)) as server:
        assert any("nonsense: unknown field" in line for line in server.lines)
        assert server.stop() == 0
    config.write_text('{"timeout": "soon"}')
    message = fails(2, "--plugin", str(plugin), "-c", str(config))
    assert "timeout" in message


def test_an_error_found_late_still_names_where_the_value_came_from(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text('proxy = "nix://h:1"')
    for command in ((), ("check",)):
        assert "x.toml: proxy: unknown proxy scheme" in fails(2, "-c", str(config), *command)
        assert fails(2, "-x", "nix://h:1", *command).startswith("-x: unknown")
        assert fails(2, "-i", "nix0", *command) == "-i: there is no network device 'nix0'"
        assert fails(2, "-u", ":", *command) == "-u: expected [USER][:[GROUP]]"


def test_what_a_plugin_finds_wrong_with_its_settings_names_the_file(tmp_path: Path) -> None:
    config, none = tmp_path / "x.toml", tmp_path / "none"
    for text, message in (
        ("", "restapi: others can reach 0.0.0.0:1, so a token is needed"),
        ("api_via_proxy = true", "api_via_proxy: every client of the proxy could"),
        ("[rest_api]\ntoken = 'a b'", "rest_api.token: a token has visible ASCII"),
        (f"api_token_file = '{none}'", f"api_token_file: {none}: No such file or directory"),
        ("api_token_file = '/dev/null'", "api_token_file: /dev/null: the first line is empty"),
    ):
        config.write_text(f"restapi = '0.0.0.0:1'\n{text}")
        assert fails(2, "-c", "x.toml", "check", cwd=tmp_path).startswith(f"x.toml: {message}")
    config.write_text(f"api_token_file = '{none}'")
    assert fails(2, "-c", str(config), "ctl", "stats").startswith(f"{config}: api_token_file: ")
    assert fails(2, "--api", "0.0.0.0:1", "check").startswith("--api: others can reach")


def test_settings_of_a_disabled_plugin_are_warned_of() -> None:
    done = run("--no-plugin", "forward", "-f", "127.0.0.1:1", "check")
    assert done.returncode == 0
    assert "plugin 'forward' is disabled" in done.stderr


def write_command(folder: Path, add: str) -> str:
    """A plugin file whose subcommand is made by *add*, a line with ``commands``; returns its path."""
    path = folder / "extra.py"
    path.write_text(
        "from neosocksd_core import hookimpl\n"
        "@hookimpl\n"
        f"def register_commands(commands):\n    command = commands.add_parser('extra')\n    {add}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        ("pass", "the command 'extra' has nothing to run (set_defaults is missing)"),
        (
            "command.set_defaults(run=lambda _: 'done')",
            "the command's function gave str, expected an exit status",
        ),
        (
            "command.add_argument('--user')",
            "the command 'extra' cannot have the flag --user, it is a setting's",
        ),
    ],
)
def test_a_plugins_subcommand_that_cannot_work_is_one_line(
    tmp_path: Path, add: str, message: str
) -> None:
    assert fails(2, "--plugin", write_command(tmp_path, add), "extra") == message


def test_a_percent_sign_in_a_plugins_help_is_shown(tmp_path: Path) -> None:
    plugin = tmp_path / "extra.py"
    plugin.write_text(
        "from typing import Annotated\n"
        "from neosocksd_core import CompoundFlag, Option, Section, hookimpl\n"
        "from pydantic import Field\n"
        "class Settings(Section):\n"
        "    compound_flags = (CompoundFlag(('--both',), 'TEXT', 'refuse 5 % sooner', dict),)\n"
        "    wait: Annotated[int, Option(('--wait',))] = Field(1, description='as %(text)s, 6 %')\n"
        "@hookimpl\n"
        "def config_model():\n    return Settings\n"
        "@hookimpl\n"
        "def register_commands(commands):\n"
        "    command = commands.add_parser('extra', help='show 7 % so', description='8 % so')\n"
        "    command.add_argument('--much', default=9, help='10 % so, 11%% (%(default)s)')\n"
    )
    shown = run("--plugin", str(plugin), "--help").stdout
    for text in ("refuse 5 % sooner", "as %(text)s, 6 % (default 1)", "show 7 % so"):
        assert text in shown
    own = run("--plugin", str(plugin), "extra", "--help").stdout
    assert "8 % so" in own
    assert "10 % so, 11% (9)" in own
    assert run("--plugin", str(plugin), "completion", "zsh").returncode == 0


@pytest.mark.parametrize(("value", "status"), [("None", 0), ("0", 0), ("False", 0), ("7", 7)])
def test_a_plugins_subcommand_gives_the_exit_status(
    tmp_path: Path, value: str, status: int
) -> None:
    plugin = write_command(tmp_path, f"command.set_defaults(run=lambda _: {value})")
    assert run("--plugin", plugin, "extra").returncode == status


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--plugin", "the core and plugin 'extra' both claim the flag '--plugin'"),
        ("--help", "the core and plugin 'extra' both claim the flag '--help'"),
        ("--timeout", "the core and plugin 'extra' both claim the flag '--timeout'"),
        ("wait", "plugin 'extra': 'wait' is not a flag, expected --NAME or -N"),
        ("--wait for", "plugin 'extra': '--wait for' is not a flag, expected --NAME or -N"),
    ],
)
def test_a_plugins_flag_that_cannot_be_is_one_line(tmp_path: Path, flag: str, message: str) -> None:
    plugin = tmp_path / "extra.py"
    plugin.write_text(
        "from typing import Annotated\n"
        "from neosocksd_core import Option, Section, hookimpl\n"
        "class Settings(Section):\n"
        f"    wait: Annotated[int, Option(({flag!r},))] = 1\n"
        "@hookimpl\n"
        "def config_model():\n    return Settings\n"
    )
    assert fails(2, "--plugin", str(plugin), "check") == message


def test_a_plugin_that_fails_when_the_loop_runs_is_one_line(tmp_path: Path) -> None:
    plugin = tmp_path / "late.py"
    plugin.write_text(
        "from neosocksd_core import hookimpl\n"
        "@hookimpl\n"
        "def register_services():\n    raise ValueError('not today')\n"
    )
    line = fails(2, "--plugin", str(plugin), "--listen", "127.0.0.1:0")
    assert line == "plugin 'late': register_services failed: ValueError: not today"
