"""Programs that a test starts: found on this machine, waited for by what they say or open, stopped and reaped.

What they print goes to a file, so nobody has to read along. Pauses between two looks at a file or a port are waits for the
program's end, which would be the news that matters more.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

LOOPBACK = "127.0.0.1"
PATIENCE = 30.0
"""Seconds after which something that should happen at once is given up."""

_LOOK_AGAIN = 0.02
_LISTENING = re.compile(r"listening on (.+)")

T = TypeVar("T")


def find(program: str) -> str:
    """The path of a peer program. Without it the test is skipped, or fails where ``REQUIRE_PEERS`` is set."""
    return look_for(program) or missing(program)


def look_for(program: str) -> str | None:
    """The path of a program, those for root among them."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing(program: str) -> str:
    """Skip the test for want of *program*, or fail it where ``REQUIRE_PEERS`` is set."""
    if os.environ.get("REQUIRE_PEERS"):
        pytest.fail(f"{program} is not installed, and REQUIRE_PEERS is set")
    pytest.skip(f"{program} is not installed")


def our_command() -> str:
    """The installed command ``neosocksd`` of the interpreter that runs the tests."""
    command = Path(sysconfig.get_path("scripts")) / "neosocksd"
    assert command.exists(), f"{command} is missing: install the project into {sys.prefix}"
    return str(command)


def free_port() -> int:
    """A port that was free just now, for programs that cannot be told to choose one."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Daemon:
    """A running program, in a process group of its own; a context manager that ends it."""

    def __init__(
        self, command: Sequence[str], output: Path, env: dict[str, str] | None = None
    ) -> None:
        self._output = output
        self.name = Path(command[0]).name
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def wait_until(self, look: Callable[[], T | None]) -> T:
        """Look until there is something to see; fail if the program ends before."""
        for _ in range(int(PATIENCE / _LOOK_AGAIN)):
            if (seen := look()) is not None:
                return seen
            try:
                status = self.process.wait(_LOOK_AGAIN)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"{self.name} ended with status {status}:\n{self.output}")
        pytest.fail(f"{self.name} is not ready:\n{self.output}")

    def wait_for(self, pattern: "str | re.Pattern[str]") -> "re.Match[str]":
        """Wait until it has printed something."""
        return self.wait_until(lambda: re.search(pattern, self.output))

    def wait_for_port(self, port: int) -> int:
        """Wait until it listens."""

        def knock() -> int | None:
            with socket.socket() as sock:
                return port if sock.connect_ex((LOOPBACK, port)) == 0 else None

        return self.wait_until(knock)

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} does not stop:\n{self.output}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)  # helpers that it has left behind
            except ProcessLookupError:
                pass
            self.process.wait()


class Neosocksd(Daemon):
    """Our own command, listening on ports of the system's choice. Its end must be a clean one."""

    def __init__(self, arguments: Sequence[str], output: Path, command: str = "") -> None:
        super().__init__([command or our_command(), *arguments], output, {"NO_COLOR": "1"})
        self.ports: list[int] = []

    def wait_for_ports(self) -> None:
        """Wait until it says where it listens."""
        addresses = self.wait_for(_LISTENING)[1]
        self.ports = [int(address.rpartition(":")[2]) for address in addresses.split(", ")]

    def __enter__(self) -> Self:
        try:
            self.wait_for_ports()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.process.poll() is None:
                assert self.stop() == 0, self.output
        finally:
            super().__exit__(kind, error, traceback)
        if kind is None:
            assert self.process.returncode == 0, self.output
            assert " ERROR " not in self.output, self.output
            assert "Traceback" not in self.output, self.output


class OurProxy(Neosocksd):
    """Our own command with one listener for SOCKS and one for HTTP."""

    def __init__(self, output: Path, *arguments: str) -> None:
        listen = f"{LOOPBACK}:0"
        super().__init__(
            ["--listen", listen, "--http", listen, "--loglevel", "5", *arguments], output
        )

    @property
    def socks(self) -> int:
        return self.ports[0]

    @property
    def http(self) -> int:
        return self.ports[1]


def run(
    *command: str, stdin: bytes = b"", status: int | None = 0, timeout: float = 90
) -> "subprocess.CompletedProcess[bytes]":
    """Run a client to its end. *status* is what it has to exit with, None for whatever."""
    finished = subprocess.run(
        command, input=stdin, capture_output=True, timeout=timeout, check=False
    )
    if status is not None:
        told = (finished.stdout[-2000:] + finished.stderr[-2000:]).decode(errors="replace")
        assert finished.returncode == status, f"{command} ended with {finished.returncode}:\n{told}"
    return finished


def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable
