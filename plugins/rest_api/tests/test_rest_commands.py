"""``neosocksd ctl`` and ``neosocksd top``: the installed command against a running server."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from neosocksd_core.statistics import Latency
from neosocksd_core.testing import DEADLINE, Client, Connection, EchoServer, RunningServer, Serve
from neosocksd_rest_api.amounts import (
    bars,
    bytes_text,
    duration_text,
    latency_text,
    parse_filter,
    printable,
    rate_text,
)
from neosocksd_rest_api.board import Board
from neosocksd_rest_api.client import ApiClient, ApiError
from neosocksd_rest_api.models import stats_of
from neosocksd_rest_api.screen import figures

COMMAND = Path(sys.executable).with_name("neosocksd")
PATIENCE = 3 * DEADLINE
RULESET = "local ruleset = {}\nreturn ruleset\n"


def clean(environ: dict[str, str]) -> dict[str, str]:
    """This environment without settings of the command, and *environ*."""
    return {k: v for k, v in os.environ.items() if not k.startswith("NEOSOCKSD_")} | environ


def run(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        env=clean(environ),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def ctl(api: str, *arguments: str, stdin: bytes = b"", **environ: str) -> str:
    """What the command prints when all is well."""
    done = run("--api", api, "ctl", *arguments, stdin=stdin, **environ)
    assert (done.returncode, done.stderr.decode()) == (0, "") or arguments[0] == "sessions"
    assert done.returncode == 0
    return done.stdout.decode()


def refused(api: str, *arguments: str, stdin: bytes = b"", **environ: str) -> str:
    """The one line that the command says when it fails."""
    done = run("--api", api, "ctl", *arguments, stdin=stdin, **environ)
    assert (done.returncode, done.stdout) == (1, b"")
    line = done.stderr.decode()
    assert line.startswith("neosocksd: ")
    assert line.count("\n") == 1
    return line


def free_address() -> str:
    """An address of this machine where nobody listened just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def open_session(server: RunningServer, target: tuple[str, int], user: bytes = b"") -> Connection:
    """A client whose request was granted."""
    client = Client(server.address)
    if user:
        client.send(b"\x05\x01\x02")
        client.expect(b"\x05\x02")
        client.send(b"\x01" + bytes([len(user)]) + user + b"\x01x")
        client.expect(b"\x01\x00")
    else:
        client.send(b"\x05\x01\x00")
        client.expect(b"\x05\x00")
    client.send(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target[1].to_bytes(2, "big"))
    assert client.receive(10)[:2] == b"\x05\x00"
    return client


@pytest.fixture
def api(tmp_path: Path) -> str:
    """The address of the API: a Unix socket."""
    return f"unix:{tmp_path / 'api'}"


@pytest.fixture
def server(serve: Serve, api: str) -> RunningServer:
    return serve(
        {"listen": "127.0.0.1:0", "rest_api": {"listen": [api]}}, plugins=["socks5", "rest_api"]
    )


