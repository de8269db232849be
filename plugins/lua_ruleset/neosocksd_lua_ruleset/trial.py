"""Runs pieces of Lua in a machine of their own, without a server: for tests, of this plugin and of rulesets."""

from __future__ import annotations

from typing import Literal

from neosocksd_lua_ruleset.config import LuaRulesetSettings
from neosocksd_lua_ruleset.engine import Engine, ScriptError

LuaVersion = Literal["5.3", "5.4", "5.5"]

LUA_VERSIONS: tuple[LuaVersion, ...] = ("5.3", "5.4", "5.5")


class Script:
    """A machine. Globals stay from one call to the next; what needs a server or its event loop does not work."""

    def __init__(self, lua: LuaVersion = "5.4", *, time_limit: float = 2.0) -> None:
        """*time_limit*: seconds that a call may take, 0 for any time."""
        self.engine = Engine(LuaRulesetSettings(lua=lua, time_limit=time_limit))

    def run(self, code: str | bytes) -> None:
        """Run *code*.

        :raises ScriptError: with Lua's message, if it fails.
        """
        self.engine.invoke(_encoded(code))

    def values(self, code: str | bytes) -> str:
        """What *code* returns, as ``marshal`` writes it, each byte a character.

        :raises ScriptError: with Lua's message, if it fails.
        """
        wrapped = b"error('values:' .. marshal((function() " + _encoded(code) + b"\nend)()), 0)"
        try:
            self.engine.invoke(wrapped)
        except ScriptError as error:
            message = error.message
            if not message.startswith(b"values:"):
                raise
            return message.removeprefix(b"values:").decode("latin-1")
        raise AssertionError("the code ended the script")

    def error(self, code: str | bytes) -> str:
        """The message of the error that *code* raises; the chunk's name is ``(invoke)``."""
        try:
            self.run(code)
        except ScriptError as error:
            return error.message.decode("latin-1")
        raise AssertionError("the code raised nothing")


def _encoded(code: str | bytes) -> bytes:
    return code.encode("latin-1") if isinstance(code, str) else code
