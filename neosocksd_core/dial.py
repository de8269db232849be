"""Chain dialling: a TCP connection to the first proxy, then a handshake with each hop towards the next (:mod:`neosocksd_core.hops`).

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
    datagram_options,
    outgoing_options,
    proxy_options,
)
from neosocksd_core.containment import Report, contained
from neosocksd_core.deadlines import DeadlineQueue
from neosocksd_core.errors import DialError
from neosocksd_core.filters import Filter
from neosocksd_core.hops import Hops, Tunnel
from neosocksd_core.policy import Policy
from neosocksd_core.protocols import Dialer
from neosocksd_core.reactor import Reactor
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Forward, Upstream
from neosocksd_core.resolver import Lookup, LookupResult, Names
from neosocksd_core.settings import Settings
from neosocksd_core.statistics import Counters

MAX_HOPS = 64
"""No chain is longer than this."""

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
        report: Report,
    ) -> None:
        self.report = report
        self.reactor = reactor
        self.dialers = dialers
        self.names = names
        self.policy = policy
        self.counters = counters
        self.options: tuple[SocketOption, ...] = outgoing_options(settings)
        self.datagram_options: tuple[SocketOption, ...] = datagram_options(settings)
        self.proxy_options: tuple[SocketOption, ...] = proxy_options(settings)
        self.deadlines: DeadlineQueue[Dial] = DeadlineQueue(
            reactor, settings.dial_timeout, Dial.expire
        )

    def close(self) -> None:
        """Forget the time limits; dials that are under way have been cancelled."""
        self.deadlines.close()

    async def dial(
        self, forward: Forward, origin: Origin, under_way: "set[Dial] | None" = None
    ) -> Upstream:
        """Dial, for code that can wait. Meanwhile the dial is in *under_way*, for whoever may have to abandon it.

        :raises DialError: when it fails or takes too long.
        """
        outcome: list[Upstream | DialError] = []
        done = anyio.Event()

        def finish(result: Upstream | DialError) -> None:
            outcome.append(result)
            done.set()

        dial = Dial(self, forward, origin, finish)
        if under_way is not None:
            under_way.add(dial)
        dial.start()
        try:
            await done.wait()
        except BaseException:
            dial.cancel()
            for result in outcome:
                if isinstance(result, Upstream):
                    result.close()
            raise
        finally:
            if under_way is not None:
                under_way.discard(dial)
        if isinstance(outcome[0], DialError):
            raise outcome[0]
        return outcome[0]


class Dial:
    """One attempt: look up, connect, then the handshakes with the hops."""

    __slots__ = (
        "_bound",
        "_connector",
        "_finish",
        "_forward",
        "_guarded",
        "_hops",
        "_lookup",
        "_origin",
        "_shared",
        "_socket",
        "_started",
    )

    def __init__(self, shared: Dialling, forward: Forward, origin: Origin, finish: Finish) -> None:
        self._shared = shared
        self._forward = forward
        self._origin = origin
        self._guarded = origin.guarded
        self._finish: Finish | None = finish
        self._lookup: Lookup | None = None
        self._connector: Connector | None = None
        self._socket: socket.socket | None = None
        self._bound: SocketAddress | None = None
        self._hops: Hops | None = None
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
        target, chain = self._forward.address, self._forward.chain
        first = chain[0].address if chain else target
        self._look_up(first.host, self._on_resolved)

    def cancel(self) -> None:
        """Give up without a word; whatever is open is closed."""
        self._finish = None
        self._release()

    def abandon(self) -> None:
        """Nobody needs it any more: it fails."""
        self._fail(DialError(Reason.GENERAL_FAILURE, f"{self._forward}: the session has ended"))

    def expire(self) -> None:
        """The time limit has passed."""
        self._fail(DialError(Reason.TIMED_OUT, f"{self._forward}: timed out"))

    def crash(self, error: BaseException) -> None:
        """What ought to raise nothing has raised: a resolver's answer, say."""
        self._shared.report(error, f"dial of {self._forward}")
        self._fail(DialError(Reason.GENERAL_FAILURE, f"{self._forward}: internal error"))

    def _may_ask_for(self, target: Address) -> bool:
        """Whether a proxy may be asked for *target*, which is judged as far as its text tells: the proxy may be on this machine."""
        packed = pack_ip(target.host)
        return packed is None or not self._origin.judged or self._shared.policy.permits(packed)

    # the guard, where a proxy or a router could lead around it

    def _look_up(self, host: str, callback: Callable[[LookupResult], None]) -> None:
        known = self._shared.names.known(host)
        if known is not None:
            callback(known)
        else:
            self._lookup = self._shared.names.look_up(host, callback)

    @contained
    def _on_requested(self, result: LookupResult) -> None:
        self._lookup = None
        requested = self._origin.requested
        assert requested is not None
        # A router may have looked the name up before, and another answer may have led it to where it sends the client.
        before = tuple(self._shared.names.recent.of(requested.host))
        found = () if isinstance(result, DialError) else result
        self._guarded = self._any_is_guarded(found + before, requested.port)
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
            shared = self._shared
            self._hops = Hops(
                shared.reactor,
                shared.dialers,
                shared.counters,
                self._forward,
                self._socket,
                self._on_tunnel,
                shared.report,
            )
            self._hops.start()
        else:
            self._succeed()

    def _on_tunnel(self, result: Tunnel | DialError) -> None:
        self._hops = None
        if isinstance(result, DialError):
            self._fail(result)
        else:
            self._succeed(result.early_data, result.filter)

    def _succeed(self, early_data: bytes = b"", stream_filter: Filter | None = None) -> None:
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
            early_data,
            stream_filter,
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
        if self._hops is not None:
            self._hops.cancel()
            self._hops = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
