"""What the JSON interface takes and gives: the one source of its answers, its checks and its OpenAPI document."""

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model, model_validator

from neosocksd_core import SessionInfo
from neosocksd_core.addresses import Address
from neosocksd_core.statistics import Latency, Statistics
from neosocksd_rest_api.report import quantiles, take_cpu

MOST_SESSIONS = 10_000
MOST_EVENTS = 500


class Session(BaseModel):
    """One session. Rates are in bytes a second."""

    id: int
    client: str
    user: str | None
    target: str | None
    chain: list[str]
    frontend: str
    protocol: str
    outcome: str
    age: float = Field(description="seconds")
    bytes_up: int
    bytes_down: int
    rate_up: float
    rate_down: float


class SessionList(BaseModel):
    """Those that match, newest last, up to the limit."""

    total: int = Field(description="all sessions")
    matched: int
    sessions: list[Session]


class Closed(BaseModel):
    """How many sessions were closed."""

    closed: int


class SessionIds(BaseModel):
    """Which sessions to close; those that are gone are skipped."""

    model_config = ConfigDict(extra="forbid")

    ids: list[int] = Field(max_length=100_000)


class SessionFilter(BaseModel):
    """Sessions that have all of these texts in them, whatever their case; ``q`` may be in any field but ``outcome``."""

    model_config = ConfigDict(extra="forbid")

    q: str = ""
    client: str = ""
    user: str = ""
    target: str = ""
    chain: str = ""
    frontend: str = ""
    outcome: str = ""

    def texts(self) -> dict[str, str]:
        """What is looked for, by field, in lower case; only what was given."""
        names = SessionFilter.model_fields
        return {name: text.lower() for name in names if (text := getattr(self, name))}


class SessionQuery(SessionFilter):
    """Which sessions are listed, and how many at most."""

    limit: int = Field(default=1000, ge=0, le=MOST_SESSIONS)
    before: int | None = Field(
        default=None,
        description="only sessions with a lower id: the first one of a page leads to the page before it",
    )


class CloseQuery(SessionFilter):
    """Which sessions are closed."""

    id: list[int] = Field(default_factory=list[int])
    all: bool = Field(default=False, description="all sessions, where nothing else is given")

    @model_validator(mode="after")
    def _has_criterion(self) -> Self:
        if not (self.texts() or self.id or self.all):
            raise ValueError("which sessions? Give a filter, id, or all=true")
        return self


class Quantiles(BaseModel):
    """How long something took, in seconds: how often it happened since the start, and quantiles of the last times."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class _Measured(BaseModel):
    """The counters, totals since the start."""

    time: float = Field(description="seconds since 1970")
    cpu_seconds: float


_FIELDS: dict[str, Any] = {
    name: (Quantiles if kind is Latency else kind, ...)
    for name, kind in get_type_hints(Statistics).items()
}

Stats = create_model("Stats", __base__=_Measured, __doc__=_Measured.__doc__, **_FIELDS)
"""The fields of :class:`~neosocksd_core.statistics.Statistics`, and what is told beside them."""


class Health(BaseModel):
    """``problems`` has a line for each thing that is wrong."""

    healthy: bool
    problems: list[str]


class Version(BaseModel):
    name: str
    version: str


class Configuration(BaseModel):
    """The settings in force, shaped as the configuration file; secrets are masked."""

    settings: dict[str, JsonValue]


class Plugin(BaseModel):
    name: str
    version: str
    origin: str
    enabled: bool
    hooks: list[str]


class PluginList(BaseModel):
    plugins: list[Plugin]


class OfferedEndpoint(BaseModel):
    path: str
    methods: list[str]
    summary: str


class EndpointList(BaseModel):
    """The control calls that other plugins offer."""

    endpoints: list[OfferedEndpoint]


Level = Literal["fatal", "error", "warning", "notice", "info", "debug", "verbose", "veryverbose"]


class LogQuery(BaseModel):
    """The last lines of the log, of this level and above."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=0, le=MOST_EVENTS)
    level: Level = "info"


class LogEvent(BaseModel):
    id: int
    time: float = Field(description="seconds since 1970")
    level: str
    message: str


class LogEvents(BaseModel):
    """Oldest first."""

    events: list[LogEvent]


class Hello(BaseModel):
    """The first event: the sessions as they are, the newest of them where they are many."""

    version: str
    total: int = Field(description="all sessions")
    sessions: list[Session]


class Tick(BaseModel):
    """Comes each second: ``active`` has the sessions that have relayed since the last one, with all their bytes up and down."""

    stats: Stats  # pyright: ignore[reportInvalidTypeForm]  # it is made from the counters
    health: list[str] = Field(description="a line for each thing that is wrong")
    active: list[tuple[int, int, int]]
    metrics: dict[str, float] = Field(
        default={}, description="those of the script engine; not in every tick"
    )


class Lost(BaseModel):
    """The reader was too slow for ``count`` events before this one."""

    count: int


EVENTS: Mapping[str, type[BaseModel]] = {
    "hello": Hello,
    "opened": Session,
    "closed": Session,
    "tick": Tick,
    "log": LogEvent,
    "lost": Lost,
}
"""What each event of the stream carries, by its name."""


class Reloaded(BaseModel):
    reloaded: bool


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


def session_of(info: SessionInfo, rates: tuple[float, float]) -> dict[str, JsonValue]:
    """The row of one session, as :class:`Session` says; thousands of them are made at once, so that no model is."""
    host, port, *_ = info.client
    return {
        "id": info.id,
        "client": str(Address(host, port)),
        "user": info.user,
        "target": str(info.target) if info.target else None,
        "chain": [str(hop) for hop in info.chain],
        "frontend": info.frontend,
        "protocol": info.protocol,
        "outcome": info.outcome,
        "age": round(info.age, 3),
        "bytes_up": info.bytes_up,
        "bytes_down": info.bytes_down,
        "rate_up": round(rates[0], 1),
        "rate_down": round(rates[1], 1),
    }


def stats_of(statistics: Statistics) -> dict[str, JsonValue]:
    """The counters as :class:`Stats` says."""
    counters: dict[str, JsonValue] = {
        field.name: _told(getattr(statistics, field.name)) for field in fields(Statistics)
    }
    return {"time": time.time(), "cpu_seconds": take_cpu(), **counters}


def _told(value: Latency | JsonValue) -> JsonValue:
    if not isinstance(value, Latency):
        return value
    recent = value.recent
    p50, p90, p99, top = quantiles(recent, 0.5, 0.9, 0.99, 1.0) if recent else [None] * 4
    return {"count": value.count, "p50": p50, "p90": p90, "p99": p99, "max": top}
