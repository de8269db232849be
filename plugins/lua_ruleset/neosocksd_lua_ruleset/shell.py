"""Shell commands: the Python side of ``await.execute``, ``os.execute`` and ``io.popen``.

The outcome of a command is what Lua has for it: ``true`` or nil, ``"exit"`` or ``"signal"``, and the number of that.
"""

import itertools
import os
import signal
import subprocess
from collections.abc import Mapping

import anyio
import anyio.abc

from neosocksd_lua_ruleset.bridge import LuaCallError, Native, NativeResult
from neosocksd_lua_ruleset.operations import Operations, Result, starter

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0
"""Seconds between two looks at commands that nobody waits for."""

_NOT_FOUND: Result = (None, b"exit", 127)
"""The outcome of what can be no command."""


class Shell:
    """Runs commands, and keeps those that a script reads from or writes to.

    The file of such a command is one of Lua's own: Lua opens the pipe by its name in ``/dev/fd``, and then our ends are closed.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._numbers = itertools.count(1)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._ends: dict[int, tuple[int, int]] = {}
        self._forgotten: list[subprocess.Popen[bytes]] = []
        self._has_forgotten = anyio.Event()

    def natives(self) -> Mapping[str, Native]:
        """By the names under which the shims ask for them."""
        return {
            "await_execute": starter(self._operations, _await_execute),
            "execute": _execute,
            "popen": self._popen,
            "popen_opened": self._opened,
            "popen_wait": self._wait,
            "popen_forget": self._forget,
        }

    def _popen(self, command: bytes, is_read: bool) -> NativeResult:
        """Start *command*; its number, and the name of the pipe's end that is the script's."""
        if b"\0" in command:
            raise LuaCallError("the command contains a NUL byte")
        try:
            ends = os.pipe()
        except OSError as error:
            raise LuaCallError(os.strerror(error.errno or 0)) from None
        ours, theirs = ends if is_read else ends[::-1]
        try:
            child = subprocess.Popen(  # noqa: S603
                _arguments(command),
                stdin=None if is_read else theirs,
                stdout=theirs if is_read else None,
            )
        except OSError as error:
            for end in ends:
                os.close(end)
            raise LuaCallError(os.strerror(error.errno or 0)) from None
        number = next(self._numbers)
        self._children[number], self._ends[number] = child, ends
        return number, f"/dev/fd/{ours}"

    def _opened(self, number: int) -> None:
        """The script's end has been opened: ours have served."""
        for end in self._ends.pop(number):
            os.close(end)

    def _wait(self, number: int) -> NativeResult:
        return _outcome(self._children.pop(number).wait())

    def _forget(self, number: int) -> None:
        """Nobody will ask for the outcome; the command goes on."""
        child = self._children.pop(number)
        if child.poll() is None:
            self._forgotten.append(child)
            self._has_forgotten.set()

    async def run(self) -> None:
        """Take leave of commands that end after the script has forgotten them, until cancelled."""
        try:
            while True:
                await self._has_forgotten.wait()
                self._has_forgotten = anyio.Event()
                pause = _SHORTEST_PAUSE
                while self._reap():
                    await anyio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._reap()

    def _reap(self) -> bool:
        """Whether some still run."""
        self._forgotten = [child for child in self._forgotten if child.poll() is None]
        return bool(self._forgotten)


def _arguments(command: bytes) -> list[str]:
    return ["/bin/sh", "-c", os.fsdecode(command)]


def _outcome(status: int) -> Result:
    if status < 0:
        return None, b"signal", -status
    return True if status == 0 else None, b"exit", status


def _execute(command: bytes) -> NativeResult:
    """Run *command*; the whole server waits for it."""
    if b"\0" in command:
        return _NOT_FOUND
    try:
        return _outcome(subprocess.call(_arguments(command)))  # noqa: S603
    except OSError as error:
        return None, b"exit", error.errno or 1


async def _await_execute(command: bytes) -> Result:
    if b"\0" in command:
        return _NOT_FOUND
    try:
        process = await anyio.open_process(
            _arguments(command),
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            start_new_session=True,
        )
    except OSError as error:
        return None, b"exit", error.errno or 1
    try:
        status = await process.wait()
    except BaseException:
        with anyio.CancelScope(shield=True):
            _kill(process)
            await process.wait()
        raise
    finally:
        await _close(process)
    return _outcome(status)


def _kill(process: anyio.abc.Process) -> None:
    """The shell and what it has started: they are a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def _close(process: anyio.abc.Process) -> None:
    with anyio.CancelScope(shield=True):
        await process.aclose()
