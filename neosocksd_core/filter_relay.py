"""The relay for streams that a filter interprets: bytes are received, handed to the filter, and what it queues is sent."""

import enum
import socket
from collections.abc import Callable

from neosocksd_core.containment import contained
from neosocksd_core.filters import Filter, FilterState
from neosocksd_core.poller import HANGUP, READ, WRITE
from neosocksd_core.reactor import Reactor, Watch

RECEIVE_SIZE = 65536
MAX_QUEUED = 1 << 20
"""Above so many unsent bytes towards a peer, that peer is not read either."""


class Outcome(enum.Enum):
    """How a filtered relay ended, and so what is to be done with the two sockets, which stay open and unwatched."""

    TUNNEL = enum.auto()
    """Relay on, untouched; the client's socket is still watched."""
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


_CLIENT_UNREAD = (FilterState.HOLD, FilterState.NEXT)
"""What the client sends is its next request's turn; until then it stays where it is."""


class Side:
    """One peer: its socket, what waits to be sent to it, and what has ended."""

    __slots__ = ("broken", "count", "ended", "queued", "resting", "shut", "sock", "watch")

    def __init__(self, sock: socket.socket, watch: Watch) -> None:
        self.sock = sock
        self.watch = watch
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
        """It has hung up while it is not being read; it rests until it is to be read again."""


class FilterRelay:
    """Joins a client and an upstream through a filter. Calls *finish* once."""

    __slots__ = ("_filter", "_finish", "_report", "client", "upstream")

    def __init__(
        self,
        reactor: Reactor,
        client: socket.socket,
        watch: Watch,
        upstream: socket.socket,
        stream_filter: Filter,
        finish: Callable[[Outcome], None],
        report: Callable[[BaseException], None],
    ) -> None:
        """*watch* is the client's, which is the relay's from now on; the upstream's socket is not watched yet.

        *report* is told what the filter raised, before that ends the relay.
        """
        self._filter = stream_filter
        self._finish: Callable[[Outcome], None] | None = finish
        self._report = report
        watch.callback = self._on_client
        self.client = Side(client, watch)
        self.upstream = Side(upstream, reactor.watch(upstream.fileno(), READ, self._on_upstream))

    def start(self, early_up: bytes, early_down: bytes) -> None:
        """Begin, with what the client has sent already, and with what it is to be sent first."""
        self.client.queued = early_down
        self._begin(early_up)

    @contained
    def _begin(self, early_up: bytes) -> None:
        if early_up:
            self._filter.from_client(early_up)
        self._proceed()

    def counts(self) -> tuple[int, int]:
        """Bytes relayed so far, to the upstream and to the client."""
        return self.upstream.count, self.client.count

    def abort(self) -> None:
        """Give up; *finish* is called with ABORT."""
        self._end(Outcome.ABORT)

    def crash(self, error: BaseException) -> None:
        """The filter raised what it should not."""
        self._report(error)
        self._end(Outcome.ABORT)

    @contained
    def _on_client(self, events: int) -> None:
        client = self.client
        # Events of one batch may be older than what the upstream's have changed: what is to be left unread stays so.
        is_unread = not client.watch.wants(READ) and not client.ended
        if is_unread and events & HANGUP:
            client.resting = True
        elif events & ~WRITE and not is_unread and not client.ended:
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
        if events & HANGUP and not upstream.watch.wants(READ) and not upstream.ended:
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
            if state is not FilterState.TUNNEL:  # that finds the ends by itself
                self._shut_down_what_ended()
            if client.shut and upstream.shut:
                self._end(Outcome.CLOSE)
            else:
                _update(client, upstream, may_read=state not in _CLIENT_UNREAD)
                _update(upstream, client)

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

    def _end(self, outcome: Outcome) -> None:
        finish, self._finish = self._finish, None
        if outcome is not Outcome.TUNNEL:
            self.client.watch.close()
        self.upstream.watch.close()
        if finish is not None:
            finish(outcome)


def _update(side: Side, other: Side, may_read: bool = True) -> None:
    """Watch *side* for what it is needed for next."""
    has_room = not other.queued and len(side.queued) < MAX_QUEUED
    reading = may_read and has_room and not side.ended
    events = (READ if reading else 0) | (WRITE if side.queued else 0)
    if reading:
        side.resting = False
    if side.resting or (not events and (side.broken or (side.ended and side.shut))):
        side.watch.rest()
    else:
        side.watch.want(events)
