"""A server that a script rules, for the tests of this plugin."""

from pathlib import Path
from typing import Any

import pytest

from neosocksd_lua_ruleset import LuaRuleset
from neosocksd_lua_ruleset.config import LuaRulesetSettings
from neosocksd_lua_ruleset.engine import Engine
from neosocksd_lua_ruleset.testing import MakeEngine, Rule, Ruled, Serve, WriteScript
from neosocksd_lua_ruleset.trial import LUA_VERSIONS, Script

EMPTY = "return {}"


@pytest.fixture
def script(tmp_path: Path) -> WriteScript:
    """Write a script into a file."""

    def write(text: str | bytes, name: str = "ruleset.lua") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def rule(serve: Serve, script: WriteScript) -> Rule:
    """Start a server with a ruleset."""

    def start(
        text: str | bytes = EMPTY, *, plugins: tuple[object, ...] = (), **settings: Any
    ) -> Ruled:
        path = script(text)
        values: dict[str, Any] = {"listen": "127.0.0.1:0", "ruleset": str(path), **settings}
        running = serve(values, plugins=["socks5", "http_connect", LuaRuleset, *plugins])
        return Ruled(running, path)

    return start


@pytest.fixture(params=LUA_VERSIONS, scope="module")
def lua(request: pytest.FixtureRequest) -> Script:
    """A machine of each version, with libruleset; its table is ``R``."""
    script = Script(request.param)
    script.run('_G.R = require("libruleset")')
    return script


@pytest.fixture
def engine() -> MakeEngine:
    """A machine without a server."""

    def make(**settings: Any) -> Engine:
        return Engine(LuaRulesetSettings(**settings))

    return make
