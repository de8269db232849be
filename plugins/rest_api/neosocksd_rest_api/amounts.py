"""Amounts as people read them in a terminal, and the filter of the session list as it is written there."""

from collections.abc import Iterable

FIELDS = ("client", "user", "target", "chain", "frontend", "outcome")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BARS = " ▁▂▃▄▅▆▇█"


def bytes_text(count: float) -> str:
    """Bytes in decimal units, three digits: ``1.25 MB``."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{_digits(count) if unit else 0}f} {_UNITS[unit]}"


def _digits(count: float) -> int:
    """Digits behind the point, of three in all."""
    return 0 if count >= 99.95 else 1 if count >= 9.995 else 2


def rate_text(rate: float) -> str:
    """Bytes a second; a dash where nothing moves."""
    return f"{bytes_text(rate)}/s" if rate >= 0.5 else "-"


def duration_text(seconds: float) -> str:
    """Seconds, in two units at most: ``3h12m``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02}h"


def latency_text(seconds: float | None) -> str:
    """A latency, three digits: ``12.5 ms``; a dash for none."""
    if seconds is None:
        return "-"
    if seconds >= 0.9995:
        return f"{seconds:.2f} s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    count = seconds * 1e3
    return f"{count:.{_digits(count)}f} ms"


def printable(text: object) -> str:
    """*text* without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def bars(values: Iterable[float]) -> str:
    """A line of blocks as high as the values are."""
    listed = list(values)
    top = max(listed, default=0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(8, int(value / top * 8 + 0.999))] for value in listed)


def parse_filter(words: Iterable[str]) -> dict[str, str]:
    """The API's query for a filter such as ``user:alice example.com``: fields by name, and the rest as one text."""
    query: dict[str, str] = {}
    rest: list[str] = []
    for word in words:
        name, colon, text = word.partition(":")
        if colon and text and name in FIELDS:
            query[name] = text
        else:
            rest.append(word)
    return query | ({"q": " ".join(rest)} if rest else {})
