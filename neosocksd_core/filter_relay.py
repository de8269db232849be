"""The relay for streams that a filter interprets: bytes are received, handed to the filter, and what it queues is sent."""

import enum
import socket
from collections.abc import Callable

from neosocksd_core.containment import contained
from neosocksd_core.filters import Filter, FilterState
from neosocksd_core.reactor import HANGUP, READ, WRITE
from neosocksd_core.relay import Movers

RECEIVE_SIZE = 65536
MAX_QUEUED = 1 << 20
"""Above so many unsent bytes towards a peer, that peer is not read either."""


class Outcome(enum.Enum):
    """How a filtered relay ended, and so what is to be done with the two sockets, which stay open and unwatched."""

    TUNNEL = enum.auto()
    """Relay on, untouched."""
    NEXT = enum.auto()
    """Close the upstream; the client may send another request."""
    CLOSE = enum.auto()
    """Close both in order."""
    ABORT = enum.auto()
    """Reset both."""


_OUTCOMES = {
    FilterState.TUNNEL: Outcome.TUNNEL,
    FilterState.NEXT: Outcome.NEXT,
    FilterState.CLOSE: Outcome.CLOSE,
    FilterState.ABORT: Outcome.ABORT,
}


class Side:
    """One peer: its socket, what waits to be sent to it, and what has ended."""

    __slots__ = ("broken", "count", "ended", "events", "queued", "resting", "shut", "sock")

    def __init__(self, sock: socket.socket, events: int) -> None:
        self.sock = sock
        self.events = events
        """What it is watched for, -1 while it is not watched."""
        self.queued = b""
        self.count = 0
        """Bytes that it has been sent."""
        self.ended = False
        """It will send no more."""
        self.shut = False
        """We will send it no more, and have said so."""
        self.broken = False
        """It takes no more."""
        self.resting = False
        """It has hung up while it is not being read; it is not watched until it is to be read again."""


class FilterRelay:
    """Joins a client and an upstream through a filter. Calls *finish* once."""

    __slots__ = ("_filter", "_finish", "_reactor", "_report", "client", "upstream")

    def __init__(
        self,
        shared: Movers,
        client: socket.socket,
        upstream: socket.socket,
        stream_filter: Filter,
        finish: Callable[[Outcome], None],
        report: Callable[[Exception], None],
    ) -> None:
        """*report* is told what the filter raised, before that ends the relay."""
        self._reactor = shared.reactor
        self._filter = stream_filter
        self._finish: Callable[[Outcome], None] | None = finish
        self._report = report
        self.client = Side(client, READ)
        self.upstream = Side(upstream, -1)

    @contained
    def start(self, early_up: bytes, early_down: bytes) -> None:
        """Begin, with what the client has sent already, and with what it is to be sent first.

        The client's socket is watched for READ already, by another; the upstream's is not watched.
        """
        self._reactor.hand_over(self.client.sock.fileno(), self._on_client)
        if early_up:
            self._filter.from_client(early_up)
        self.client.queued = early_down
        self._proceed()

    def abort(self) -> None:
        """Give up; *finish* is called with ABORT."""
        self._end(Outcome.ABORT)

    def crash(self, error: Exception) -> None:
        """The filter raised what it should not."""
        self._report(error)
        self._end(Outcome.ABORT)

    @contained
    def _on_client(self, events: int) -> None:
        client = self.client
        if events & HANGUP and not client.events & READ and not client.ended:
            client.resting = True
        elif events & ~WRITE and not client.ended:
            try:
                data = client.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                pass
            except OSError:
                self._end(Outcome.ABORT)
                return
            else:
                client.ended = not data
                self._filter.from_client(data)
        elif events & HANGUP:
            self._end(Outcome.ABORT)
            return
        self._proceed()

    @contained
    def _on_upstream(self, events: int) -> None:
        upstream = self.upstream
        if events & HANGUP and not upstream.events & READ and not upstream.ended:
            upstream.resting = True
        elif events & ~WRITE and not upstream.ended:
            try:
                data = upstream.sock.recv(RECEIVE_SIZE)
            except BlockingIOError:
                pass
            except OSError:
                upstream.ended = upstream.broken = True
                self._filter.upstream_failed()
            else:
                upstream.ended = not data
                self._filter.from_upstream(data)
        elif events & HANGUP:
            upstream.broken = True
        self._proceed()

    def _proceed(self) -> None:
        """Send what is queued, act on the filter's state, and watch for what is needed next."""
        client, upstream, stream_filter = self.client, self.upstream, self._filter
        client.queued += stream_filter.to_client()
        upstream.queued += stream_filter.to_upstream()
        if not self._send(client):
            self._end(Outcome.ABORT)
            return
        self._send(upstream)
        state = stream_filter.state
        if not client.queued and state in (FilterState.CLOSE, FilterState.NEXT, FilterState.ABORT):
            self._end(_OUTCOMES[state])
        elif not client.queued and not upstream.queued and state is FilterState.TUNNEL:
            self._end(Outcome.TUNNEL)
        else:
            self._shut_down_what_ended()
            if client.shut and upstream.shut:
                self._end(Outcome.CLOSE)
            else:
                self._update(client, upstream, self._on_client)
                self._update(upstream, client, self._on_upstream)

    def _send(self, side: Side) -> bool:
        """Send what is queued for *side*; False where it takes no more."""
        if side.queued and not side.broken:
            try:
                sent = side.sock.send(side.queued)
            except BlockingIOError:
                return True
            except OSError:
                side.broken = True
            else:
                side.count += sent
                side.queued = side.queued[sent:]
        if side.broken:
            side.queued = b""
        return not side.broken

    def _shut_down_what_ended(self) -> None:
        for side, ended in (
            (self.client, self._filter.client_ended),
            (self.upstream, self._filter.upstream_ended),
        ):
            if ended and not side.queued and not side.shut:
                side.shut = True
                try:
                    side.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    side.broken = True

    def _update(self, side: Side, other: Side, callback: Callable[[int], None]) -> None:
        reading = not side.ended and not other.queued and len(side.queued) < MAX_QUEUED
        events = (READ if reading else 0) | (WRITE if side.queued else 0)
        if reading:
            side.resting = False
        if side.resting or (not events and (side.broken or (side.ended and side.shut))):
            events = -1
        if events == side.events:
            return
        fd = side.sock.fileno()
        if events < 0:
            self._reactor.unwatch(fd)
        elif side.events < 0:
            self._reactor.watch(fd, events, callback)
        else:
            self._reactor.change(fd, events)
        side.events = events

    def _end(self, outcome: Outcome) -> None:
        finish, self._finish = self._finish, None
        for side in (self.client, self.upstream):
            if side.events >= 0:
                self._reactor.unwatch(side.sock.fileno())
                side.events = -1
        if finish is not None:
            finish(outcome)
