"""The endpoints of the original: text for people, scripts and Prometheus."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from neosocksd_core import ServerContext
from neosocksd_core.statistics import Counters
from neosocksd_rest_api import metrics
from neosocksd_rest_api.report import (
    Moment,
    banner,
    describe,
    describe_rates,
    take_cpu,
    take_moment,
)
from neosocksd_rest_api.sparing import Sparing

_TRUE = frozenset({"1", "y", "yes", "on", "t", "true"})


def parse_query(query: bytes) -> Mapping[str, str]:
    """The values by their names, the last one where a name stands twice; bytes that are no UTF-8 are kept as surrogates."""
    if not query:
        return {}
    text = query.decode("latin-1")
    return dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))


def is_true(query: Mapping[str, str], name: str, default: bool) -> bool:
    """What a query says about a switch."""
    value = query.get(name)
    return default if value is None else value.lower() in _TRUE


class TextEndpoints:
    """``/healthy``, ``/stats`` and ``/metrics`` of one server."""

    def __init__(self, server: ServerContext, health: Sparing[Sequence[str]]) -> None:
        self._server = server
        self._health = health
        self._last: Moment | None = None
        self._used = take_cpu()

    async def healthy(self, request: Request) -> Response:
        """200 while all is well, else 503 with what is wrong."""
        problems = self._health.ask()
        return PlainTextResponse(
            "".join(f"{line}\n" for line in problems), 503 if problems else 200
        )

    async def stats(self, request: Request) -> Response:
        """GET tells how it stands; POST also what went on since the last POST."""
        query = parse_query(request.scope["query_string"])
        text = "" if is_true(query, "nobanner", default=False) else banner()
        statistics = self._server.statistics()
        with_server = is_true(query, "server", default=True)
        if with_server:
            text += describe(statistics)
        if request.method == "POST":
            now, before = take_moment(statistics), self._last
            self._last = now
            if with_server:
                text += describe_rates(before or _start_of(now, self._used), now)
            interval = now.at - before.at if before else statistics.uptime
            for other in self._server.report_stats(interval, query.get("q", "")):
                text += other if other.endswith("\n") else f"{other}\n"
        if is_true(query, "runtime", default=False):
            for other in self._server.report_runtime():
                text += other if other.endswith("\n") else f"{other}\n"
        return Response(
            text.encode("utf-8", "surrogateescape"), media_type="text/plain; charset=utf-8"
        )

    async def metrics(self, request: Request) -> Response:
        """The counters in Prometheus' text format, those of the plugins behind them."""
        text = metrics.render(self._server.statistics(), self._server.report_metrics())
        return Response(text.encode("utf-8", "surrogateescape"), media_type=metrics.CONTENT_TYPE)


def _start_of(now: Moment, used: float) -> Moment:
    """The moment at which the server started, when all counters were zero; *used* is the processor time then."""
    return Moment(now.at - now.statistics.uptime, used, Counters().snapshot())
