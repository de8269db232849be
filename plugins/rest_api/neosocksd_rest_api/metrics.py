"""The text of ``/metrics``, in Prometheus' format 0.0.4, with the original's names."""

from collections.abc import Iterator, Sequence

from neosocksd_core.statistics import Latency, Statistics
from neosocksd_rest_api.report import quantiles, take_cpu

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "neosocksd_"

_GAUGES = (
    ("uptime_seconds", "uptime", "Time since the start."),
    ("sessions_active", "num_sessions", "Sessions that relay."),
    ("sessions_peak", "num_sessions_peak", "The most sessions at once."),
    ("halfopen_connections", "num_halfopen", "Connections that do not relay yet."),
)
_COUNTERS = (
    ("connections_accepted_total", "num_accept", "Connections that the listeners took."),
    ("connections_served_total", "num_serve", "Connections that no limit turned away."),
    ("requests_total", "num_request", "Requests of clients."),
    ("requests_success_total", "num_success", "Requests that were granted."),
    ("rejects_ruleset_total", "num_reject_ruleset", "Requests that the ruleset rejected."),
    ("rejects_timeout_total", "num_reject_timeout", "Requests that took too long."),
    ("rejects_upstream_total", "num_reject_upstream", "Requests whose upstream failed."),
    ("dns_queries_total", "num_dns_query", "Names that were looked up."),
    ("dns_success_total", "num_dns_success", "Names that were found."),
    ("api_requests_total", "num_api_request", "Requests to this interface."),
    ("api_requests_success_total", "num_api_success", "Of these, the ones that succeeded."),
    ("api_client_requests_total", "num_api_client_request", "Calls to other servers."),
    ("uplink_bytes_total", "byt_up", "Bytes from clients to upstreams."),
    ("downlink_bytes_total", "byt_down", "Bytes from upstreams to clients."),
)
_MODULES = ("api_server", "proxy_server", "proxy_client", "api_client")
_QUANTILES = (0.5, 0.9, 0.99)


def render(statistics: Statistics, others: Sequence[str]) -> str:
    """All metrics of the server, and after them *others*, those of the plugins."""
    texts = ["".join(f"{line}\n" for line in _lines(statistics))]
    return "".join([*texts, *(text.rstrip("\n") + "\n" for text in others if text)])


def _lines(statistics: Statistics) -> Iterator[str]:
    yield from _single("process_cpu_seconds_total", "counter", "Processor time.", take_cpu())
    for kind, metrics in (("gauge", _GAUGES), ("counter", _COUNTERS)):
        for name, field, text in metrics:
            yield from _single(name, kind, text, getattr(statistics, field))
    yield from _protocol_bytes(statistics)
    text = "Time that dials took which succeeded; quantiles of the last ones."
    yield from _summary("connect_latency_seconds", text, statistics.connect_latency)
    text = "Time that look-ups took which found the name; quantiles of the last ones."
    yield from _summary("dns_latency_seconds", text, statistics.dns_latency)


def _protocol_bytes(statistics: Statistics) -> Iterator[str]:
    name = f"{_PREFIX}protocol_bytes_total"
    yield from _head(name, "counter", "Bytes of the protocols around the relay.")
    for module in _MODULES:
        for direction in ("rx", "tx"):
            value = getattr(statistics, f"byt_{module}_{direction}")
            yield f'{name}{{direction="{direction}",module="{module}"}} {value}'


def _summary(name: str, text: str, latency: Latency) -> Iterator[str]:
    name = _PREFIX + name
    yield from _head(name, "summary", text)
    if latency.recent:
        for q, seconds in zip(_QUANTILES, quantiles(latency.recent, *_QUANTILES), strict=True):
            yield f'{name}{{quantile="{q}"}} {seconds:.6f}'
    yield f"{name}_sum {latency.total:.6f}"
    yield f"{name}_count {latency.count}"


def _single(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    name = _PREFIX + name
    yield from _head(name, kind, text)
    yield f"{name} {round(value, 3)}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
