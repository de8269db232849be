"""The control calls ``/ruleset/*``: run posted code, replace the ruleset or a module, collect garbage."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_lua_ruleset.bridge import encode
from neosocksd_lua_ruleset.engine import Engine, Measure, ScriptError
from neosocksd_lua_ruleset.rpc import RPC_TYPE

_NO_RULESET = b"no ruleset is loaded, start with --ruleset\n"

_MODULE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")

_TRUE = {"1", "y", "yes", "on", "t", "true"}

Handler = Callable[[Engine, EndpointRequest], Awaitable[EndpointResponse]]


def ruleset_endpoints(
    find_engine: Callable[[], Engine | None], renew: Callable[[bytes, bytes], None]
) -> Sequence[Endpoint]:
    """The endpoints of a server whose engine *find_engine* gives, None where no ruleset is in force.

    *renew* puts a ruleset's chunk of that name into force in a new machine.
    """

    def endpoint(path: str, handler: Handler, summary: str) -> Endpoint:
        async def handle(request: EndpointRequest) -> EndpointResponse:
            engine = find_engine()
            if engine is None:
                return EndpointResponse(500, _NO_RULESET)
            try:
                return await handler(engine, request)
            except ScriptError as error:
                return EndpointResponse(500, error.message)

        needs_body = handler is not _collect
        return Endpoint(path, frozenset({"POST"}), handle, summary, needs_body)

    return (
        endpoint("/ruleset/invoke", _invoke, "run the posted Lua code"),
        endpoint("/ruleset/rpcall", _rpcall, "run the posted Lua code and answer with its results"),
        endpoint(
            "/ruleset/update", partial(_update, renew), "replace the ruleset, or one of its modules"
        ),
        endpoint("/ruleset/gc", _collect, "collect the garbage of the Lua machine"),
    )


async def _invoke(engine: Engine, request: EndpointRequest) -> EndpointResponse:
    engine.invoke(request.body)
    return EndpointResponse()


async def _rpcall(engine: Engine, request: EndpointRequest) -> EndpointResponse:
    kind = request.headers.get("content-type", "")
    if _parts_of(kind) != _parts_of(RPC_TYPE.decode()):
        return EndpointResponse(400, b"expected " + RPC_TYPE + b"\n")
    return EndpointResponse(200, await engine.calls.call(request.body), RPC_TYPE.decode())


async def _update(
    renew: Callable[[bytes, bytes], None], engine: Engine, request: EndpointRequest
) -> EndpointResponse:
    started = time.perf_counter()
    module = request.query.get("module")
    if module is not None and not _MODULE.fullmatch(module):
        return EndpointResponse(400, b"not the name of a module\n")
    is_fresh = request.query.get("fresh", "").lower() in _TRUE
    if module and is_fresh:
        return EndpointResponse(400, b"a new machine has no module to replace\n")
    name = encode(request.query.get("chunkname") or (f"={module}" if module else "=(ruleset)"))
    if module:
        engine.replace_module(request.body, name, encode(module))
    elif is_fresh:
        renew(request.body, name)
    else:
        engine.load(request.body, name)
    return EndpointResponse(200, _lines({"Time Cost": _duration(started)}).encode())


async def _collect(engine: Engine, request: EndpointRequest) -> EndpointResponse:
    started = time.perf_counter()
    before = engine.measure()
    engine.collect()
    after = engine.measure()
    difference = _lines({"Difference": f"{after.memory - before.memory} bytes"})
    text = difference + describe(after) + _lines({"Time Cost": _duration(started)})
    return EndpointResponse(200, text.encode())


def _parts_of(kind: str) -> set[str]:
    """A media type and its parameters, in whichever order and spacing (RFC 9110 section 8.3.1)."""
    return {part.strip().lower() for part in kind.split(";")}


def describe(measure: Measure) -> str:
    """What a machine holds, for a person."""
    return _lines(
        {
            "Ruleset Allocated": f"{measure.memory} bytes, {measure.objects} objects",
            "Ruleset Threads": f"{measure.routines} (peak={measure.peak})",
            "Ruleset Events": f"{measure.operations}",
        }
    )


def _lines(report: Mapping[str, str]) -> str:
    return "".join(f"{name:<20}: {value}\n" for name, value in report.items())


def _duration(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1e3:.3f} ms"
