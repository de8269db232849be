"""The counters of a server, and the snapshot that is taken of them."""

import time
from collections import deque
from dataclasses import dataclass, fields

LATENCY_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot. Counts are totals since the start; ``uptime`` is in seconds, ``connect_latency`` holds the times in seconds
    that the last dials took, oldest first; ``byt_up`` went from clients to upstreams, ``byt_down`` the other way."""

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
    byt_up: int
    byt_down: int
    connect_latency: tuple[float, ...]
    lasterror: str | None


class Counters:
    """The live counters: plain attributes that the stages add to."""

    __slots__ = (
        "byt_down", "byt_up", "connect_latency", "lasterror", "num_api_request", "num_api_success", "num_accept", "num_dns_query", "num_dns_success",
        "num_reject_ruleset", "num_reject_timeout", "num_reject_upstream", "num_request", "num_serve",
        "num_sessions_peak", "num_success", "started",
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
        self.byt_up = 0
        self.byt_down = 0
        self.connect_latency: deque[float] = deque(maxlen=LATENCY_SAMPLES)
        self.lasterror: str | None = None

    def snapshot(
        self, num_halfopen: int, num_sessions: int, live_up: int, live_down: int
    ) -> Statistics:
        """All counters, with the numbers of living sessions; their bytes are added to those of the ended ones."""
        computed = {"uptime", "num_halfopen", "num_sessions", "connect_latency"}
        values = {
            f.name: getattr(self, f.name) for f in fields(Statistics) if f.name not in computed
        }
        values["byt_up"] += live_up
        values["byt_down"] += live_down
        return Statistics(
            uptime=time.monotonic() - self.started,
            num_halfopen=num_halfopen,
            num_sessions=num_sessions,
            connect_latency=tuple(self.connect_latency),
            **values,
        )
