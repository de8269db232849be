"""The README and the chapter on rulesets: their commands run as they are written, by the installed program and by curl."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neosocksd_core.configuration import build_settings
from neosocksd_core.plugins import Plugins
from neosocksd_core.testing.connection import Connection
from neosocksd_core.testing.peers import ScriptedPeer
from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.trial import Script

FOLDER = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("neosocksd")
PATIENCE = 30.0


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    text = (FOLDER / page).read_text()
    return re.findall(r"^```([a-z]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_lines() -> Generator[tuple[str, str]]:
    """Each line that is written for a shell, with the ruleset that was shown last before it and decides outside of requests too."""
    for page in ("README.md", "docs/rulesets.md"):
        ruleset = ""
        for language, text in blocks(page):
            if language == "lua" and "failover" not in text:
                ruleset = text
            elif language == "sh":
                for line in text.splitlines():
                    yield line, ruleset


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.upper().endswith(("_PROXY", "NO_PROXY"))}


@contextmanager
def serving(folder: Path, *arguments: str) -> Generator[list[str]]:
    """The installed command in that folder; gives the addresses at which it listens."""
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on " in line
        yield line.rstrip().partition("listening on ")[2].split(", ")
    finally:
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert "ERROR" not in log


def site(connection: Connection) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.receive(1)
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(("line", "ruleset"), list(shell_lines()))
def test_a_command_works(line: str, ruleset: str, tmp_path: Path) -> None:
    (tmp_path / "ruleset.lua").write_text(ruleset)
    program, *words = shlex.split(line)
    if program == "neosocksd":
        run_ours([word.replace(":1080", ":0") for word in words], tmp_path)
        return
    assert program == "curl"
    rest_api = pytest.importorskip("neosocksd_rest_api.testing")
    curl = rest_api.find_program("curl")
    flags = ("-l", "127.0.0.1:0", "--api", "127.0.0.1:0", "-r", "ruleset.lua")
    with ScriptedPeer(site) as peer, serving(tmp_path, *flags) as (proxy, api):
        places = {
            "127.0.0.1:1080": proxy,
            "127.0.0.1:9080": api,
            "http://www.example.org/": f"http://localhost:{peer.port}/",
        }
        for written, real in places.items():
            words = [word.replace(written, real) for word in words]
        ran = subprocess.run(
            [curl, "--silent", "--show-error", "--fail", *words],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")


def run_ours(words: list[str], folder: Path) -> None:
    if words[-1] == "check":
        subprocess.run([COMMAND, *words], cwd=folder, env=environment(), check=True)
        return
    with serving(folder, *words) as addresses:
        assert len(addresses) == 1


def test_the_commands_are_found() -> None:
    assert len(list(shell_lines())) >= 8


def test_the_settings_of_the_readme_are_settings() -> None:
    [text] = [text for language, text in blocks("README.md") if language == "toml"]
    values = tomllib.loads(text)
    build_settings(Plugins(), values, "block")
    assert values["lua_ruleset"]


def test_the_first_ruleset_of_the_readme_decides() -> None:
    ruleset, shim = (text for language, text in blocks("README.md") if language == "lua")
    script = Script()
    script.engine.load(ruleset.encode(), b"=readme")
    assert (
        script.values("return ruleset.resolve('x.onion:80')")
        == '"x.onion:80","socks5://127.0.0.1:9050"'
    )
    assert script.values("return ruleset.resolve('onion:80')") == '"onion:80"'
    # The other one is a part of this plugin that is not there, so it is only compiled.
    assert script.values(f"return load([==[{shim}]==]) ~= nil") == "true"


MISTAKES = {
    "attempt to index a nil value (global 'match')": "match.any()",
    "attempt to perform bitwise operation on a string value": (
        "local r = require('libruleset')"
        " _G.redirect_name = { { inet.subnet('10.0.0.0/8'), rule.direct() } } r.decide.resolve('a:1')"
    ),
    "rule 3 of a table has a matcher and no action": (
        "local r = require('libruleset') local none = { match.port(1), rule.direct() }"
        " _G.redirect_name = { none, none, { match.any(), 'tag' } } r.decide.resolve('a:2')"
    ),
    "not in asynchronous routine": "await.sleep(1)",
}


def test_the_errors_that_are_explained_are_those_that_come() -> None:
    page = (FOLDER / "docs" / "rulesets.md").read_text()
    explained = re.findall(r"^\| `([^`]+)` \|", page.partition("| in the log |")[2], re.MULTILINE)
    for message, code in MISTAKES.items():
        assert message in explained
        assert message in Script().error(code)
    slow = "time limit of 2.0 seconds exceeded"
    assert slow in explained
    assert slow.replace("2.0", "0.01") in Script(time_limit=0.01).error("while true do end")
    nothing = "the ruleset returned a nil, expected a table"
    assert nothing in explained
    with pytest.raises(ScriptError, match=nothing):
        Script().engine.load(b"", b"=ruleset")
    assert len(explained) == len(MISTAKES) + 2
