"""The bridge: what may pass between Python and Lua, and how a Python function is called from Lua.

Only nil, booleans, numbers and strings cross, both ways. A native function takes them as None, bool, int, float and
bytes, and gives one of them, a tuple of them, or raises :exc:`LuaCallError`; nothing else ever leaves it. On the Lua side it
answers ``true, results…`` or ``false, message``, and a shim in ``lua/*.lua`` turns the latter into an error with the caller's position.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast
from weakref import WeakMethod

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

Primitive = None | bool | int | float | bytes
"""What crosses. Lua's strings are bytes."""

NativeResult = Primitive | str | tuple[Primitive | str, ...]
"""What a native function gives: no, one or several results. A text is sent as UTF-8."""

Native = Callable[..., NativeResult]

Report = Callable[[Exception, str], None]
"""Told of what a native function raised that it should not, and of its name."""

_MIN_INTEGER, _MAX_INTEGER = -(1 << 63), (1 << 63) - 1


class LuaCallError(Exception):
    """A native function refuses; the message becomes a Lua error at the place of the call, or a ``false, message``."""

    def __init__(self, message: str | bytes) -> None:
        super().__init__(message)
        self.message = encode(message) if isinstance(message, str) else message


class Interruptions:
    """Exceptions that must not be lost in Lua: kept by a native function, raised again when Lua has returned."""

    def __init__(self) -> None:
        self._kept: BaseException | None = None

    def keep(self, error: BaseException) -> None:
        if self._kept is None:
            self._kept = error.with_traceback(None)

    def check(self) -> None:
        """Raise what was kept."""
        if self._kept is not None:
            error, self._kept = self._kept, None
            raise error


def encode(text: str) -> bytes:
    """A text as Lua gets it."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Bytes of Lua as a text of Python; :func:`encode` gives the same bytes again."""
    return data.decode("utf-8", "surrogateescape")


def weakly(method: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """*method* without keeping its object alive.

    What a machine calls is held by Lua, where Python's collector sees nothing: it must not hold the machine in turn.
    """
    reference = WeakMethod(cast("Callable[..., ResultT]", method))

    def call(*arguments: P.args, **keywords: P.kwargs) -> ResultT:
        found = reference()
        if found is None:
            raise ReferenceError("the machine is gone")
        return found(*arguments, **keywords)

    return call


def guarded(
    name: str, function: Native, report: Report, interruptions: Interruptions
) -> Callable[..., tuple[Primitive, ...]]:
    """*function*, so that Lua can call it: it raises nothing, and keeps no frame alive."""

    def call(*arguments: Primitive) -> tuple[Primitive, ...]:
        try:
            result = function(*arguments)
            if type(result) is tuple:
                return (True, *[_outgoing(item) for item in result])
            return (True,) if result is None else (True, _outgoing(result))
        except LuaCallError as error:
            return False, error.message
        except Exception as error:  # must not reach Lua, where its type and text are lost
            report(error.with_traceback(None), name)
            return False, b"internal error in " + name.encode()
        except BaseException as error:
            interruptions.keep(error)
            return False, b"interrupted"

    return call


def _outgoing(value: object) -> Primitive:
    match value:
        case None | bool() | float() | bytes():
            return value
        case int():
            if _MIN_INTEGER <= value <= _MAX_INTEGER:
                return value
            raise LuaCallError("integer overflow")
        case str():
            return encode(value)
        case _:
            raise TypeError(f"not a primitive: {type(value).__name__}")
