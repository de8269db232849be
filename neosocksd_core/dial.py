"""Chain dialling: a TCP connection to the first proxy, then a handshake with each hop towards the next.

A dial is one attempt to reach one address over one chain, with one time limit. It runs in callbacks and finishes exactly once.
"""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from neosocksd_core.addresses import Address, SocketAddress, pack_ip
from neosocksd_core.connect import (
    Connection,
    Connector,
    SocketOption,
    error_of,
    outgoing_options,
    proxy_options,
)
from neosocksd_core.containment import contained
from neosocksd_core.deadlines import DeadlineQueue
from neosocksd_core.errors import DialError
from neosocksd_core.filters import Filter, stack
from neosocksd_core.policy import Policy
from neosocksd_core.poller import READ, WRITE
from neosocksd_core.protocols import ClientHandshake, Dialer
from neosocksd_core.reactor import Reactor, Watch
from neosocksd_core.requests import Forward, Reason, Upstream
from neosocksd_core.resolver import Lookup, LookupResult, Names
from neosocksd_core.settings import Settings
from neosocksd_core.statistics import Counters

MAX_HOPS = 64
"""No chain is longer than this."""

RECEIVE_SIZE = 16384

Finish = Callable[[Upstream | DialError], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who wants a dial, and so what is judged: a client's own wish is guarded, and what the server dials for itself is not judged
    at all. Where a router has sent the client elsewhere, ``requested`` is what the client asked for: only if that is guarded, too,
    the router's choice is."""

    guarded: bool
    judged: bool
    requested: Address | None = None


CLIENT = Origin(guarded=True, judged=True)
SERVER = Origin(guarded=False, judged=False)


class Dialling:
    """What all dials of a server share; replaced as a whole by a reload."""

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        dialers: Mapping[str, Dialer],
        names: Names,
        policy: Policy,
        counters: Counters,
        report: Callable[[Exception, str], None],
    ) -> None:
        self.report = report
        self.reactor = reactor
        self.dialers = dialers
        self.names = names
        self.policy = policy
        self.counters = counters
        self.options: tuple[SocketOption, ...] = outgoing_options(settings)
        self.proxy_options: tuple[SocketOption, ...] = proxy_options(settings)
        self.deadlines: DeadlineQueue[Dial] = DeadlineQueue(
            reactor, settings.dial_timeout, Dial.expire
        )

    def close(self) -> None:
        """Forget the time limits; dials that are under way have been cancelled."""
        self.deadlines.close()

    async def dial(self, forward: Forward, origin: Origin) -> Upstream:
        """Dial, for code that can wait.

        :raises DialError: when it fails or takes too long.
        """
        outcome: list[Upstream | DialError] = []
        done = anyio.Event()

        def finish(result: Upstream | DialError) -> None:
            outcome.append(result)
            done.set()

        dial = Dial(self, forward, origin, finish)
        dial.start()
        try:
            await done.wait()
        except BaseException:
            dial.cancel()
            for result in outcome:
                if isinstance(result, Upstream):
                    result.close()
            raise
        if isinstance(outcome[0], DialError):
            raise outcome[0]
        return outcome[0]


