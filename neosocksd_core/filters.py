"""Filters on filters: where both a frontend and a dialer interpret the stream, or several hops do."""

from collections.abc import Sequence
from functools import reduce

from neosocksd_core.protocols import Filter, FilterState


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
        if self._outer is None or self._outer.state is FilterState.RELAY:
            return self._inner.state
        return self._outer.state

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
