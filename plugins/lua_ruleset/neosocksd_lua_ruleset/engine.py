"""The engine: one machine with a script in it, and everything on the Python side that belongs to it.

It exists from the moment a script is first read. The server may come later: a configuration script runs before there is one.
"""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from neosocksd_core import ConfigurationError, ServerContext
from neosocksd_core.log import escape
from neosocksd_lua_ruleset import clocks, compression
from neosocksd_lua_ruleset.api import Api, Attached
from neosocksd_lua_ruleset.bridge import Native, Primitive, decode, encode, weakly
from neosocksd_lua_ruleset.callbacks import LuaRouter
from neosocksd_lua_ruleset.calls import Calls, ScriptError
from neosocksd_lua_ruleset.census import Census
from neosocksd_lua_ruleset.config import LuaRulesetSettings
from neosocksd_lua_ruleset.flights import Flights
from neosocksd_lua_ruleset.matchsets import MatchSets
from neosocksd_lua_ruleset.operations import Operations
from neosocksd_lua_ruleset.regex import Regexes
from neosocksd_lua_ruleset.rpc import RpcClient
from neosocksd_lua_ruleset.scripts import chunk_name, read_script
from neosocksd_lua_ruleset.shell import Shell
from neosocksd_lua_ruleset.ticker import Ticker
from neosocksd_lua_ruleset.vm import Limits, LuaFailure, Vm, entrance

__all__ = ["Engine", "Measure", "ScriptError"]

CONFIG_SECONDS = 10.0
"""How long a configuration script may compute."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a machine holds: bytes, objects as last counted, routines now and at most, and what they wait for."""

    memory: int
    objects: int
    routines: int
    peak: int
    operations: int


