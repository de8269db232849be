"""The installed command ``neosocksd`` as a test runs it: once to its end, or serving while the test goes on."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from neosocksd_core.addresses import SocketAddress, parse_address
from neosocksd_core.testing import Client
from neosocksd_core.testing.closing import Closing

COMMAND = Path(sys.executable).with_name("neosocksd")

PATIENCE = 30.0
"""Seconds after which something that should happen at once is given up."""

LOOKS = 50_000
"""So many looks at a process take seconds."""

_PROC = Path("/proc")


def environment(**environ: str) -> dict[str, str]:
    """This process's environment without settings of the command, and with *environ*."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NEOSOCKSD_")}
    return clean | environ


def run(
    *arguments: str, cwd: Path | None = None, prefix: Sequence[str] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. *prefix* is the command that runs the command."""
    return subprocess.run(
        [*prefix, COMMAND, *arguments],
        env=environment(**environ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def fails(
    status: int,
    *arguments: str,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
    **environ: str,
) -> str:
    """Run what must fail with *status*; returns its one line."""
    done = run(*arguments, cwd=cwd, prefix=prefix, **environ)
    assert done.returncode == status, done
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("neosocksd: ")
    return line.removeprefix("neosocksd: ")


class Command(Closing):
    """A command that serves, in a process of its own, and what it has logged."""

    def __init__(
        self,
        *flags: str,
        listen: str | None = "127.0.0.1:0",
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it, and wait until it listens: at *listen*, or where its configuration says."""
        place = () if listen is None else ("--listen", listen)
        self.process = subprocess.Popen(
            [*prefix, COMMAND, *place, *flags],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment(),
        )
        self.lines: list[str] = []
        self._seen = 0
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.addresses = self.wait_for("listening on ").rstrip('"}').split(", ")
        except BaseException:
            self.close()
            raise
        first = parse_address(self.addresses[0])
        self.address: SocketAddress = (first.host, first.port)

    def wait_for(self, text: str) -> str:
        """Wait for a further line of the log with *text*; returns what follows it there."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._advance(text) or self._ended, PATIENCE)
            if not found or text not in self.lines[self._seen - 1]:
                raise AssertionError(f"{text!r} was not logged: {self.lines}")
            return self.lines[self._seen - 1].partition(text)[2]

    def _advance(self, text: str) -> bool:
        """Step over the line with *text*, if it has come; else over all lines."""
        while self._seen < len(self.lines):
            self._seen += 1
            if text in self.lines[self._seen - 1]:
                return True
        return False

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal, and wait for the end; returns the exit status."""
        self.send_signal(number)
        return self.wait()

    def request(self, target: SocketAddress) -> Client:
        """A SOCKS5 client that has asked for *target*, and has not looked at the answer."""
        client = Client(self.address)
        client.send(socks5_request(target))
        return client

    def open(self, target: SocketAddress) -> Client:
        """A session with *target*."""
        client = self.request(target)
        client.expect(b"\x05\x00\x05\x00\x00\x01")
        client.receive(6)
        return client

    # what the system says of the process

    @property
    def proc(self) -> Path:
        """Its folder in ``/proc``."""
        return _PROC / str(self.process.pid)

    def socket_inodes(self) -> set[str]:
        """The numbers of its open sockets, as the tables in ``/proc/net`` have them."""
        found: set[str] = set()
        for descriptor in (self.proc / "fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        return found

    def descriptors(self) -> list[int]:
        """The numbers of its open descriptors."""
        return [int(n) for n in os.listdir(self.proc / "fd")]

    def limit_descriptors(self, count: int) -> None:
        """Set the limit of its descriptors."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (count, hard))

    def memory(self) -> int:
        """The resident memory in bytes."""
        pages = (self.proc / "statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def wait_asleep(self) -> None:
        """Wait until it rests, with nothing left to do: whoever turns round and round never does."""
        before = None
        for _ in range(LOOKS):
            stat = (self.proc / "stat").read_text().rpartition(")")[2].split()
            status = (self.proc / "status").read_text()
            now = re.findall(r"ctxt_switches:\t(\d+)", status)
            if stat[0] == "S" and now == before:
                return
            before = now
            os.sched_yield()
        raise AssertionError("it never rests")

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def greet(address: str) -> bytes:
    """What a SOCKS5 server at *address* answers to a client's first message."""
    with connect(address) as client:
        client.sendall(b"\x05\x01\x00")
        return client.recv(2)


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), 10)


def socks5_request(target: SocketAddress) -> bytes:
    """A greeting without authentication, and a request for an IPv4 address."""
    host = bytes(map(int, target[0].split(".")))
    return b"\x05\x01\x00\x05\x01\x00\x01" + host + target[1].to_bytes(2, "big")
