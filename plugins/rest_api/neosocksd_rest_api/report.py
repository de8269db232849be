"""The text of ``/stats``, laid out as the original's."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, metadata, version

from neosocksd_core.statistics import Statistics

_DISTRIBUTION = "neosocksd"
_REJECTS = ("ruleset", "timeout", "upstream")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@cache
def program_version() -> str:
    """The version of the installed program, empty where it is not installed."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return ""


@cache
def banner() -> str:
    """Program and version, home page where the distribution names one, an empty line."""
    lines = [f"{_DISTRIBUTION} {program_version()}".rstrip()]
    try:
        fields = metadata(_DISTRIBUTION)
    except PackageNotFoundError:
        urls: list[str] = []
    else:
        urls = [text.partition(",")[2].strip() for text in fields.get_all("Project-URL", [])]
    lines += [f"  {url}" for url in urls[:1]]
    return "\n".join(lines) + "\n\n"


@dataclass(frozen=True, slots=True)
class Moment:
    """The counters at one time; ``cpu`` is the processor time of the process in seconds."""

    at: float
    cpu: float
    statistics: Statistics


def take_moment(statistics: Statistics) -> Moment:
    """The counters as they are now."""
    return Moment(time.monotonic(), take_cpu(), statistics)


def take_cpu() -> float:
    """The processor time of the process, in seconds."""
    return time.process_time()


def describe(s: Statistics) -> str:
    """The lines that say how it stands."""
    text = (
        f"Server Time         : {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n"
        f"Uptime              : {format_duration(s.uptime)}\n"
        f"Num Sessions        : {s.num_sessions} (+{s.num_halfopen}) peak={s.num_sessions_peak}\n"
        f"Num Rejected        : {s.num_reject_ruleset + s.num_reject_timeout + s.num_reject_upstream}"
        f" (ruleset={s.num_reject_ruleset}, timeout={s.num_reject_timeout}, upstream={s.num_reject_upstream})\n"
        f"Conn Accepts        : {_with_rest(s.num_serve, s.num_accept)}\n"
        f"Name Resolves       : {_with_rest(s.num_dns_success, s.num_dns_query)}\n"
        f"Requests            : {_with_rest(s.num_success, s.num_request)}\n"
        f"API Requests        : {_with_rest(s.num_api_success, s.num_api_request)}\n"
        f"Handshake Dial      : clients {_both_ways(s.byt_proxy_server_rx, s.byt_proxy_server_tx)},"
        f" proxies {_both_ways(s.byt_proxy_client_rx, s.byt_proxy_client_tx)}\n"
        f"Traffic             : Up {format_bytes(s.byt_up)}, Down {format_bytes(s.byt_down)}\n"
        f"API Client          : {_with_rest(s.num_api_client_success, s.num_api_client_request)}"
        f" {_both_ways(s.byt_api_client_rx, s.byt_api_client_tx)}\n"
    )
    if recent := s.connect_latency.recent:
        p50, p90, p99, top = map(format_seconds, quantiles(recent, 0.5, 0.9, 0.99, 1.0))
        text += f"Connect Latency     : P50={p50} P90={p90} P99={p99} MAX={top}\n"
    return text


def describe_rates(before: Moment, now: Moment) -> str:
    """The lines that say what went on between two moments."""
    seconds = max(now.at - before.at, 1e-3)
    old, new = before.statistics, now.statistics

    def rate(name: str) -> float:
        count: int = getattr(new, name) - getattr(old, name)
        return count / seconds

    served, granted = rate("num_serve"), rate("num_success")
    ruleset, timeout, upstream = (rate(f"num_reject_{kind}") for kind in _REJECTS)
    return (
        f"Accept Rate         : {served:.1f}/s (+{rate('num_accept') - served:.1f}/s)\n"
        f"Request Rate        : {granted:.1f}/s (+{rate('num_request') - granted:.1f}/s)\n"
        f"Reject Rate         : {ruleset + timeout + upstream:.1f}/s"
        f" (ruleset={ruleset:.1f}/s, timeout={timeout:.1f}/s, upstream={upstream:.1f}/s)\n"
        f"Throughput          : Up {format_bytes(rate('byt_up'))}/s, Down {format_bytes(rate('byt_down'))}/s\n"
        f"Server Load         : {(now.cpu - before.cpu) / seconds * 100:.3f}%\n"
    )


def _both_ways(received: int, sent: int) -> str:
    return f"Rx={format_bytes(received)} Tx={format_bytes(sent)}"


def _with_rest(good: int, total: int) -> str:
    return f"{good} (+{total - good})"


def quantiles(samples: Sequence[float], *wanted: float) -> Sequence[float]:
    """The nearest-rank quantiles of *samples*, which are not empty."""
    ordered = sorted(samples)
    return [ordered[max(0, math.ceil(q * len(ordered)) - 1)] for q in wanted]


@lru_cache(maxsize=64)  # who asks often finds most counters as they were
def format_bytes(count: float) -> str:
    """A number of bytes for a person: ``512 B``, ``1.50 KiB``."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{round(count)} B" if unit == 0 else f"{count:.2f} {_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """A duration for a person: ``1d 02:03:04``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d " * bool(days) + f"{hours:02}:{minutes:02}:{rest:02}"


def format_seconds(seconds: float) -> str:
    """A short time for a person: ``1.25ms``, ``2.50s``."""
    if seconds >= 1:
        return f"{seconds:.2f}s"
    return f"{seconds * 1e3:.2f}ms"
