"""The hops of a chain: over the connection to the first proxy, one handshake after the other, each towards the next.

What a hop's dialer encodes is undone for the hops behind it. The socket is not owned here: the dial owns it.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neosocksd_core.connect import error_of
from neosocksd_core.containment import FAULTS, Report, contained
from neosocksd_core.errors import DialError
from neosocksd_core.filters import Filter, stack
from neosocksd_core.poller import READ, WRITE
from neosocksd_core.protocols import ClientHandshake, Dialer
from neosocksd_core.reactor import Reactor
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Forward
from neosocksd_core.statistics import Counters

RECEIVE_SIZE = 16384


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What the hops left behind: the tunnel's first bytes, decoded already, and what encodes the stream, if anything does."""

    early_data: bytes
    filter: Filter | None


class Hops:
    """The handshakes of one dial. Calls *finish* once, unless it is cancelled before that."""

    __slots__ = (
        "_counters",
        "_dialers",
        "_early_data",
        "_filters",
        "_finish",
        "_forward",
        "_handshake",
        "_hop",
        "_outgoing",
        "_report",
        "_socket",
        "_watch",
    )

    def __init__(
        self,
        reactor: Reactor,
        dialers: Mapping[str, Dialer],
        counters: Counters,
        forward: Forward,
        sock: socket.socket,
        finish: Callable[[Tunnel | DialError], None],
        report: Report,
    ) -> None:
        """*sock* is connected to the first hop of *forward*; *report* is told what a dialer raised that it should not."""
        self._dialers = dialers
        self._counters = counters
        self._forward = forward
        self._socket = sock
        self._finish: Callable[[Tunnel | DialError], None] | None = finish
        self._report = report
        self._watch = reactor.watch(sock.fileno(), READ, self._on_hop)
        self._hop = 0
        self._handshake: ClientHandshake | None = None
        self._filters: list[Filter] = []
        self._outgoing = b""
        self._early_data = b""

    def start(self) -> None:
        """Begin. *finish* may be called before this returns."""
        try:
            self._next_hop()
        except FAULTS as error:
            self.crash(error)

    def cancel(self) -> None:
        """Give up without a word."""
        self._finish = None
        self._watch.close()

    def crash(self, error: BaseException) -> None:
        """A dialer raised what it should not."""
        chain = self._forward.chain
        dialer = self._dialers.get(chain[self._hop].scheme) if self._hop < len(chain) else None
        self._report(error, f"dialer of {self._forward}", dialer)
        self._end(DialError(Reason.GENERAL_FAILURE, f"{self._forward}: internal error"))

    def _end(self, result: Tunnel | DialError) -> None:
        finish, self._finish = self._finish, None
        self._watch.close()
        if finish is not None:
            finish(result)

    def _next_hop(self) -> None:
        """Begin the handshake with the hop that the connection now ends at, or be done."""
        chain = self._forward.chain
        while self._hop < len(chain):
            hop = chain[self._hop]
            last = self._hop + 1 == len(chain)
            onwards = self._forward.address if last else chain[self._hop + 1].address
            try:
                self._handshake = self._dialers[hop.scheme].handshake(hop, onwards)
            except DialError as error:
                self._end(DialError(error.reason, f"{hop}: {error}"))
                return
            self._send(self._handshake.data_to_send())
            early, self._early_data = self._early_data, b""
            if self._finish is None or not self._advance(early):
                return
        self._finish_when_sent()

    def _finish_when_sent(self) -> None:
        """All hops are done; what the last one is still to be sent goes out first. What comes from now on is the tunnel's."""
        if self._outgoing:
            self._watch.want(WRITE)
        else:
            self._end(Tunnel(self._early_data, stack(self._filters) if self._filters else None))

    def _advance(self, data: bytes) -> bool:
        """Feed the present hop's handshake; True once it is done and the next is due."""
        handshake = self._handshake
        assert handshake is not None
        try:
            if data:
                handshake.receive_data(data)
        except DialError as error:
            self._end(DialError(error.reason, f"{self._forward.chain[self._hop]}: {error}"))
            return False
        self._send(handshake.data_to_send())
        if not handshake.done or self._finish is None:
            return False
        early = handshake.trailing_data()
        if handshake.filter is not None:
            self._filters.insert(0, handshake.filter)
            if early:
                handshake.filter.from_upstream(early)
                early = handshake.filter.to_client()
                self._send(b"")
        self._early_data = early
        self._handshake = None
        self._hop += 1
        return True

    @contained
    def _on_hop(self, events: int) -> None:
        if events & WRITE:
            self._flush()
            if self._finish is None:
                return
        if self._handshake is None:
            self._finish_when_sent()
            return
        if not events & ~WRITE:
            return
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error_of(error.errno or 0, str(self._forward.chain[self._hop])))
            return
        if not data:
            hop = self._forward.chain[self._hop]
            self._end(DialError(Reason.GENERAL_FAILURE, f"{hop}: closed the connection"))
            return
        self._counters.byt_proxy_client_rx += len(data)
        if self._advance(self._decode(data)):
            self._next_hop()

    def _decode(self, data: bytes) -> bytes:
        for inner in reversed(self._filters):
            inner.from_upstream(data)
            data = inner.to_client()
        if self._filters:
            self._send(b"")
        return data

    def _send(self, data: bytes) -> None:
        for inner in self._filters:
            if data:
                inner.from_client(data)
            data = inner.to_upstream()
        if data:
            self._outgoing += data
            self._flush()

    def _flush(self) -> None:
        if self._finish is None:
            return
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._end(error_of(error.errno or 0, str(self._forward.chain[0])))
            return
        self._counters.byt_proxy_client_tx += sent
        self._outgoing = self._outgoing[sent:]
        self._watch.want(READ | WRITE if self._outgoing else READ)