@pytest.fixture
def clients(server: RunningServer, echo: EchoServer) -> Generator[list[Connection]]:
    """Sessions of alice, of bob, and of nobody."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(open_session(server, echo.address, user))
            for user in (b"alice", b"bob", b"")
        ]


def test_sessions_are_listed_for_people_and_for_programs(
    api: str, clients: list[Connection], echo: EchoServer
) -> None:
    clients[0].send(b"x" * 2000)
    clients[0].expect(b"x" * 2000)
    lines = ctl(api, "sessions").splitlines()
    assert lines[0].split()[:5] == ["ID", "CLIENT", "USER", "TARGET", "CHAIN"]
    assert len(lines) == 4
    (alice,) = (line.split() for line in lines if "alice" in line)
    assert alice[3] == f"127.0.0.1:{echo.port}"
    assert alice[7:11] == ["2.00", "kB", "2.00", "kB"]
    listed = json.loads(ctl(api, "sessions", "user:bob", "--json"))
    assert (listed["total"], listed["matched"]) == (3, 1)
    assert listed["sessions"][0]["user"] == "bob"


def test_a_session_is_closed_by_its_number_and_the_others_stay(
    api: str, clients: list[Connection]
) -> None:
    listed = json.loads(ctl(api, "sessions", "user:alice", "--json"))
    number = str(listed["sessions"][0]["id"])
    assert "1 of 2 closed" in refused(api, "kill", "99999", number, number)
    clients[0].expect_closed()
    clients[1].send(b"still here")
    clients[1].expect(b"still here")


def test_sessions_are_closed_by_a_filter_and_all_of_them_by_request_only(
    api: str, clients: list[Connection]
) -> None:
    assert json.loads(ctl(api, "kill", "user:bob", "--json")) == {"closed": 1}
    clients[1].expect_closed()
    assert "give --all" in refused(api, "kill")
    assert "give --all" in refused(api, "kill", "--all", "1")
    assert "0 of 1 closed: there is no such session" in refused(api, "kill", "99999")
    assert "not both" in refused(api, "kill", "1", "user:alice")
    assert ctl(api, "kill", "--all") == "2 closed\n"
    clients[0].expect_closed()
    clients[2].expect_closed()


def test_statistics_are_printed_as_text_and_as_json(api: str, server: RunningServer) -> None:
    text = ctl(api, "stats")
    assert "Num Sessions        : 0 (+0) peak=0\n" in text
    assert json.loads(ctl(api, "stats", "--json"))["num_sessions"] == 0


def test_an_api_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    address = free_address()
    for call in ("stats", "sessions", "reload", "gc", "invoke"):
        assert refused(address, call) == f"neosocksd: no API at {address}: Connection refused\n"
    assert "No such file" in refused(f"unix:{tmp_path / 'none'}", "stats")


def test_what_answers_but_is_not_the_api_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with subprocess.Popen(
            [COMMAND, "--api", address, "ctl", "stats", "--json"],
            stderr=subprocess.PIPE,
            env=clean({}),
        ) as command:
            with listener.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(b"220 mail.example\r\n")
            assert command.stderr is not None
            line = command.stderr.read().decode()
        assert command.returncode == 1
        assert line.startswith(f"neosocksd: the API at {address}: ")
        assert line.count("\n") == 1


def test_the_token_comes_from_flag_environment_or_file(serve: Serve, tmp_path: Path) -> None:
    api = free_address()
    serve(
        {"listen": "127.0.0.1:0", "rest_api": {"listen": [api], "token": "s3cret"}},
        plugins=["socks5", "rest_api"],
    )
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert "wants a token" in refused(api, "stats")
    assert "does not take this token" in refused(api, "stats", "--api-token", "wrong")
    assert "Uptime" in ctl(api, "stats", "--api-token", "s3cret")
    assert "Uptime" in ctl(api, "stats", NEOSOCKSD_API_TOKEN="s3cret")
    assert "Uptime" in ctl(api, "stats", "--api-token-file", str(file))


class Daemon:
    """The installed command, serving with a ruleset and a configuration file."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.ruleset = directory / "ruleset.lua"
        self.ruleset.write_text(RULESET)
        self.config = directory / "config.toml"
        self.api = f"unix:{directory / 'api'}"
        self.config.write_text(
            f'listen = "127.0.0.1:0"\n[rest_api]\nlisten = ["{self.api}"]\n'
            f'[lua_ruleset]\nruleset = "{self.ruleset}"\n'
        )
        self.process = subprocess.Popen(
            [COMMAND, "-c", self.config, "--loglevel", "5"],
            stderr=subprocess.PIPE,
            env=clean(environment),
        )
        assert self.process.stderr is not None
        while b"listening" not in (line := self.process.stderr.readline()):
            assert line, "the server has ended"

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def daemon(tmp_path: Path) -> Generator[Daemon]:
    daemon = Daemon(tmp_path)
    try:
        yield daemon
    finally:
        daemon.stop()


