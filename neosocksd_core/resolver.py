"""Name lookup without blocking: a small cache in front of a resolver, and the system's resolver in threads of our own."""

import os
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial

import anyio

from neosocksd_core.addresses import pack_ip
from neosocksd_core.containment import FAULTS, Report, is_own_cancellation
from neosocksd_core.errors import DialError
from neosocksd_core.protocols import Resolution, Resolver
from neosocksd_core.reactor import Reactor
from neosocksd_core.reasons import Reason
from neosocksd_core.recent_answers import RecentAnswers
from neosocksd_core.statistics import Counters

LookupResult = tuple[str, ...] | DialError
"""The addresses of a name, or why there are none."""

CACHE_SIZE = 4096
DEFAULT_TTL = 10.0
"""For how many seconds an answer is believed that came without a time to live (the system's resolver tells none)."""
MAX_TTL = 3600.0
MAX_NEGATIVE_TTL = 30.0
"""For how many seconds it is believed at most that a name has no address: who has just made it wants to try it."""
MAX_ADDRESSES = 64
"""So many addresses of one name are kept at most."""

MAX_THREADS = 64
_IDLE_THREAD_SECONDS = 10.0


class Lookup:
    """One caller's wait for one name."""

    __slots__ = ("_query", "callback")

    def __init__(self, query: "Query", callback: Callable[[LookupResult], None]) -> None:
        self._query = query
        self.callback = callback
        query.lookups.append(self)

    def cancel(self) -> None:
        """The caller no longer wants to know; where nobody else does either, the query is given up."""
        lookups = self._query.lookups
        if self in lookups:
            lookups.remove(self)
            if not lookups:
                self._query.give_up()


class Query:
    """A question that is out, and everybody who waits for its answer."""

    def __init__(self, give_up: Callable[["Query"], None]) -> None:
        self.lookups: list[Lookup] = []
        self.scope: anyio.CancelScope | None = None
        self._give_up = give_up

    def give_up(self) -> None:
        """Nobody wants to know any more."""
        self._give_up(self)
        if self.scope is not None:
            self.scope.cancel()

    def answer(self, result: LookupResult) -> None:
        """Tell everybody."""
        while self.lookups:
            self.lookups.pop(0).callback(result)


class Names:
    """Looks names up for one server: each name once at a time, and remembered for as long as its answer may be."""

    def __init__(
        self,
        reactor: Reactor,
        resolver: Resolver,
        family: socket.AddressFamily,
        counters: Counters,
        report: Report,
    ) -> None:
        """*report* is told what *resolver* raised that it should not."""
        self._report = report
        self._reactor = reactor
        self._resolver = resolver
        self._family = family
        self._counters = counters
        self._cache: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._queries: dict[str, Query] = {}
        self.recent = RecentAnswers()

    def cached(self, host: str) -> LookupResult | None:
        """What is known of *host* at the moment."""
        entry = self._cache.get(host)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._cache[host]
            return None
        return _result(host, entry[1])

    def known(self, host: str) -> LookupResult | None:
        """The addresses of *host* that need not be asked for: its own, where it is one, or what is known of the name at the moment."""
        return (host,) if pack_ip(host) is not None else self.cached(host)

    def look_up(self, host: str, callback: Callable[[LookupResult], None]) -> Lookup:
        """Ask for *host*; *callback* is called later, on the loop, unless the lookup is cancelled."""
        query = self._queries.get(host)
        if query is not None:
            return Lookup(query, callback)
        query = self._queries[host] = Query(lambda query: self._forget(host, query))
        lookup = Lookup(query, callback)
        query.scope = self._reactor.spawn(
            partial(self._resolve, host, query), name=f"lookup {host}"
        )
        return lookup

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of *host*, for code that can wait.

        :raises DialError: with reason NAME_NOT_RESOLVED.
        """
        result = self.cached(host)
        if result is None:
            result = await self._ask(host)
        if isinstance(result, DialError):
            raise result
        return result

    async def _ask(self, host: str) -> LookupResult:
        outcome: list[LookupResult] = []
        done = anyio.Event()

        def finish(result: LookupResult) -> None:
            outcome.append(result)
            done.set()

        lookup = self.look_up(host, finish)
        try:
            await done.wait()
        finally:
            lookup.cancel()
        return outcome[0]

    async def _resolve(self, host: str, query: Query) -> None:
        self._counters.num_dns_query += 1
        started = time.monotonic()
        result: LookupResult = DialError(Reason.NAME_NOT_RESOLVED, f"{host}: lookup failed")
        try:
            resolution = await self._resolver.resolve(host, self._family)
            self._counters.dns_latency.add(time.monotonic() - started)
            result = self._remember(host, resolution)
        except DialError as error:
            result = error
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            self._report(error, "resolver", self._resolver)
        finally:
            self._forget(host, query)
            query.answer(result)

    def _forget(self, host: str, query: Query) -> None:
        if self._queries.get(host) is query:
            del self._queries[host]

    def _remember(self, host: str, resolution: Resolution) -> LookupResult:
        for address in resolution.addresses:
            if pack_ip(address) is None:
                raise ValueError(f"not an IP address: {address!r}")
        addresses = interleave(resolution.addresses[:MAX_ADDRESSES])
        if addresses:
            self._counters.num_dns_success += 1
            self.recent.add(host, addresses)
            default, most = DEFAULT_TTL, MAX_TTL
        else:
            default, most = 0.0, MAX_NEGATIVE_TTL
        ttl = default if resolution.ttl is None else min(resolution.ttl, most)
        if ttl > 0:
            self._cache[host] = (time.monotonic() + ttl, addresses)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return _result(host, addresses)


def _result(host: str, addresses: tuple[str, ...]) -> LookupResult:
    """These addresses; an error, a new one for each caller, where there are none."""
    return addresses or DialError(Reason.NAME_NOT_RESOLVED, f"{host}: no such name, or no address")


def interleave(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses with their families in turn, beginning with that of the first (RFC 8305 section 4)."""
    if not addresses:
        return ()
    first_is_v6 = ":" in addresses[0]
    first = [a for a in addresses if (":" in a) == first_is_v6]
    second = [a for a in addresses if (":" in a) != first_is_v6]
    paired = [a for pair in zip(first, second, strict=False) for a in pair]
    return (*paired, *first[len(second) :], *second[len(first) :])


