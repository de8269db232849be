"""Remote calls that are served here: code that runs in a routine, and its marshalled results."""

import itertools
from collections.abc import Callable, Mapping

import anyio

from neosocksd_lua_ruleset.bridge import Native, Primitive
from neosocksd_lua_ruleset.flights import Flights

DID_NOT_RETURN = b"rpcall did not return"


class ScriptError(Exception):
    """Code of a script failed; ``message`` is Lua's."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message.decode("utf-8", "replace"))
        self.message = message


class _Answer:
    __slots__ = ("event", "good", "text")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.good = False
        self.text = b""


class Calls:
    """The calls of one machine. *log* is told why one did not return."""

    def __init__(
        self, limit: Callable[[], float], log: Callable[[bytes], None], flights: Flights
    ) -> None:
        self._limit = limit
        self._log = log
        self._flights = flights
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}
        self._enter: Callable[..., tuple[Primitive, ...]] | None = None

    def connect(self, enter: Callable[..., tuple[Primitive, ...]]) -> None:
        """Use this to enter the machine."""
        self._enter = enter

    def natives(self) -> Mapping[str, Native]:
        return {"answer": self._on_answer}

    async def call(self, code: bytes) -> bytes:
        """Run *code*; returns Lua source that gives ``true`` and its results. Giving it up cancels its routine.

        :raises ScriptError: if it does not compile, does not return, or not in time.
        """
        assert self._enter is not None
        number = next(self._numbers)
        answer = self._enter("call", number, code)
        kind, text = answer[0], answer[-1]
        if kind == b"pending":
            good, text = await self._wait(number)
        else:
            good = kind == b"done" and bool(answer[1])
        assert isinstance(text, bytes)
        if good:
            return text
        if kind == b"bad":
            raise ScriptError(text)
        self._log(text)
        raise ScriptError(DID_NOT_RETURN)

    async def _wait(self, number: int) -> tuple[bool, bytes]:
        assert self._enter is not None
        answer = self._waiting[number] = _Answer()
        self._flights.begin()
        try:
            with anyio.move_on_after(self._limit()):
                await answer.event.wait()
                return answer.good, answer.text
            return False, b"timeout"
        finally:
            if self._waiting.pop(number, None) is not None:
                self._enter("cancel_call", number)
            self._flights.end()

    def _on_answer(self, number: int, good: bool, text: bytes) -> None:
        answer = self._waiting.pop(number, None)
        if answer is not None:
            answer.good, answer.text = good, text
            answer.event.set()
