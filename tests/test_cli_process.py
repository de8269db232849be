"""The command as a process: the user that it becomes, ports that it may not have, the daemon, and reloads of its listeners."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neosocksd_core.testing import Peer
from tests.command import COMMAND, Command, fails, greet

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")

UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-net_bind_service") if os.geteuid() == 0 else ()


@pytest.mark.skipif(
    not UNPRIVILEGED.exists() or int(UNPRIVILEGED.read_text()) <= 80,
    reason="this system has no privileged ports",
)
def test_a_privileged_port_is_one_line_and_status_1() -> None:
    line = fails(1, "-l", "127.0.0.1:80", prefix=WITHOUT_PRIVILEGE)
    assert line == "cannot listen on 127.0.0.1:80: Permission denied"


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("no-such-user-here", "there is no user 'no-such-user-here'"),
        (":no-such-group", "there is no group 'no-such-group'"),
    ],
)
def test_an_unknown_user_or_group_is_one_line_that_names_where_it_was_given(
    tmp_path: Path, user: str, message: str
) -> None:
    config = tmp_path / "x.toml"
    config.write_text(f"user_name = '{user}'")
    for command in ((), ("check",)):
        assert fails(2, *command, "-u", user) == f"-u: {message}"
        assert fails(2, *command, "-c", "x.toml", cwd=tmp_path) == f"x.toml: user_name: {message}"


@needs_root
def test_a_change_of_user_that_the_system_refuses_is_one_line_and_status_1() -> None:
    prefix = ("setpriv", "--bounding-set=-setuid,-setgid")
    done = fails(1, "-l", "127.0.0.1:0", "--loglevel", "0", "-u", "nobody", prefix=prefix)
    assert done == "cannot drop privileges: Operation not permitted"


@needs_root
def test_privileges_are_dropped_once_the_sockets_are_bound() -> None:
    with Command("-u", "nobody:", "-l", "127.0.0.1:0") as command:
        status = Path(f"/proc/{command.process.pid}/status").read_text()
        assert re.search(r"^Uid:\t65534\t65534\t65534\t65534$", status, re.MULTILINE)
        assert re.search(r"^Gid:\t65534\t65534\t65534\t65534$", status, re.MULTILINE)
        assert greet(command.addresses[0]) == b"\x05\x00"
        assert command.stop() == 0


@pytest.mark.parametrize("user", ["", pytest.param("nobody:", marks=needs_root)])
@pytest.mark.parametrize(("old", "new"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_a_reload_may_widen_or_narrow_a_listener_on_its_port(
    user: str, old: str, new: str, tmp_path: Path
) -> None:
    with Peer() as peer:
        port = peer.port
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    file = tmp_path / "a.toml"
    file.write_text(f'listen = ["{old}:{port}"]\nuser_name = "{user}"\n')
    with Command("-c", "a.toml", listen=None, cwd=tmp_path) as command:
        assert command.addresses == [f"{old}:{port}"]
        with Peer() as taken:
            file.write_text(f'listen = ["{new}:{port}", "127.0.0.1:{taken.port}"]\n')
            command.send_signal(signal.SIGHUP)
            command.wait_for("not reloaded: cannot listen on")
            assert greet(f"127.0.0.1:{port}") == b"\x05\x00"
        file.write_text(f'listen = "{new}:{port}"\nuser_name = "{user}"\n')
        command.send_signal(signal.SIGHUP)
        command.wait_for("reloaded")
        assert greet(f"127.0.0.1:{port}") == b"\x05\x00"
        with socket.socket() as probe:
            assert (probe.connect_ex(("127.0.0.2", port)) == 0) == (new == "0.0.0.0")
        assert command.stop() == 0


REPORTER = """
import os
from neosocksd_core import hookimpl
from neosocksd_core.services import Service

@hookimpl
def register_services(server):
    async def run():
        with open("report", "w") as report:
            print(os.getpid(), *("%s:%d" % a[:2] for a in server.addresses), file=report)
    return [Service("reporter", run)]
"""


@contextmanager
def reporting(folder: Path, *command: str) -> Generator[tuple[int, str]]:
    """Run a command with a plugin that reports the process's number and first address; ended afterwards."""
    (folder / "reporter.py").write_text(REPORTER)
    os.mkfifo(folder / "report")
    arguments = ["--plugin", "./reporter.py", "-l", "127.0.0.1:0"]
    with subprocess.Popen([*command, *arguments], cwd=folder) as process:
        with (folder / "report").open() as report:
            number, address = report.read().split()
        try:
            yield int(number), address
        finally:
            os.kill(int(number), signal.SIGTERM)
    assert process.returncode == 0


def test_a_daemon_detaches_and_keeps_its_folder(tmp_path: Path) -> None:
    with reporting(tmp_path, str(COMMAND), "-d") as (number, address):
        assert os.getsid(number) not in (os.getsid(0), number)
        assert Path(f"/proc/{number}/cwd").readlink() == tmp_path
        for descriptor in (0, 1, 2):
            assert str(Path(f"/proc/{number}/fd/{descriptor}").readlink()) == "/dev/null"
        assert greet(address) == b"\x05\x00"


def test_a_daemon_that_cannot_start_says_so_before_it_detaches() -> None:
    with Peer() as peer:
        line = fails(1, "-d", "-l", f"127.0.0.1:{peer.port}")
    assert "in use" in line


def test_closed_standard_descriptors_do_not_become_the_log_of_a_client(tmp_path: Path) -> None:
    script = 'exec "$0" "$@" 0<&- 1>&- 2>&-'
    with reporting(tmp_path, "sh", "-c", script, str(COMMAND), "--loglevel", "8") as (_, address):
        assert greet(address) == b"\x05\x00"


def test_a_log_that_nobody_reads_does_not_stop_the_server() -> None:
    reader, writer = os.pipe()
    with Peer() as peer:
        address = f"127.0.0.1:{peer.port}"
    command = [str(COMMAND), "-l", address, "--loglevel", "8"]
    with subprocess.Popen(command, stderr=writer) as process:
        os.close(writer)
        assert b"listening on" in os.read(reader, 4096)
        os.close(reader)
        for _ in range(50):
            assert greet(address) == b"\x05\x00"
        process.terminate()
    assert process.returncode == 0
