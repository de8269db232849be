"""The text of ``/stats``, laid out as the original's: ``%-20s: value``."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
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


def describe(statistics: Statistics) -> str:
    """The lines that say how it stands."""
    return _lines(_state(statistics))


def describe_rates(before: Moment, now: Moment) -> str:
    """The lines that say what went on between two moments."""
    return _lines(_rates(before, now))


def _state(s: Statistics) -> Iterator[tuple[str, str]]:
    yield "Server Time", time.strftime("%Y-%m-%dT%H:%M:%S%z")
    yield "Uptime", format_duration(s.uptime)
    yield "Num Sessions", f"{s.num_sessions} (+{s.num_halfopen}) peak={s.num_sessions_peak}"
    kinds = (s.num_reject_ruleset, s.num_reject_timeout, s.num_reject_upstream)
    yield "Num Rejected", f"{sum(kinds)} ({_named(map(str, kinds))})"
    yield "Conn Accepts", _with_rest(s.num_serve, s.num_accept)
    yield "Name Resolves", _with_rest(s.num_dns_success, s.num_dns_query)
    yield "Requests", _with_rest(s.num_success, s.num_request)
    yield "API Requests", _with_rest(s.num_api_success, s.num_api_request)
    clients = _both_ways(s.byt_proxy_server_rx, s.byt_proxy_server_tx)
    proxies = _both_ways(s.byt_proxy_client_rx, s.byt_proxy_client_tx)
    yield "Handshake Dial", f"clients {clients}, proxies {proxies}"
    yield "Traffic", f"Up {format_bytes(s.byt_up)}, Down {format_bytes(s.byt_down)}"
    calls = _with_rest(s.num_api_client_success, s.num_api_client_request)
    yield "API Client", f"{calls} {_both_ways(s.byt_api_client_rx, s.byt_api_client_tx)}"
    if recent := s.connect_latency.recent:
        p50, p90, p99, top = map(format_seconds, quantiles(recent, 0.5, 0.9, 0.99, 1.0))
        yield "Connect Latency", f"P50={p50} P90={p90} P99={p99} MAX={top}"


def _rates(before: Moment, now: Moment) -> Iterator[tuple[str, str]]:
    seconds = max(now.at - before.at, 1e-3)
    old, new = before.statistics, now.statistics

    def rate(name: str) -> float:
        count: int = getattr(new, name) - getattr(old, name)
        return count / seconds

    served, granted = rate("num_serve"), rate("num_success")
    yield "Accept Rate", f"{served:.1f}/s (+{rate('num_accept') - served:.1f}/s)"
    yield "Request Rate", f"{granted:.1f}/s (+{rate('num_request') - granted:.1f}/s)"
    kinds = [rate(f"num_reject_{kind}") for kind in _REJECTS]
    yield "Reject Rate", f"{sum(kinds):.1f}/s ({_named(f'{kind:.1f}/s' for kind in kinds)})"
    up, down = format_bytes(rate("byt_up")), format_bytes(rate("byt_down"))
    yield "Throughput", f"Up {up}/s, Down {down}/s"
    yield "Server Load", f"{(now.cpu - before.cpu) / seconds * 100:.3f}%"


def _named(values: Iterable[str]) -> str:
    return ", ".join(f"{kind}={value}" for kind, value in zip(_REJECTS, values, strict=True))


def _both_ways(received: int, sent: int) -> str:
    return f"Rx={format_bytes(received)} Tx={format_bytes(sent)}"


def _with_rest(good: int, total: int) -> str:
    return f"{good} (+{total - good})"


def _lines(pairs: Iterator[tuple[str, str]]) -> str:
    return "".join(f"{name:<20}: {value}\n" for name, value in pairs)


def quantiles(samples: Sequence[float], *wanted: float) -> Sequence[float]:
    """The nearest-rank quantiles of *samples*, which are not empty."""
    ordered = sorted(samples)
    return [ordered[max(0, math.ceil(q * len(ordered)) - 1)] for q in wanted]


def format_bytes(count: float) -> str:
    """A number of bytes for a person: ``512 B``, ``1.50 KiB``."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.2f} {_UNITS[unit]}"


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
