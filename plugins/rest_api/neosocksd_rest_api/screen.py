"""What ``neosocksd top`` looks like: draws a board into a curses window of any size."""

import curses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neosocksd_rest_api.amounts import (
    bars,
    bytes_text,
    duration_text,
    latency_text,
    printable,
    rate_text,
)
from neosocksd_rest_api.board import Board, Row

HEAD_LINES = 6
"""Lines above the first session: the figures and the heads of the columns."""

_LEAST = (HEAD_LINES + 2, 40)
_ALL_COUNTS = 64
"""Below this width the bytes of sessions are left out, for their targets' sake."""

_ALL_QUANTILES = 96
"""Below this width the highest latencies are left out, so that those of names have room beside them."""

_NOTICE_SECONDS = 3.0
_HELP = "q quit  ↑↓ select  k kill  / filter  s sort"


@dataclass(slots=True)
class Look:
    """What the user has chosen to see."""

    rows: list[Row] = field(default_factory=list[Row])
    at: int = 0
    selected: int | None = None
    filter: str = ""
    editing: bool = False
    order: str = ""
    first: int = 0
    _notice: str = ""
    _noticed: float = 0.0

    def notify(self, text: str) -> None:
        """Show *text* at the bottom for a while."""
        self._notice, self._noticed = text, time.monotonic()

    @property
    def notice(self) -> str:
        return self._notice if time.monotonic() - self._noticed < _NOTICE_SECONDS else ""


def draw(screen: "curses.window", board: Board, look: Look) -> None:
    """Draw everything anew; curses sends what differs."""
    height, width = screen.getmaxyx()
    screen.erase()
    if (height, width) < _LEAST or width < _LEAST[1]:
        _put(screen, 0, "Too small a window.")
        screen.refresh()
        return
    head = figures(board, width)
    for line, text in enumerate(head):
        _put(screen, line, text, curses.A_BOLD if line == 0 else curses.A_NORMAL)
    columns = _columns(width)
    _put(screen, HEAD_LINES - 1, _line([name for name, _ in columns], columns), curses.A_REVERSE)
    room = height - HEAD_LINES - 1
    look.first = max(0, min(look.first, len(look.rows) - room))
    look.first = min(look.at, max(look.first, look.at - room + 1))
    for offset, row in enumerate(look.rows[look.first : look.first + room]):
        chosen = row.fields["id"] == look.selected
        text = _line([_cell(row, name) for name, _ in columns], columns)
        attribute = curses.A_STANDOUT if chosen else curses.A_NORMAL
        _put(screen, HEAD_LINES + offset, text, attribute)
    if not look.rows and board.stats:
        text = f"No session matches {look.filter!r}." if look.filter else "No sessions."
        _put(screen, HEAD_LINES + 1, f"  {text}")
    _put(screen, height - 1, _bottom(board, look))
    screen.refresh()


def _bottom(board: Board, look: Look) -> str:
    if look.editing:
        return f"filter: {look.filter}_   (words, user:NAME, target:HOST; Enter, Esc)"
    shown = f"{len(look.rows)} of {len(board.rows)}" if look.filter else str(len(board.rows))
    chosen = f"  filter: {look.filter}" if look.filter else ""
    return f"{look.notice or _HELP}  [{shown} by {look.order}]{chosen}"