def test_a_ruleset_is_driven_by_files_and_by_standard_input(daemon: Daemon, tmp_path: Path) -> None:
    api = daemon.api
    assert ctl(api, "invoke", stdin=b"_G.seen = 1") == ""
    script = tmp_path / "script.lua"
    script.write_text("assert(seen == 1, 'not seen')")
    assert ctl(api, "invoke", str(script)) == ""
    assert "boom" in refused(api, "invoke", "-", stdin=b"error('boom')")
    assert "missing.lua" in refused(api, "invoke", str(tmp_path / "missing.lua"))
    assert ctl(api, "update", str(daemon.ruleset)).startswith("Time Cost")
    assert "Time Cost" in json.loads(ctl(api, "update", "--json", stdin=RULESET.encode()))
    script.write_text("local = 1")
    assert "script.lua:1:" in refused(api, "update", str(script))
    assert ctl(api, "update", "--module", "extra", stdin=b"return { x = 1 }")
    assert ctl(api, "invoke", stdin=b"assert(require('extra').x == 1)") == ""
    assert "Ruleset Allocated" in ctl(api, "gc")
    assert "Time Cost" in json.loads(ctl(api, "gc", "--json"))


def test_the_log_begins_with_what_is_odd_about_the_configuration(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, NEOSOCKSD_NONSENSE="1")
    try:
        transport = httpx.HTTPTransport(uds=daemon.api.removeprefix("unix:"))
        with httpx.Client(transport=transport, base_url="http://localhost") as api:
            first, second, *_ = api.get("/v1/log").json()["events"]
    finally:
        daemon.stop()
    assert "NEOSOCKSD_NONSENSE" in first["message"]
    assert second["message"].startswith("listening on ")


def test_a_reload_says_what_is_wrong(daemon: Daemon) -> None:
    assert ctl(daemon.api, "reload") == "reloaded\n"
    daemon.ruleset.write_text("return foo bar")
    assert "ruleset.lua:1:" in refused(daemon.api, "reload")
    daemon.ruleset.write_text(RULESET)
    assert ctl(daemon.api, "reload") == "reloaded\n"


def test_the_servers_own_configuration_file_says_where_the_api_is(daemon: Daemon) -> None:
    done = run("-c", str(daemon.config), "ctl", "reload")
    assert (done.returncode, done.stdout) == (0, b"reloaded\n")