class SystemResolver:
    """``getaddrinfo`` in daemon threads of our own.

    A stuck name holds one thread of many and no other lookup, and ending the program never waits for it.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        outcome: list[Resolution | DialError] = []
        done = anyio.Event()

        def job() -> None:
            outcome.append(_getaddrinfo(host, family))
            self._reactor.call_threadsafe(done.set)

        self._submit(job)
        try:
            await done.wait()
        finally:
            with self._changed:
                if job in self._jobs:  # nobody waits any more, and no thread has begun with it
                    self._jobs.remove(job)
        if isinstance(outcome[0], DialError):
            raise outcome[0]
        return outcome[0]

    def close(self) -> None:
        """Let idle threads end; busy ones end with their lookup."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _submit(self, job: Callable[[], None]) -> None:
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) > self._idle and self._threads < MAX_THREADS:
                self._start_thread()
            self._changed.notify()

    def _start_thread(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._serve, name="neosocksd lookup", daemon=True).start()
        except RuntimeError:
            # The system has no thread to give: the others have to do, if there are any.
            self._threads -= 1
            if not self._threads:
                raise

    def _serve(self) -> None:
        while (job := self._next_job()) is not None:
            job()

    def _next_job(self) -> Callable[[], None] | None:
        """The next job; None for a thread that is to end."""
        with self._changed:
            self._idle += 1
            try:
                while not self._jobs:
                    has_time = not self._is_closed and self._changed.wait(_IDLE_THREAD_SECONDS)
                    if not has_time and not self._jobs:
                        self._threads -= 1
                        return None
                return self._jobs.popleft()
            finally:
                self._idle -= 1


def _getaddrinfo(host: str, family: socket.AddressFamily) -> Resolution | DialError:
    if "\0" in host:  # what stands before it would be looked up
        return DialError(Reason.NAME_NOT_RESOLVED, "not a host name")
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except (OSError, ValueError, TypeError) as error:  # ValueError: IDNA's labels, a NUL
        if _lacks_descriptors():
            return DialError(Reason.GENERAL_FAILURE, f"{host}: no descriptor for the lookup")
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        return DialError(Reason.NAME_NOT_RESOLVED, f"{host}: {reason}")
    return Resolution(tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))


def _lacks_descriptors() -> bool:
    """Whether that may be why a lookup failed: the system's resolver does not tell."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    return False