def figures(board: Board, width: int) -> Sequence[str]:
    """The lines above the sessions, most important first in each, for what is beyond *width* is not seen."""
    s = board.stats
    if not s:
        return [f"neosocksd {board.version}", "waiting for the first figures"]
    connect, dns = s["connect_latency"], s["dns_latency"]
    health = printable("; ".join(board.problems)) or "healthy"
    down, up = (list(values)[-1] if values else 0.0 for values in (board.down, board.up))
    traffic = f"Throughput  down {rate_text(down)}  up {rate_text(up)}  "
    traffic += f"(total {bytes_text(s['byt_down'])}, {bytes_text(s['byt_up'])})  "
    room = max(0, min(60, width - len(traffic) - 1))
    both = [d + u for d, u in zip(board.down, board.up, strict=True)][-room:] if room else []
    memory = "" if board.memory is None else f"  ruleset {bytes_text(board.memory)}"
    failed = max(0, s["num_dns_query"] - s["num_dns_success"])
    sessions = (
        f"Sessions    {s['num_sessions']} (+{s['num_halfopen']}) peak {s['num_sessions_peak']}"
    )
    requests = f"  requests {s['num_request']}  granted {s['num_success']}"
    requests += f"  names {s['num_dns_query']} (-{failed})"
    rejects = f"Rejects     ruleset {s['num_reject_ruleset']}  timeout {s['num_reject_timeout']}"
    return [
        f"neosocksd {board.version}  up {duration_text(s['uptime'])}  {health}",
        sessions + requests,
        f"{rejects}  upstream {s['num_reject_upstream']}{memory}",
        f"Connect     {_quantiles(connect, width)}  DNS {_quantiles(dns, width)}",
        traffic + bars(both),
    ]


def _quantiles(latency: Mapping[str, Any], width: int) -> str:
    """The middle one, and how slow it gets."""
    if latency["p50"] is None:
        return "-"
    shown = ("p50", "p99", "max") if width >= _ALL_QUANTILES else ("p50", "p99")
    return "  ".join(f"{q.upper()} {latency_text(latency[q])}" for q in shown)


def _columns(width: int) -> list[tuple[str, int]]:
    """Names and widths; a negative width stands at the right of its cell. What is narrow comes first, what is nice is left out."""
    fixed = [("AGE", -7), ("UP", -8), ("DOWN", -8), ("RATE", -10)]
    if width < _ALL_COUNTS:
        fixed = [("AGE", -7), ("RATE", -10)]
    room = width - 7 - sum(1 - size for _, size in fixed)
    names = [("ID", -6)]
    if room >= 60:
        names += [("CLIENT", 21), ("USER", 9)]
        room -= 32
    else:
        client = max(0, min(21, room - 17))
        names += [("CLIENT", client)] if client >= 9 else []
        room -= client + 1 if client >= 9 else 0
    extra: list[tuple[str, int]] = []
    if room >= 60:
        extra = [("CHAIN", (room - 12) // 3), ("FRONTEND", 9)]
        room -= sum(size + 1 for _, size in extra)
    return [*names, ("TARGET", max(4, room - 1)), *extra, *fixed]


def _line(cells: Sequence[str], columns: Sequence[tuple[str, int]]) -> str:
    parts: list[str] = []
    for cell, (_, size) in zip(cells, columns, strict=True):
        text = cell if len(cell) <= abs(size) else cell[: abs(size) - 1] + "…"
        parts.append(text.rjust(-size) if size < 0 else text.ljust(size))
    return " ".join(parts)


def _cell(row: Row, name: str) -> str:
    match name:
        case "AGE":
            return duration_text(time.monotonic() - row.opened)
        case "UP":
            return bytes_text(row.up)
        case "DOWN":
            return bytes_text(row.down)
        case "RATE":
            return rate_text(row.rate)
        case "TARGET":
            return printable(row.text("target") or f"({row.text('outcome')})")
        case "CHAIN":
            return printable(row.text("chain") or "direct")
        case "FRONTEND":
            return printable(row.text("protocol") or row.text("frontend"))
        case _:
            return printable(row.text(name.lower()))


def _put(screen: "curses.window", line: int, text: str, attribute: int = curses.A_NORMAL) -> None:
    height, width = screen.getmaxyx()
    if line >= height:
        return
    try:
        screen.addnstr(
            line,
            0,
            text.ljust(width) if attribute else text,
            width - (line == height - 1),
            attribute,
        )
    except curses.error:
        pass  # the window has just become smaller
