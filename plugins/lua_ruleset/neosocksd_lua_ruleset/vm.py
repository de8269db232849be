"""One Lua virtual machine: made, hardened, filled with the shims of ``lua/``, and entered by its entry functions.

Lua is entered on the main state only, outside every coroutine, and nothing that Lua calls enters it again. Functions, tables
and coroutines stay in Lua; what comes back are primitives.
"""

from __future__ import annotations

import importlib
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, cast

from neosocksd_lua_ruleset.bridge import (
    Interruptions,
    Native,
    Primitive,
    Report,
    encode,
    guarded,
    weakly,
)

Entry = Callable[..., "tuple[Primitive, ...]"]


class LuaFailure(Exception):  # noqa: N818
    """A script raised, or could not be compiled. ``str()`` of it is Lua's message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a script may use: seconds of a callback (0: no limit), and MiB of memory (0: no limit).

    Above ``soft_memory`` a collection is forced; an allocation above ``hard_memory`` fails with a Lua error.
    """

    time: float = 2.0
    load_time: float = 0.0
    soft_memory: int = 0
    hard_memory: int = 0


def read_source(name: str) -> bytes | None:
    """A Lua file of this package."""
    file = resources.files("neosocksd_lua_ruleset") / "lua" / f"{name}.lua"
    return file.read_bytes() if file.is_file() else None


class Vm:
    """A runtime with everything in it that a ruleset may use.

    *natives* are the functions that the shims in ``lua/*.lua`` find by ``bridge.native(name)``; *report* is told when one of
    them fails in an unforeseen way.
    """

    def __init__(
        self,
        natives: Mapping[str, Native],
        report: Report,
        *,
        lua: Literal["5.3", "5.4", "5.5"] = "5.4",
        limits: Limits = Limits(),
        sandbox: bool = False,
        traceback: bool = False,
    ) -> None:
        module: Any = importlib.import_module(f"lupa.lua{lua.replace('.', '')}")
        self._error: type[Exception] = module.LuaError
        self._runtime: Any = module.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_deny, _deny),
            unpack_returned_tuples=True,
            max_memory=0,
        )
        self._interruptions = Interruptions()
        self._limits = limits
        options: dict[bytes, Primitive] = {
            b"time_limit": limits.time,
            b"load_time_limit": limits.load_time,
            b"soft_limit": limits.soft_memory * 1024,
            b"hard_limit": limits.hard_memory > 0,
            b"sandbox": sandbox,
            b"traceback": traceback,
        }
        known = {
            encode(name): guarded(name, native, report, self._interruptions)
            for name, native in natives.items()
        }
        boot = self._runtime.compile(read_source("boot"), name=b"=neosocksd/boot", mode=b"t")
        self._hard_limit = limits.hard_memory << 20
        limit = weakly(self._arm), weakly(self._disarm)
        made = boot(known.get, options.get, _source, time.monotonic, *limit)
        self._entries: dict[str, Callable[..., Any]] = {
            name.decode(): function for name, function in zip(made[::2], made[1::2], strict=True)
        }
        # Finalizers of scripts run when the machine is collected, and must not call Python any more.
        weakref.finalize(self, self._entries["close"])

    def configure(self, limits: Limits, *, traceback: bool) -> None:
        """Take over new limits."""
        self._hard_limit = limits.hard_memory << 20
        self.enter(
            "configure_limits",
            limits.time,
            limits.load_time,
            limits.soft_memory * 1024,
            limits.hard_memory > 0,
            traceback,
        )

    @property
    def memory(self) -> int:
        """Bytes in use."""
        return int(self._runtime.get_memory_used())

    def enter(self, name: str, /, *arguments: Primitive) -> tuple[Primitive, ...]:
        """Call an entry function of ``lua/entry.lua``.

        :raises LuaFailure: if it fails, which only a broken or exhausted machine does.
        """
        try:
            result = self._entries[name](*arguments)
        except self._error as error:
            self._disarm()
            raise LuaFailure(_text(error)) from None
        self._interruptions.check()
        if isinstance(result, tuple):
            return cast("tuple[Primitive, ...]", result)
        return () if result is None else (result,)

    def _arm(self) -> None:
        self._runtime.set_max_memory(self._hard_limit)

    def _disarm(self) -> None:
        self._runtime.set_max_memory(0)


def entrance(vm: Vm) -> Entry:
    """``vm.enter`` for what the machine holds in turn: it does not keep the machine alive."""
    find = weakref.ref(vm)

    def enter(name: str, /, *arguments: Primitive) -> tuple[Primitive, ...]:
        found = find()
        if found is None:
            raise ReferenceError("the machine is gone")
        return found.enter(name, *arguments)

    return enter


def _deny(*_: object) -> Any:
    raise AttributeError("Python objects are closed to Lua")


def _source(name: bytes) -> bytes | None:
    return read_source(name.decode())


def _text(error: Exception) -> str:
    found = error.args[0] if error.args else ""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