class Engine:
    """A machine that rules one server."""

    def __init__(self, settings: LuaRulesetSettings) -> None:
        self._attached = Attached()
        self._fixed = settings.lua, settings.sandbox
        self.path: Path | None = None
        """The file beside which modules are found, None for the working directory alone."""

        self._flights = Flights()
        self.operations = Operations(weakly(self._wake), weakly(self._report), self._flights)
        self.ticker = Ticker(weakly(self._tick))
        self.router = LuaRouter(self._attached, self.operations, self._flights)
        self.calls = Calls(weakly(self._call_limit), weakly(self._log_call), self._flights)
        self._census = Census(weakly(self.count_some))
        api = Api(self._attached, self.operations, self.ticker.set_interval, self._census.ask)
        rpc = RpcClient(self._attached, self.operations)
        self._shell = Shell(self.operations)
        natives: dict[str, Native] = {}
        for owner in (MatchSets(), Regexes(), api, rpc, self._shell, self.router, self.calls):
            natives |= owner.natives()
        natives |= clocks.natives()
        natives |= compression.natives()
        self._vm = Vm(
            natives,
            weakly(self._report),
            lua=settings.lua,
            limits=limits_of(settings),
            sandbox=settings.sandbox,
            traceback=settings.traceback,
        )
        self.router.connect(entrance(self._vm))
        self.calls.connect(entrance(self._vm))

    @property
    def log(self) -> logging.Logger:
        server = self._attached.present
        return server.log if server is not None else logging.getLogger("neosocksd")

    def attach(
        self, server: ServerContext, settings: LuaRulesetSettings, *, is_serving: bool = False
    ) -> None:
        """There is a server now, with these settings; *is_serving*: it runs already.

        :raises ConfigurationError: if they ask for another machine than the one that a configuration script ran in.
        """
        if (settings.lua, settings.sandbox) != self._fixed:
            raise ConfigurationError(
                "lua, sandbox: a ruleset of a configuration script runs in Lua 5.4 without a sandbox;"
                " load it with --ruleset FILE and a configuration in TOML instead"
            )
        self._attached.attach(server)
        self._attached.is_serving = is_serving
        self.configure(settings)

    def configure(self, settings: LuaRulesetSettings) -> None:
        """Take over new settings, as far as a running machine can."""
        if (settings.lua, settings.sandbox) != self._fixed:
            self.log.warning("lua and sandbox take effect after a restart")
        self._vm.configure(limits_of(settings), traceback=settings.traceback)
        self.router.forget()

    # Scripts. What fails raises ScriptError, and has changed nothing.

    def load_file(self, path: Path) -> None:
        """Load the ruleset from its file.

        :raises ConfigurationError: naming the file, if it cannot be read or its script fails.
        """
        try:
            text = read_script(path)
            self.search_beside(path)
            self.load(text, chunk_name(path))
        except (ConfigurationError, ScriptError) as error:
            raise ConfigurationError(f"ruleset: {error}") from None

    def search_beside(self, path: Path | None) -> None:
        """Find modules beside that file, and in the working directory."""
        self.path = path
        self._vm.enter("set_path", _search_path(path))

    def load(self, text: bytes, name: bytes) -> None:
        """Run a ruleset's chunk in the running machine; the table that it returns is the ruleset from now on.

        What looks wrong about it is logged.
        """
        _check(self._vm.enter("load", text, name))
        self.tell_doubts()

    def tell_doubts(self) -> None:
        """Log what looks wrong about the ruleset in force."""
        try:
            doubts = self._vm.enter("doubts")
        except LuaFailure as error:
            self._report(error, "doubts")
            return
        for doubt in doubts:
            self.log.warning("ruleset: %s", escape(_bytes(doubt), 1024))

    def replace_module(self, text: bytes, name: bytes, module: bytes) -> None:
        """Put what a chunk returns in the place of a module."""
        _check(self._vm.enter("replace", text, name, module))

    def invoke(self, text: bytes) -> None:
        """Run posted code."""
        _check(self._vm.enter("invoke", text))

    def read_config(self, path: Path) -> Mapping[str, Any]:
        """Run a configuration script; returns its fields. The ruleset that it may install stays.

        :raises ConfigurationError: naming the file, if that fails.
        """
        text = read_script(path)
        self.search_beside(path)
        ok, *rest = self._vm.enter("configure", text, chunk_name(path), CONFIG_SECONDS)
        if not ok:
            message = decode(_bytes(rest[0]))
            shown, colon, behind = message.partition(":")
            if colon and str(path).endswith(shown.removeprefix("...")):  # Lua has cut the name
                raise ConfigurationError(f"{path}:{behind}")
            raise ConfigurationError(f"{path}: {message}")
        values: dict[str, Any] = {}
        for key, value in zip(map(_bytes, rest[::2]), rest[1::2], strict=True):
            try:
                section, _, name = key.decode().rpartition(".")
                setting = value.decode() if isinstance(value, bytes) else value
            except UnicodeDecodeError:
                raise ConfigurationError(f"{path}: {escape(key)}: not UTF-8") from None
            holder = values.setdefault(section, {}) if section else values
            if name.endswith("[]"):
                holder.setdefault(name.removesuffix("[]"), []).append(setting)
            else:
                holder[name] = setting
        if self._attached.present is not None and self.has_ruleset:
            self.tell_doubts()
        return values

    @property
    def has_ruleset(self) -> bool:
        """Whether a script has installed one."""
        return bool(self._vm.enter("has_ruleset")[0])

    # Callbacks that answer with a text. What fails is logged, and there is no text.

    def stats(self, interval: float, query: str) -> str | None:
        """What ``ruleset.stats`` says."""
        return self._text("stats", interval, encode(query))

    def metrics(self) -> str | None:
        """What ``ruleset.metrics`` says."""
        return self._text("metrics")

    def health(self) -> str | None:
        """None while ``ruleset.healthy`` finds nothing wrong, else what it says, or how it failed."""
        _, text = (*self._vm.enter("healthy"), None)[:2]
        return decode(_bytes(text)) if text else None

    # Memory.

    def collect(self) -> None:
        """Count the objects that are reached, and collect the others."""
        self._census.take()  # before, for it leaves garbage of its own
        self._vm.enter("collect")

    def measure(self) -> Measure:
        routines, peak = self._vm.enter("measure")
        assert isinstance(routines, int)
        assert isinstance(peak, int)
        return Measure(self._vm.memory, self._census.ask(), routines, peak, len(self.operations))

    def count_some(self, values: int) -> tuple[bool, int]:
        """Go on counting objects; whether all are counted, and how many there are so far."""
        try:
            is_done, count = self._vm.enter("census", values)
        except LuaFailure as error:
            self._report(error, "census")
            return True, 0
        assert isinstance(count, int)
        return bool(is_done), count

    async def run(self) -> None:
        """Serve what routines wait for, and the timer, until :meth:`retire`. At the end every routine is abandoned."""
        self._attached.is_serving = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(
                    self.operations.run, self.ticker.run, self._census.run, self._shell.run
                )
                await self._flights.wait_over()
                tasks.cancel_scope.cancel()
        finally:
            self._vm.enter("abandon")

    def retire(self) -> None:
        """Another machine has taken over: no more ticks, and :meth:`run` ends with the last call that is in flight."""
        self.ticker.stop()
        self._flights.close()

    def _text(self, name: str, *arguments: Primitive) -> str | None:
        ok, text = (*self._vm.enter(name, *arguments), None)[:2]
        if not ok:
            self.log.error("ruleset: %s: %s", name, escape(_bytes(text), 1024))
            return None
        return None if text is None else decode(_bytes(text))

    def _wake(self, identity: int, *results: Primitive) -> None:
        try:
            self._vm.enter("wake", identity, *results)
        except LuaFailure as error:
            self._report(error, "wake")

    def _tick(self) -> None:
        try:
            self._vm.enter("tick", time.time())
        except LuaFailure as error:
            self._report(error, "tick")

    def _report(self, error: Exception, where: str) -> None:
        self.log.error("ruleset: %s: %r", where, error)

    def _call_limit(self) -> float:
        return self._attached.server.settings.timeout

    def _log_call(self, message: bytes) -> None:
        self.log.warning("rpcall: %s", escape(message, 1024))


def limits_of(settings: LuaRulesetSettings) -> Limits:
    """What the settings let a script use."""
    return Limits(
        settings.time_limit, settings.load_time_limit, settings.memlimit, settings.hard_memlimit
    )


def _check(answer: tuple[Primitive, ...]) -> None:
    ok, message = (*answer, None)[:2]
    if not ok:
        raise ScriptError(_bytes(message))


def _bytes(value: Primitive) -> bytes:
    return value if isinstance(value, bytes) else b""


def _search_path(path: Path | None) -> bytes:
    folder = os.fsencode(path.parent) if path is not None else b"."
    return b"?.lua" if folder == b"." else folder + b"/?.lua;?.lua"
