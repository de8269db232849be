"""The text of ``/metrics``, in Prometheus' format 0.0.4, with the original's names."""

from collections.abc import Sequence

from neosocksd_core.statistics import Statistics
from neosocksd_rest_api.connection import Traffic
from neosocksd_rest_api.report import quantile, take_cpu

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

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
    ("uplink_bytes_total", "byt_up", "Bytes from clients to upstreams."),
    ("downlink_bytes_total", "byt_down", "Bytes from upstreams to clients."),
)
_GAUGES = (
    ("uptime_seconds", "uptime", "Time since the start."),
    ("sessions_active", "num_sessions", "Sessions that relay."),
    ("sessions_peak", "num_sessions_peak", "The most sessions at once."),
    ("halfopen_connections", "num_halfopen", "Connections that do not relay yet."),
)
_QUANTILES = (0.5, 0.9, 0.99)


def render(statistics: Statistics, traffic: Traffic, others: Sequence[str]) -> str:
    """All metrics of the server, and after them *others*, those of the plugins."""
    used = round(take_cpu(), 3)
    lines = _metric("process_cpu_seconds_total", "counter", "Processor time.", used)
    for name, attribute, text in _GAUGES:
        lines += _metric(name, "gauge", text, getattr(statistics, attribute))
    for name, attribute, text in _COUNTERS:
        lines += _metric(name, "counter", text, getattr(statistics, attribute))
    name = "neosocksd_protocol_bytes_total"
    lines += [
        f"# HELP {name} Bytes of the server's own protocols.",
        f"# TYPE {name} counter",
        f'{name}{{direction="rx",module="api_server"}} {traffic.received}',
        f'{name}{{direction="tx",module="api_server"}} {traffic.sent}',
    ]
    lines += _latency(statistics)
    texts = ["\n".join(lines) + "\n", *(text.rstrip("\n") + "\n" for text in others if text)]
    return "".join(texts)


def _latency(statistics: Statistics) -> list[str]:
    name = "neosocksd_connect_latency_seconds"
    samples = statistics.connect_latency
    lines = [f"# HELP {name} Time that the last dials took.", f"# TYPE {name} summary"]
    if samples:
        lines += [f'{name}{{quantile="{q}"}} {quantile(samples, q):.6f}' for q in _QUANTILES]
    return [*lines, f"{name}_sum {sum(samples):.6f}", f"{name}_count {len(samples)}"]


def _metric(name: str, kind: str, text: str, value: float) -> list[str]:
    name = f"neosocksd_{name}"
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