class Dial:
    """One attempt: look up, connect, then one handshake a hop."""

    __slots__ = (
        "_bound",
        "_connector",
        "_early_data",
        "_filters",
        "_finish",
        "_forward",
        "_guarded",
        "_handshake",
        "_hop",
        "_lookup",
        "_origin",
        "_outgoing",
        "_shared",
        "_socket",
        "_started",
        "_watch",
    )  # fmt: skip

    def __init__(self, shared: Dialling, forward: Forward, origin: Origin, finish: Finish) -> None:
        self._shared = shared
        self._forward = forward
        self._origin = origin
        self._guarded = origin.guarded
        self._finish: Finish | None = finish
        self._lookup: Lookup | None = None
        self._connector: Connector | None = None
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        """Of the socket, while there are hops to talk to."""
        self._bound: SocketAddress | None = None
        self._hop = 0
        self._handshake: ClientHandshake | None = None
        self._filters: list[Filter] = []
        self._outgoing = b""
        self._early_data = b""
        self._started = 0.0

    def start(self) -> None:
        """Begin. *finish* may be called before this returns."""
        shared = self._shared
        target, chain = self._forward.address, self._forward.chain
        self._started = time.monotonic()
        if target.port == 0:
            self._fail(DialError(Reason.CONNECTION_REFUSED, f"{target}: no port"))
            return
        if len(chain) > MAX_HOPS:
            self._fail(DialError(Reason.GENERAL_FAILURE, f"a chain of {len(chain)} hops"))
            return
        if chain and not self._may_ask_for(target):
            self._fail(DialError(Reason.NOT_ALLOWED, f"{target} is blocked"))
            return
        shared.deadlines.add(self)
        requested = self._origin.requested
        if requested is not None and shared.policy.guards_port(requested.port):
            self._look_up(requested.host, self._on_requested)
        else:
            self._judge_target()

    def _begin(self) -> None:
        """Connect, to the chain's first proxy if there is one."""
        shared = self._shared
        target, chain = self._forward.address, self._forward.chain
        first = chain[0].address if chain else target
        if pack_ip(first.host) is not None:
            self._connect((first.host,))
            return
        known = shared.names.cached(first.host)
        if known is not None:
            self._connect(known)
        else:
            self._lookup = shared.names.look_up(first.host, self._on_resolved)

    def cancel(self) -> None:
        """Give up without a word; whatever is open is closed."""
        self._finish = None
        self._release()

    def expire(self) -> None:
        """The time limit has passed."""
        self._fail(DialError(Reason.TIMED_OUT, f"{self._forward}: timed out"))

    def crash(self, error: Exception) -> None:
        """A dialer raised what it should not."""
        self._shared.report(error, f"dialer of {self._forward}")
        self._fail(DialError(Reason.GENERAL_FAILURE, f"{self._forward}: internal error"))

    def _may_ask_for(self, target: Address) -> bool:
        """Whether a proxy may be asked for *target*, which is judged as far as its text tells: the proxy may be on this machine."""
        packed = pack_ip(target.host)
        return packed is None or not self._origin.judged or self._shared.policy.permits(packed)

    # the guard, where a proxy or a router could lead around it

    def _look_up(self, host: str, callback: Callable[[LookupResult], None]) -> None:
        if pack_ip(host) is not None:
            callback((host,))
        else:
            self._lookup = self._shared.names.look_up(host, callback)

    @contained
    def _on_requested(self, result: LookupResult) -> None:
        self._lookup = None
        requested = self._origin.requested
        assert requested is not None
        self._guarded = self._any_is_guarded(result, requested.port)
        self._judge_target()

    def _judge_target(self) -> None:
        """A proxy may be on this machine. A direct connection is judged by the address that it is made to."""
        target = self._forward.address
        if self._guarded and self._forward.chain and self._shared.policy.guards_port(target.port):
            self._look_up(target.host, self._on_target)
        else:
            self._begin()

    @contained
    def _on_target(self, result: LookupResult) -> None:
        self._lookup = None
        target = self._forward.address
        if self._any_is_guarded(result, target.port):
            self._fail(DialError(Reason.NOT_ALLOWED, f"{target} is guarded"))
        else:
            self._begin()

    def _any_is_guarded(self, result: LookupResult, port: int) -> bool:
        """Whether a name stands for a guarded address; one that is unknown here does not."""
        if isinstance(result, DialError):
            return False
        packed = [ip for host in result if (ip := pack_ip(host)) is not None]
        return any(self._shared.policy.is_guarded(ip, port) for ip in packed)

    # the connection

    def _on_resolved(self, result: LookupResult) -> None:
        self._lookup = None
        if isinstance(result, DialError):
            self._fail(result)
        else:
            self._connect(result)

    def _connect(self, addresses: tuple[str, ...]) -> None:
        shared = self._shared
        chain = self._forward.chain
        # A chain's proxies are the operator's choice: the block list is about targets.
        judged = self._origin.judged and not chain
        self._connector = Connector(
            shared.reactor,
            shared.proxy_options if chain else shared.options,
            shared.policy,
            judged,
            self._guarded,
            self._on_connected,
        )
        self._connector.start(
            addresses, (chain[0].address if chain else self._forward.address).port
        )

    @contained
    def _on_connected(self, result: Connection | DialError) -> None:
        self._connector = None
        if isinstance(result, DialError):
            self._fail(result)
            return
        self._socket, self._bound = result
        if self._forward.chain:
            self._watch = self._shared.reactor.watch(self._socket.fileno(), READ, self._on_hop)
            self._next_hop()
        else:
            self._succeed()

    def _next_hop(self) -> None:
        """Begin the handshake with the hop that the connection now ends at, or be done."""
        chain = self._forward.chain
        while self._hop < len(chain):
            hop = chain[self._hop]
            last = self._hop + 1 == len(chain)
            onwards: Address = self._forward.address if last else chain[self._hop + 1].address
            try:
                self._handshake = self._shared.dialers[hop.scheme].handshake(hop, onwards)
            except DialError as error:
                self._fail(DialError(error.reason, f"{hop}: {error}"))
                return
            self._send(self._handshake.data_to_send())
            early, self._early_data = self._early_data, b""
            if self._finish is None or not self._advance(early):
                return
        self._finish_when_sent()

    def _finish_when_sent(self) -> None:
        """All hops are done; what the last one is still to be sent goes out first. What comes from now on is the tunnel's."""
        if not self._outgoing:
            self._succeed()
        elif self._watch is not None:
            self._watch.want(WRITE)

    def _advance(self, data: bytes) -> bool:
        """Feed the present hop's handshake; True once it is done and the next is due."""
        handshake = self._handshake
        assert handshake is not None
        try:
            if data:
                handshake.receive_data(data)
        except DialError as error:
            self._fail(DialError(error.reason, f"{self._forward.chain[self._hop]}: {error}"))
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
        sock = self._socket
        assert sock is not None
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
            data = sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error_of(error.errno or 0, str(self._forward.chain[self._hop])))
            return
        if not data:
            hop = self._forward.chain[self._hop]
            self._fail(DialError(Reason.GENERAL_FAILURE, f"{hop}: closed the connection"))
            return
        self._shared.counters.byt_proxy_client_rx += len(data)
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
        sock, watch = self._socket, self._watch
        if sock is None or watch is None:
            return
        try:
            sent = sock.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error_of(error.errno or 0, str(self._forward.chain[0])))
            return
        self._shared.counters.byt_proxy_client_tx += sent
        self._outgoing = self._outgoing[sent:]
        watch.want(READ | WRITE if self._outgoing else READ)

    def _succeed(self) -> None:
        sock, finish = self._socket, self._finish
        assert sock is not None
        assert self._bound is not None
        self._socket = self._finish = None
        self._release()
        self._shared.counters.connect_latency.add(time.monotonic() - self._started)
        upstream = Upstream(
            sock,
            self._forward.address,
            self._forward.chain,
            self._bound,
            self._early_data,
            stack(self._filters) if self._filters else None,
        )
        if finish is None:
            upstream.close()
        else:
            finish(upstream)

    def _fail(self, error: DialError) -> None:
        finish, self._finish = self._finish, None
        self._release()
        if finish is not None:
            finish(error)

    def _release(self) -> None:
        self._shared.deadlines.discard(self)
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        if self._connector is not None:
            self._connector.cancel()
            self._connector = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._handshake = None
