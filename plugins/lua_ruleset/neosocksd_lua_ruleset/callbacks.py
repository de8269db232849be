"""The router: asks the ruleset about each request, and turns what it answers into a decision.

A callback that does not wait is answered at once, without a task. One that waits goes on as a routine; if its client leaves
before it has decided, it is cancelled.
"""

import itertools
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

import anyio

from neosocksd_core import (
    Address,
    AddressType,
    Decision,
    DialError,
    Forward,
    Reason,
    Reject,
    Request,
    Upstream,
)
from neosocksd_core.log import escape
from neosocksd_lua_ruleset.api import Attached, parse_forward
from neosocksd_lua_ruleset.bridge import LuaCallError, Native, Primitive
from neosocksd_lua_ruleset.flights import Flights
from neosocksd_lua_ruleset.operations import Operations, Result, starter

_CALLBACKS = {
    AddressType.DOMAIN: b"resolve",
    AddressType.IPV4: b"route",
    AddressType.IPV6: b"route6",
}

_KNOWN_WAYS = 4096
"""So many answers are remembered with what they mean."""

Enter = Callable[..., tuple[Primitive, ...]]


class Pending:
    """A request whose callback waits. Awaiting it gives the decision; giving that up cancels the routine."""

    __slots__ = ("_abandon", "_decided", "_number", "decision", "request")

    def __init__(self, number: int, request: Request, abandon: Callable[[int], None]) -> None:
        self.request = request
        self.decision: Decision | None = None
        self._decided = anyio.Event()
        self._number = number
        self._abandon = abandon

    def decide(self, decision: Decision) -> None:
        self.decision = decision
        self._decided.set()

    def __await__(self) -> Generator[Any, Any, Decision]:
        return self._wait().__await__()

    async def _wait(self) -> Decision:
        try:
            await self._decided.wait()
        except BaseException:
            if isinstance(self.decision, Upstream):
                self.decision.close()
            elif self.decision is None:
                self._abandon(self._number)
            raise
        assert self.decision is not None
        return self.decision


class LuaRouter:
    """Routes by ``ruleset.resolve``, ``ruleset.route`` and ``ruleset.route6``."""

    def __init__(self, attached: Attached, operations: Operations, flights: Flights) -> None:
        self._attached = attached
        self._operations = operations
        self._flights = flights
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._pending: dict[int, Pending] = {}
        self._ways: dict[tuple[Primitive, ...], Forward] = {}
        self._enter: Enter | None = None

    def connect(self, enter: Enter) -> None:
        """Use this to enter the machine."""
        self._enter = enter

    def forget(self) -> None:
        """The settings have changed: what answers mean may have, too."""
        self._ways.clear()

    def natives(self) -> Mapping[str, Native]:
        """What the machine calls when a routine decides."""
        return {
            "decide": self._on_decide,
            "await_forward": starter(self._operations, self._forward),
        }

    def route(self, request: Request) -> Decision | Awaitable[Decision]:
        """Ask the ruleset."""
        assert self._enter is not None
        number = next(self._numbers)
        target, credentials = request.target, request.credentials
        address = _address_text(target)
        self._requests[number] = request
        try:
            answer = self._enter(
                "route",
                number,
                _CALLBACKS[request.address_type],
                address,
                credentials.username if credentials else None,
                credentials.password if credentials else None,
            )
        except BaseException:
            del self._requests[number]
            raise
        if answer[0] == b"pending":
            pending = self._pending[number] = Pending(number, request, self._on_abandoned)
            self._flights.begin()
            return pending
        del self._requests[number]
        return self._decision(answer, address, target)

    def _decision(self, answer: tuple[Primitive, ...], address: bytes, target: Address) -> Decision:
        # This is on the path of every connection.
        kind = answer[0]
        if kind == b"forward":
            if len(answer) == 2 and answer[1] == address:
                return Forward(target)
            return self._way(answer[1:])
        if kind == b"reject":
            return Reject(Reason.NOT_ALLOWED, "rejected by the ruleset")
        message = answer[1]
        return self._refused(message if isinstance(message, bytes) else b"the ruleset failed")

    def _way(self, way: tuple[Primitive, ...]) -> Decision:
        known = self._ways.get(way)
        if known is not None:
            return known
        address, *proxies = way
        assert isinstance(address, bytes)
        try:
            forward = parse_forward(self._attached.server, address, tuple(proxies))
        except LuaCallError as error:
            return self._refused(error.message)
        if len(self._ways) >= _KNOWN_WAYS:
            self._ways.clear()
        self._ways[way] = forward
        return forward

    def _refused(self, message: bytes) -> Reject:
        self._attached.server.log.error("ruleset: %s", escape(message, 1024))
        return Reject(Reason.NOT_ALLOWED, "the ruleset failed")

    def _on_abandoned(self, number: int) -> None:
        self._take(number)
        assert self._enter is not None
        self._enter("cancel", number)

    def _take(self, number: int) -> Pending | None:
        self._requests.pop(number, None)
        pending = self._pending.pop(number, None)
        if pending is not None:
            self._flights.end()
        return pending

    def _on_decide(self, number: int, *answer: Primitive) -> None:
        pending = self._take(number)
        if pending is not None:
            target = pending.request.target
            pending.decide(self._decision(answer, _address_text(target), target))
        elif answer[0] == b"error":  # the client has its answer already
            self._refused(answer[1] if isinstance(answer[1], bytes) else b"")

    async def _forward(self, number: int, address: bytes, *proxies: Primitive) -> Result:
        request = self._requests.get(number)
        if request is None:
            return False, b"the request is over"
        try:
            forward = parse_forward(self._attached.server, address, proxies)
            upstream = await request.dial(forward)
        except LuaCallError as error:
            return False, error.message
        except DialError as error:
            return False, str(error).encode()
        pending = self._take(number)
        if pending is None:
            upstream.close()
            return False, b"the request is over"
        self._released(number)
        pending.decide(upstream)
        return (True,)

    def _released(self, number: int) -> None:
        """The session relays; what its routine does from now on is its own affair."""
        assert self._enter is not None
        self._enter("release", number)


def _address_text(target: Address) -> bytes:
    return str(target).encode("ascii", "backslashreplace")
