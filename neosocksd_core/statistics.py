"""The counters of a server, and the snapshot that is taken of them.

Who looks gets a snapshot of its own. It is not frozen: that would take longer than all the rest of it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

LATENCY_SAMPLES = 256


@dataclass(slots=True)
class Latency:
    """How long something took: how often it happened and the seconds of all times together, since the start, and the last times
    in seconds, oldest first."""

    count: int
    total: float
    recent: tuple[float, ...]


class LatencyCounter:
    """The live counter behind a :class:`Latency`."""

    __slots__ = ("_count", "_recent", "_total")

    def __init__(self) -> None:
        self._count = 0
        self._total = 0.0
        self._recent: deque[float] = deque(maxlen=LATENCY_SAMPLES)

    def add(self, seconds: float) -> None:
        """It has happened once more."""
        self._count += 1
        self._total += seconds
        self._recent.append(seconds)

    def snapshot(self) -> Latency:
        return Latency(self._count, self._total, tuple(self._recent))


@dataclass(slots=True)
class Statistics:
    """A snapshot. Counts are totals since the start; ``uptime`` is in seconds; ``byt_up`` went from clients to upstreams, ``byt_down``
    the other way.

    ``num_success`` are the requests that were granted (of HTTP exchanges, those that were carried to their end);
    ``connect_latency`` is of dials that succeeded, ``dns_latency`` of look-ups that found the name. ``byt_proxy_server_*`` are the
    bytes received from clients and sent to them until their requests were granted or refused, ``byt_proxy_client_*`` those of the
    handshakes with upstream proxies; ``byt_api_server_*`` and ``byt_api_client_*`` those of calls to us and of calls to other servers.
    """

    uptime: float
    num_halfopen: int
    num_sessions: int
    num_sessions_peak: int
    num_request: int
    num_success: int
    num_reject_ruleset: int
    num_reject_timeout: int
    num_reject_upstream: int
    num_accept: int
    num_serve: int
    num_dns_query: int
    num_dns_success: int
    num_api_request: int
    num_api_success: int
    num_api_client_request: int
    num_api_client_success: int
    byt_up: int
    byt_down: int
    byt_proxy_server_rx: int
    byt_proxy_server_tx: int
    byt_proxy_client_rx: int
    byt_proxy_client_tx: int
    byt_api_server_rx: int
    byt_api_server_tx: int
    byt_api_client_rx: int
    byt_api_client_tx: int
    connect_latency: Latency
    dns_latency: Latency
    lasterror: str | None


def _values(first: str, last: str) -> Callable[[object], tuple[Any, ...]]:
    """Takes the values of the fields from *first* to *last*, as they stand in a snapshot, off what has attributes of these names."""
    names = [field.name for field in fields(Statistics)]
    return attrgetter(*names[names.index(first) : names.index(last) + 1])


_numbers = _values("num_sessions_peak", "num_api_client_success")
_bytes = _values("byt_proxy_server_rx", "byt_api_client_tx")


class Counters:
    """The live counters: plain attributes that the stages add to."""

    __slots__ = (
        "byt_api_client_rx", "byt_api_client_tx", "byt_api_server_rx", "byt_api_server_tx", "byt_down", "byt_proxy_client_rx",
        "byt_proxy_client_tx", "byt_proxy_server_rx", "byt_proxy_server_tx", "byt_up", "connect_latency", "dns_latency",
        "lasterror", "num_accept", "num_api_client_request", "num_api_client_success", "num_api_request", "num_api_success",
        "num_dns_query", "num_dns_success", "num_reject_ruleset", "num_reject_timeout", "num_reject_upstream", "num_request",
        "num_serve", "num_sessions_peak", "num_success", "started",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.num_sessions_peak = 0
        self.num_request = 0
        self.num_success = 0
        self.num_reject_ruleset = 0
        self.num_reject_timeout = 0
        self.num_reject_upstream = 0
        self.num_accept = 0
        """Connections that the listeners took."""
        self.num_serve = 0
        """Of these, the ones that were not turned away by a limit."""
        self.num_dns_query = 0
        self.num_dns_success = 0
        self.num_api_request = 0
        """Calls of a control interface, which counts them here."""
        self.num_api_success = 0
        self.num_api_client_request = 0
        """Calls to other servers' control interfaces; who makes them counts them here."""
        self.num_api_client_success = 0
        self.byt_up = 0
        self.byt_down = 0
        self.byt_proxy_server_rx = 0
        self.byt_proxy_server_tx = 0
        self.byt_proxy_client_rx = 0
        self.byt_proxy_client_tx = 0
        self.byt_api_server_rx = 0
        self.byt_api_server_tx = 0
        self.byt_api_client_rx = 0
        self.byt_api_client_tx = 0
        self.connect_latency = LatencyCounter()
        self.dns_latency = LatencyCounter()
        self.lasterror: str | None = None

    def snapshot(
        self,
        num_halfopen: int = 0,
        num_sessions: int = 0,
        traffic: tuple[int, int] | None = None,
    ) -> Statistics:
        """All counters, with the numbers of living sessions, and the bytes up and down of all sessions where some live."""
        # By their places: thirty names would take longer than all the rest.
        values: list[Any] = [
            time.monotonic() - self.started,
            num_halfopen,
            num_sessions,
            *_numbers(self),
            *(traffic or (self.byt_up, self.byt_down)),
            *_bytes(self),
            self.connect_latency.snapshot(),
            self.dns_latency.snapshot(),
            self.lasterror,
        ]
        return Statistics(*values)
