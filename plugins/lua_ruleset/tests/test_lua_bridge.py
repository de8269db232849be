"""What crosses between Lua and Python: numbers, strings and errors, exactly."""

from asyncio import CancelledError
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest

from neosocksd_lua_ruleset import clocks, compression
from neosocksd_lua_ruleset.bridge import LuaCallError, Native
from neosocksd_lua_ruleset.matchsets import MatchSets
from neosocksd_lua_ruleset.regex import Regexes
from neosocksd_lua_ruleset.vm import Vm

Lua = Literal["5.3", "5.4", "5.5"]

VERSIONS: tuple[Lua, ...] = ("5.3", "5.4", "5.5")


@pytest.mark.parametrize("lua", VERSIONS)
def test_numbers_and_strings_cross_exactly(lua: Lua) -> None:
    seen: list[object] = []

    def keep(*values: object) -> object:
        seen.extend(values)
        return values

    vm = make_vm({"clock": keep}, lua)
    run_probe(
        vm,
        rb"""local ok, a, b, c, d, e, f, g = probe(math.maxinteger, math.mininteger, 1/0, -0.0, "\0\255", 1.5, true)
        assert(ok and a == math.maxinteger and b == math.mininteger and c == 1/0 and 1/d == -1/0 and e == "\0\255" and f == 1.5 and g)
        local ok, n = probe(0/0) assert(n ~= n)
        local big = ("x"):rep(1 << 24) local ok, same = probe(big) assert(same == big)
        assert(math.type(a) == "integer" and math.type(c) == "float")""",
    )
    assert seen[:3] == [(1 << 63) - 1, -(1 << 63), float("inf")]
    assert seen[4:7] == [b"\x00\xff", 1.5, True]


def test_an_integer_that_lua_cannot_hold_is_an_error() -> None:
    vm = make_vm({"clock": lambda: 1 << 63})
    run_probe(vm, b"local ok, message = probe() assert(not ok and message == 'integer overflow')")


@pytest.mark.parametrize("value", ["{}", "print", "coroutine.create(print)", "io.stdout"])
def test_what_is_no_primitive_does_not_cross(value: str) -> None:
    vm = make_vm({"clock": lambda *values: pytest.fail(f"got {values}")})
    run_probe(
        vm,
        f"local ok, m = probe(1, {value}) assert(not ok and m:find('primitive expected'), m)".encode(),
    )


@pytest.mark.parametrize(
    "wrap",
    [
        "%s",
        "assert(pcall(function() %s end))",
        "assert(coroutine.resume(coroutine.create(function() %s end)))",
    ],
)
@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("y"), LuaCallError("z"), LuaCallError(b"\xff")]
)
def test_what_a_native_function_raises_is_a_text_in_lua(error: Exception, wrap: str) -> None:
    def fail() -> None:
        raise error

    reported: list[Exception] = []
    vm = make_vm({"clock": fail}, reported=reported)
    run_probe(
        vm,
        (
            wrap % "local ok, m = probe() assert(ok == false and type(m) == 'string' and m ~= '')"
        ).encode(),
    )
    assert (reported == [error]) is not isinstance(error, LuaCallError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), CancelledError()])
def test_what_must_not_be_swallowed_is_raised_when_lua_returns(error: BaseException) -> None:
    def fail() -> None:
        raise error

    vm = make_vm({"clock": fail})
    with pytest.raises(type(error)):
        run_probe(vm, b"coroutine.wrap(function() pcall(probe) end)()")
    run_probe(vm, b"local x = 1")


NEEDED: dict[str, Native] = {
    name: (lambda *_: None)
    for name in [
        "config",
        "statistics",
        "resolve",
        "splithostport",
        "doubt_of_proxy",
        "parse_ipv6",
        "set_interval",
        "clock",
        "exit",
        "log_error",
        "cancel",
        "await_sleep",
        "await_resolve",
        "await_execute",
        "execute",
        "popen",
        "popen_opened",
        "popen_wait",
        "popen_forget",
        "await_forward",
        "await_invoke",
        "invoke",
        "decide",
        "answer",
    ]
}


def make_vm(
    natives: Mapping[str, Callable[..., Any]],
    lua: Lua = "5.4",
    reported: list[Exception] | None = None,
) -> Vm:
    found: dict[str, Native] = {**NEEDED}
    for part in (clocks, compression, MatchSets(), Regexes()):
        found |= part.natives()
    found |= natives

    def report(error: Exception, where: str) -> None:
        if reported is not None:
            reported.append(error)

    return Vm(found, report, lua=lua)


def run_probe(vm: Vm, code: bytes) -> None:
    """Run code that calls the native function `probe`, as a shim of ours would."""
    ok, *message = vm.enter(
        "invoke",
        b"""
        local probe
        for i = 1, 50 do
            local name, value = debug.getupvalue(neosocksd.now, i)
            if name == "native" then probe = value.clock end
        end
        """
        + code,
    )
    assert ok, message
