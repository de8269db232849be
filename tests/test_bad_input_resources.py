"""Where resources run out, peers misbehave and signals come: the rows R-, U- and G- of the specification, on the installed command.

What needs no process of its own is told of in ``tests/core``: R-3 and the counters of R-4 in ``test_listener`` and ``test_limits``, U-1, U-2 and
R-6 in ``test_relay``, U-4 and U-10 in ``test_connect``, U-6 and U-8 in ``test_dial``, U-5 and U-9 in ``tests/test_bad_input_dns``.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import neosocksd_core
from neosocksd_core.addresses import SocketAddress
from neosocksd_core.testing import Client, Connection, EchoServer, Peer, RunningServer
from tests.command import COMMAND, LOOKS, Command, socks5_request

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, and limits another process"
)

L = b"\x7f\x00\x00\x01"


Run = Callable[..., Command]


@pytest.fixture
def run() -> Generator[Run]:
    with ExitStack() as stack:
        yield lambda *flags, **options: stack.enter_context(Command(*flags, **options))


def echoes(client: Client, data: bytes = b"ping") -> None:
    client.send(data)
    client.expect(data)


# R: resources


def test_r1_without_descriptors_living_sessions_are_served_and_others_later(
    run: Run, echo: EchoServer
) -> None:
    command = run("--drain", "0")
    command.limit_descriptors(64)
    with command.open(echo.address) as living:
        echoes(living)
        waiting = [Client(command.address) for _ in range(200)]
        command.wait_for("cannot accept")
        for _ in range(50):
            echoes(living)
        command.wait_asleep()  # while 150 clients knock
        command.wait_for("cannot accept")  # at an attempt after a pause
        for client in waiting:
            client.close()
        with command.open(echo.address) as late:
            echoes(late)
        echoes(living)
    assert sum("cannot accept" in line for line in command.lines) <= 5
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0


def test_r1_with_few_descriptors_clients_wait_and_each_is_served(
    run: Run, echo: EchoServer
) -> None:
    """Who is let in needs a second descriptor for its upstream: no more are let in than there are such."""
    command = run("--drain", "0")
    command.limit_descriptors(40)
    clients = [Client(command.address) for _ in range(60)]
    for client in clients:
        client.send(socks5_request(echo.address) + b"question")
    for client in clients:
        client.expect(b"\x05\x00\x05\x00\x00\x01")
        client.receive(6)
        client.expect(b"question")
        client.close()


def leave_free(command: Command, count: int) -> list[Client]:
    """Leave the command *count* descriptors; returns clients that hold those in between."""
    fillers: list[Client] = []
    limit = max(command.descriptors()) + 1 + count
    while limit - len(command.descriptors()) > count:
        before = len(command.descriptors())
        fillers.append(Client(command.address))
        while len(command.descriptors()) == before:
            pass
    command.limit_descriptors(limit)
    return fillers


@pytest.mark.parametrize("target", ["literal", "name"])
def test_r2_without_a_descriptor_for_the_upstream_the_client_is_told(
    run: Run, echo: EchoServer, target: str
) -> None:
    command = run("--drain", "0")
    fillers = leave_free(command, 1)
    if target == "literal":
        client = command.request(echo.address)
        client.expect(b"\x05\x00\x05\x01")
    else:
        client = Client(command.address)
        client.send(b"\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50")
        client.expect(b"\x05\x00\x05")
    with client:
        client.receive_all()
    for filler in fillers:
        filler.close()
    command.limit_descriptors(256)
    with command.open(echo.address) as later:
        echoes(later)


def test_r2_without_a_descriptor_for_a_pipe_bytes_pass_all_the_same(
    run: Run, echo: EchoServer
) -> None:
    command = run("--drain", "0")
    fillers = leave_free(command, 2)
    with command.open(echo.address) as client:
        echoes(client, b"x" * 10_000)
    for filler in fillers:
        filler.close()


def test_r4_beyond_the_limits_clients_are_refused_and_counted(run: Run, echo: EchoServer) -> None:
    command = run("--max-startups", "10:30:20", "-m", "22", "--drain", "0")
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(command.open(echo.address))
        flood = [stack.enter_context(Client(command.address)) for _ in range(100)]
        for client in flood:
            client.socket.settimeout(0)
        refused = 0
        late = stack.enter_context(Client(command.address))
        late.expect_closed()
        for client in flood:
            with suppress(BlockingIOError, ConnectionResetError):
                refused += client.socket.recv(1) == b""
        assert refused >= 100 - 17


def test_r5_a_flood_of_half_open_clients_keeps_nobody_else_out(
    serve: Callable[..., RunningServer], echo: EchoServer
) -> None:
    server = serve(plugins=["socks5"])
    flood = [Client(server.address) for _ in range(300)]
    for client in flood[::2]:
        client.send(b"\x05")
    for _ in range(20):
        with Client(server.address) as client:
            client.send(b"\x05\x01\x00\x05\x01\x00\x01" + L + echo.port.to_bytes(2, "big"))
            client.expect(b"\x05\x00\x05\x00\x00\x01" + L)
            client.receive(2)
            echoes(client)
    assert server.statistics().num_halfopen == 300
    for client in flood:
        client.close()
    assert server.wait_idle().num_accept == 320


def test_r6_r7_peers_that_do_not_read_cost_neither_memory_nor_time(run: Run) -> None:
    command = run("--drain", "0")
    with ExitStack() as stack, Peer() as peer:
        with command.open(peer.address) as first, peer.accept() as upstream:
            upstream.send(b"x" * 100_000)
            first.receive(100_000)
        before = command.memory()
        for _ in range(8):
            stack.enter_context(command.open(peer.address))
            upstream = stack.enter_context(peer.accept())
            fill(upstream, command)
        assert command.memory() - before < 8 * 256 * 1024


def fill(sender: Connection, command: Command) -> None:
    """Send until the command takes no more, and rests."""
    sender.socket.settimeout(0)
    sent = 1
    while sent:
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += sender.socket.send(bytes(1 << 20))
        command.wait_asleep()


def test_r8_thousands_of_sessions_leave_nothing(run: Run, echo: EchoServer) -> None:
    command = run("--drain", "0")

    def many(count: int) -> None:
        for number in range(count):
            with command.open(echo.address) as client:
                echoes(client)
                if number % 7 == 0:
                    client.reset()

    many(500)
    memory, descriptors = command.memory(), len(command.descriptors())
    many(1500)
    assert command.memory() - memory < 1 << 20
    with command.open(echo.address) as client:
        echoes(client)
        while len(command.descriptors()) > descriptors + 2:
            echoes(client)


def test_r9_a_log_on_a_full_disk_stops_nobody(echo: EchoServer) -> None:
    with Peer() as peer:
        address = peer.address
    with open("/dev/full", "wb") as full:
        command = [COMMAND, "-l", f"127.0.0.1:{address[1]}", "--loglevel", "8", "--drain", "0"]
        with subprocess.Popen([str(word) for word in command], stderr=full) as process:
            client = connect_when_ready(address)
            with client:
                client.send(socks5_request(echo.address))
                client.receive(12)
                echoes(client)
            process.terminate()
        assert process.returncode == 0


def connect_when_ready(address: SocketAddress) -> Client:
    """Connect to a server that is about to listen and cannot say when it does."""
    for _ in range(LOOKS):
        with suppress(OSError):
            return Client(address)
        os.sched_yield()
    raise AssertionError(f"nobody listens at {address}")


@pytest.mark.parametrize("hours", [1, -1])
def test_r10_a_step_of_the_clock_changes_no_time_limit(
    serve: Callable[..., RunningServer],
    echo: EchoServer,
    hours: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(plugins=["socks5"])
    with Client(server.address) as living, Client(server.address) as waiting:
        living.send(socks5_request(echo.address))
        living.receive(12)
        waiting.send(b"\x05\x01")
        server.wait_until(lambda s: s.num_halfopen == 1)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
        echoes(living)
        assert server.statistics().num_halfopen == 1
        assert 0 <= server.statistics().uptime < 600
        assert all(0 <= session.age < 600 for session in server.sessions())
        server.shorten_timeout(0.05)
        waiting.expect_eof()
        echoes(living)
    assert server.wait_idle().num_reject_timeout == 1


def test_r10_nothing_that_limits_time_reads_the_wall_clock() -> None:
    """But for its time stamps, the core asks the monotonic clock alone."""
    found = {
        path.name
        for path in Path(neosocksd_core.__file__).parent.rglob("*.py")
        if re.search(r"\btime\.time\(|\bdatetime\b|\bperf_counter\b", path.read_text())
    }
    assert found == set()


# G: signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_g1_an_idle_command_ends_with_status_0(run: Run, number: signal.Signals) -> None:
    command = run()
    command.send_signal(number)
    assert command.wait() == 0


def test_g1_with_sessions_and_no_drain_it_ends_at_once(run: Run, echo: EchoServer) -> None:
    command = run("--drain", "0")
    clients = [command.open(echo.address) for _ in range(100)]
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0
    for client in clients:
        client.expect_closed()
        client.close()


def test_g1_sessions_are_given_their_time_and_a_second_signal_ends_that(
    run: Run, echo: EchoServer
) -> None:
    command = run("--drain", "3600")
    with command.open(echo.address) as ending, command.open(echo.address) as staying:
        command.send_signal(signal.SIGTERM)
        command.wait_for("stopping")
        echoes(ending)
        ending.finish()
        ending.expect_eof()
        echoes(staying)
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 0
        staying.expect_closed()


def test_g1_hundreds_of_sessions_end_with_the_command(run: Run, echo: EchoServer) -> None:
    command = run("--drain", "0")
    clients = [command.open(echo.address) for _ in range(400)]
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0
    for client in clients:
        client.expect_closed()
        client.close()


def test_g1_a_stop_amid_reloads_is_a_stop(run: Run, echo: EchoServer) -> None:
    command = run("--drain", "0")
    with command.open(echo.address) as client:
        for _ in range(50):
            command.send_signal(signal.SIGHUP)
        command.send_signal(signal.SIGTERM)
        command.send_signal(signal.SIGHUP)
        assert command.wait() == 0
        client.expect_closed()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can replace a system's name server")
def test_g1_names_that_never_resolve_hold_nothing_up(run: Run, tmp_path: Path) -> None:
    """The system's resolver blocks a thread for as long as its name server is silent."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.153\noptions timeout:30\n")
    hosts_only = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", hosts_only, str(resolv_conf))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, ExitStack() as stack:
        silent.bind(("127.0.0.153", 53))
        command = run("--drain", "0", prefix=prefix)
        for number in range(30):
            client = stack.enter_context(Client(command.address))
            name = b"name%d.example" % number
            client.send(b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50")
            client.expect(b"\x05\x00")
        assert silent.recv(512)  # the first of them is being asked for
        assert command.stop() == 0


def test_g1_a_name_that_is_being_looked_up_does_not_keep_the_command(run: Run) -> None:
    command = run("--drain", "0")
    with Client(command.address) as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x03\x0fnowhere.invalid\x00\x50")
        client.expect(b"\x05\x00")
        command.send_signal(signal.SIGTERM)
        assert command.wait() == 0


def test_g2_a_thousand_reloads_and_a_broken_file_fail_no_session(
    run: Run, echo: EchoServer, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("dial_timeout = 5\n")
    command = run("-c", str(file), "--drain", "0")
    with command.open(echo.address) as living:
        for number in range(1000):
            command.send_signal(signal.SIGHUP)
            if number % 50 == 0:
                with command.open(echo.address) as client:
                    echoes(client)
        command.wait_for("reloaded")
        file.write_text("dial_timeout = [\n")
        command.send_signal(signal.SIGHUP)
        command.wait_for("not reloaded")
        file.write_text("nonsense = 1\n")
        command.send_signal(signal.SIGHUP)
        command.wait_for("nonsense")
        echoes(living)
        with command.open(echo.address) as client:
            echoes(client)
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0


def test_g3_signals_without_a_meaning_end_nothing(run: Run, echo: EchoServer) -> None:
    command = run("--drain", "0")
    with command.open(echo.address) as living:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            command.send_signal(number)
            echoes(living)
        command.send_signal(signal.SIGSTOP)
        living.send(b"while it rests")
        command.send_signal(signal.SIGCONT)
        living.expect(b"while it rests")
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 0


def test_g4_after_a_kill_a_restart_binds_at_once(run: Run, echo: EchoServer) -> None:
    command = run()
    with command.open(echo.address) as client:
        echoes(client)
        command.send_signal(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
        client.expect_closed()
    again = run(listen=f"127.0.0.1:{command.address[1]}")
    with again.open(echo.address) as client:
        echoes(client)


# U: upstreams


def test_u1_an_upstream_that_is_killed_in_a_transfer_leaves_nothing_behind(run: Run) -> None:
    command = run("--drain", "0")
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "c = s.accept()[0]\n"
        "while True: c.sendall(bytes(65536))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as upstream:
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        descriptors = len(command.descriptors())
        with command.open(("127.0.0.1", port)) as client:
            client.receive(1 << 20)
            upstream.kill()
            with suppress(ConnectionResetError):
                while client.socket.recv(1 << 20):
                    pass
    with Client(command.address) as control:
        control.send(b"\x05\x01\x00")
        control.expect(b"\x05\x00")
        while len(command.descriptors()) > descriptors + 1 + 2 * 2:  # two pipes may be kept
            pass


def test_u3_an_upstream_that_says_nothing_is_a_session_like_others(run: Run) -> None:
    command = run("--drain", "0")
    with Peer() as peer, command.open(peer.address) as client, peer.accept() as upstream:
        client.send(b"question")
        upstream.expect(b"question")
        upstream.send(b"late answer")
        client.expect(b"late answer")