class Terminal:
    """The command on a terminal of 80 columns and 24 lines."""

    def __init__(self, *arguments: str, kind: str = "xterm") -> None:
        self._ours, theirs = pty.openpty()
        self._set_size(24, 80)
        self.shown = b""
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=clean({"TERM": kind}),
        )
        os.close(theirs)

    def resize(self, lines: int, columns: int) -> None:
        self._set_size(lines, columns)
        self.process.send_signal(signal.SIGWINCH)  # it is not the command's controlling terminal

    def _set_size(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait_for(self, text: bytes) -> None:
        """Wait until *text* is drawn after what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            assert self._read(), f"the command has ended: {self.shown!r}"
        self.shown = self.shown.partition(text)[2]

    def finish(self) -> tuple[int, bytes]:
        """Wait for the end; the exit status, and what went to standard error."""
        while self._read():
            pass
        assert self.process.stderr is not None
        return self.process.wait(PATIENCE), self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self._ours)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has the other side open
            return False
        self.shown += data
        return bool(data)


@pytest.fixture
def terminal() -> Generator[Callable[..., Terminal]]:
    with ExitStack() as stack:

        def start(*arguments: str, kind: str = "xterm") -> Terminal:
            terminal = Terminal(*arguments, kind=kind)
            stack.callback(terminal.close)
            return terminal

        yield start


def test_top_shows_filters_and_closes_sessions(
    api: str, clients: list[Connection], terminal: Callable[..., Terminal], echo: EchoServer
) -> None:
    top = terminal("top", "--api", api)
    top.wait_for(b"peak 3")
    top.wait_for(f"127.0.0.1:{echo.port}".encode())
    top.press(b"k")
    top.wait_for(b"no session is selected")
    top.press(b"/")
    top.wait_for(b"filter: ")
    top.press(b"user:bob\r")
    top.wait_for(b"1 of 3")
    top.press(b"\x1bOB")
    top.press(b"k")
    clients[1].expect_closed()
    top.wait_for(b"0 of 2")
    clients[0].send(b"still here")
    clients[0].expect(b"still here")
    top.resize(40, 150)
    top.wait_for(b"CHAIN")
    top.resize(5, 20)
    top.wait_for(b"Too small")
    top.press(b"q")
    assert top.finish() == (0, b"")


def test_top_needs_no_colours_and_little_room(
    api: str, clients: list[Connection], terminal: Callable[..., Terminal], echo: EchoServer
) -> None:
    top = terminal("top", "--api", api, kind="vt100")
    top.wait_for(b"peak 3")
    top.resize(12, 44)
    top.wait_for(f"127.0.0.1:{echo.port}".encode())
    top.press(b"q")
    assert top.finish() == (0, b"")


def test_latencies_of_dials_and_of_names_fit_beside_each_other(server: RunningServer) -> None:
    latency = Latency(3, 3.0, (0.1, 0.2, 0.3))
    board = Board()
    board.stats = stats_of(
        replace(server.statistics(), connect_latency=latency, dns_latency=latency)
    )
    narrow, wide = ("\n".join(figures(board, width)) for width in (80, 120))
    assert "DNS P50 200 ms  P99 300 ms" in "\n".join(line[:80] for line in narrow.splitlines())
    assert "MAX" not in narrow
    assert "DNS P50 200 ms  P99 300 ms  MAX 300 ms" in wide


def test_top_ends_when_the_server_goes(
    api: str, server: RunningServer, terminal: Callable[..., Terminal]
) -> None:
    top = terminal("top", "--api", api)
    top.wait_for(b"No sessions.")
    server.stop()
    assert top.finish() == (0, b"neosocksd top: the server has gone, or wants another token\n")


def test_top_without_a_terminal_or_an_api_says_so() -> None:
    done = run("top")
    assert done.returncode == 1
    assert b"top needs a terminal" in done.stderr
    with pytest.raises(ApiError, match="Connection refused"):
        ApiClient(free_address()).events()


@pytest.mark.parametrize("address", ["", "nowhere", "h:x", "[::1:80", "127.0.0.1:99999"])
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(ApiError):
        ApiClient(address).json("GET", "/v1/stats")


def test_a_token_that_no_header_can_carry_is_refused() -> None:
    for token in ("a\nb", "\xe4"):
        with pytest.raises(ApiError, match="token"):
            ApiClient("127.0.0.1:1", token)


def test_amounts_are_short_and_exact() -> None:
    assert [bytes_text(n) for n in (0, 999, 1000, 12_345, 999_600, 5e9)] == [
        "0 B", "999 B", "1.00 kB", "12.3 kB", "1.00 MB", "5.00 GB"
    ]  # fmt: skip
    assert (rate_text(0), rate_text(1500)) == ("-", "1.50 kB/s")
    assert [duration_text(n) for n in (0, 61, 3660, 90_000)] == ["0s", "1m01s", "1h01m", "1d01h"]
    latencies = (None, 3.09e-5, 0.0009996, 0.00416, 0.0123, 0.9994, 0.9996, 2.0)
    assert [latency_text(n) for n in latencies] == [
        "-", "31 µs", "1.00 ms", "4.16 ms", "12.3 ms", "999 ms", "1.00 s", "2.00 s"
    ]  # fmt: skip
    assert printable("a\x1b[2Jb") == "a\N{REPLACEMENT CHARACTER}[2Jb"
    assert bars([0, 1, 2]) == " ▄█"


def test_a_filter_names_fields_and_the_rest_is_one_text() -> None:
    query: dict[str, Any] = parse_filter(["user:al", "two", "words", "x:1"])
    assert query == {"user": "al", "q": "two words x:1"}
    assert parse_filter([]) == {}
