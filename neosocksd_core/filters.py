"""Filters: what stands in the relay where bytes cannot pass untouched, and how two of them stand behind one another."""

import enum
from collections.abc import Sequence
from functools import reduce
from typing import Protocol

from neosocksd_core.errors import NeosocksdError


class FilterState(enum.Enum):
    """What a :class:`Filter` needs of the relay next. Queued bytes are sent before the state is acted on."""

    RELAY = "relay"
    """Go on feeding both directions."""
    HOLD = "hold"
    """As RELAY, but leave the client unread: it has sent enough for now."""
    TUNNEL = "tunnel"
    """Step aside: from here on bytes pass untouched in both directions."""
    NEXT = "next"
    """The exchange is over and the client may send another request, which is left unread: close the upstream, hand the client back to
    its handshake."""
    CLOSE = "close"
    """Close both connections in an orderly way."""
    ABORT = "abort"
    """Close both connections so that each peer sees that something is missing (a reset)."""


class Filter(Protocol):
    """Stands in the relay where bytes cannot pass untouched (HTTP forwarding, an encrypting dialer).

    What it has queued before the first feeding (a request that is forwarded, say) is sent first.
    The relay feeds it from either side and sends what it has queued for either side. It is fed only while what it queued
    before has been sent and its state says so, so it needs no bounds of its own beyond what one feeding (64 KiB at most) can cause.
    """

    def from_client(self, data: bytes) -> None:
        """Bytes from the client's side; ``b""`` means that the client will send no more."""

    def from_upstream(self, data: bytes) -> None:
        """Bytes from the upstream's side; ``b""`` means that the upstream will send no more."""

    def upstream_failed(self) -> None:
        """The upstream connection broke (a reset rather than an orderly end)."""

    def to_client(self) -> bytes:
        """Take the bytes queued for the client."""
        ...

    def to_upstream(self) -> bytes:
        """Take the bytes queued for the upstream."""
        ...

    @property
    def client_ended(self) -> bool:
        """True once nothing more will be queued for the client: the relay then half-closes that side."""
        ...

    @property
    def upstream_ended(self) -> bool:
        """True once nothing more will be queued for the upstream: the relay then half-closes that side."""
        ...

    @property
    def state(self) -> FilterState: ...

    @property
    def failure(self) -> NeosocksdError | None:
        """What went wrong, for the log and the counters: a DialError where it is the upstream's fault, a ProtocolError where it
        is the client's; None while all is well."""
        ...


class Stack:
    """Two filters as one: *outer* towards the client, *inner* towards the upstream.

    The outer one's TUNNEL is passed on by stepping aside itself while the inner one goes on.
    """

    def __init__(self, outer: Filter, inner: Filter) -> None:
        self._outer: Filter | None = outer
        self._inner = inner
        self._client_done = False
        self._upstream_done = False
        self._to_client = b""
        self._move()

    def from_client(self, data: bytes) -> None:
        if self._outer is None:
            self._inner.from_client(data)
        else:
            self._outer.from_client(data)
            self._move()

    def from_upstream(self, data: bytes) -> None:
        self._inner.from_upstream(data)
        self._move()

    def upstream_failed(self) -> None:
        self._inner.upstream_failed()
        self._move()
        if self._outer is not None:
            self._outer.upstream_failed()
            self._move()

    def to_client(self) -> bytes:
        data, self._to_client = self._to_client, b""
        return data + (
            self._outer.to_client() if self._outer is not None else self._inner.to_client()
        )

    def to_upstream(self) -> bytes:
        return self._inner.to_upstream()

    @property
    def client_ended(self) -> bool:
        return (self._outer or self._inner).client_ended

    @property
    def upstream_ended(self) -> bool:
        return self._inner.upstream_ended

    @property
    def state(self) -> FilterState:
        outer = FilterState.RELAY if self._outer is None else self._outer.state
        inner = self._inner.state
        goes_on = outer in (FilterState.RELAY, FilterState.HOLD)
        return inner if goes_on and inner is not FilterState.RELAY else outer

    @property
    def failure(self) -> NeosocksdError | None:
        outer = self._outer.failure if self._outer is not None else None
        return outer or self._inner.failure

    def _move(self) -> None:
        """Carry what one filter has queued for the other across."""
        outer, inner = self._outer, self._inner
        if outer is None:
            return
        moving = True
        while moving:
            moving = False
            if data := outer.to_upstream():
                inner.from_client(data)
                moving = True
            if outer.upstream_ended and not self._upstream_done:
                self._upstream_done = moving = True
                inner.from_client(b"")
            if data := inner.to_client():
                outer.from_upstream(data)
                moving = True
            if inner.client_ended and not self._client_done:
                self._client_done = moving = True
                outer.from_upstream(b"")
        if outer.state is FilterState.TUNNEL:
            self._to_client += outer.to_client()
            self._outer = None


def stack(filters: Sequence[Filter]) -> Filter:
    """The filters as one, the one nearest to the client first. There is at least one."""
    return reduce(Stack, filters)
