"""What ``make run`` gives a newcomer: a proxy, a page to watch it, and a ruleset to edit and reload."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from neosocksd_core.testing import Client, EchoServer
from tests.command import PATIENCE, environment, socks5_request

ROOT = Path(__file__).parents[1]

RULE = '{ inet.subnet("127.0.0.0/8"), rule.reject(), "mine" },'


class Run:
    """``make run`` at addresses of our own, with a ruleset in *directory*."""

    def __init__(self, directory: Path) -> None:
        self.ruleset = directory / "ruleset.lua"
        self.socks, self.http, self.api = free_addresses(3)
        # The environment stands, whatever its stamp says: it is the one that runs this.
        variables = {
            "VENV": sys.prefix, "RULESET": self.ruleset, "SOCKS": self.socks, "HTTP": self.http, "API": self.api,
        }  # fmt: skip
        self.process = subprocess.Popen(
            ["make", "run", "-o", f"{sys.prefix}/.installed", *(f"{k}={v}" for k, v in variables.items())],
            cwd=ROOT,
            env=environment(MAKEFLAGS="", MAKELEVEL="0"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = ""
        while "listening on" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    def ask(self, echo: EchoServer) -> bytes:
        """The beginning of the answer to a SOCKS5 request for the echo server."""
        host, _, port = self.socks.partition(":")
        with Client((host, int(port))) as client:
            client.send(socks5_request(echo.address))
            return client.receive(4)

    def interrupt(self) -> str:
        """Press Control-C; returns what is said after that."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.communicate(timeout=PATIENCE)[0]


def free_addresses(count: int) -> list[str]:
    """Addresses of this machine where nobody listened just now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.communicate()


def test_a_newcomer_edits_the_ruleset_and_reloads_it(running: Run, echo: EchoServer) -> None:
    for address in (running.socks, f"http://{running.http}", f"http://{running.api}/"):
        assert address in running.said
    assert running.ask(echo) == b"\x05\x00\x05\x00"
    with httpx.Client(base_url=f"http://{running.api}") as api:
        page = api.get("/")
        assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
        assert api.get("/v1/health").json()["healthy"]

        # What the button on the page does.
        text = running.ruleset.read_text()
        running.ruleset.write_text(text.replace("route = {", f"route = {{ {RULE}"))
        assert api.post("/v1/reload").json() == {"reloaded": True}
        assert running.ask(echo) == b"\x05\x00\x05\x02"

        running.ruleset.write_text(text.replace("return ruleset", "retrun ruleset"))
        refused = api.post("/v1/reload")
        assert refused.status_code == 422
        line = text[: text.index("return ruleset")].count("\n") + 1
        assert f"/{running.ruleset.name}:{line}: " in refused.json()["detail"]
        assert running.ask(echo) == b"\x05\x00\x05\x02"
    assert "SIGINT, stopping" in running.interrupt()
    assert (ROOT / "plugins/lua_ruleset/examples/simple.lua").read_text() == text
