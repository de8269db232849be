"""What the stream of events adds up to: the sessions and the figures, as ``top`` shows them."""

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from neosocksd_rest_api.client import EventStream

HISTORY = 120


@dataclass(slots=True)
class Row:
    """One session, its rate in bytes a second as of the last tick."""

    fields: dict[str, Any]
    opened: float
    up: int
    down: int
    rate: float = 0.0

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        return " -> ".join(value) if name == "chain" and value else str(value or "")


@dataclass(slots=True)
class Board:
    """The state that :meth:`take` builds up."""

    version: str = ""
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    stats: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: list[str] = field(default_factory=list[str])
    memory: float | None = None
    up: deque[float] = field(default_factory=lambda: deque[float](maxlen=HISTORY))
    down: deque[float] = field(default_factory=lambda: deque[float](maxlen=HISTORY))
    stale: bool = False
    """Events were lost: the sessions are to be fetched again."""

    def take(self, name: str, data: Any) -> None:
        match name:
            case "hello":
                self.version = str(data["version"])
                self.replace(data["sessions"])
            case "opened":
                self._open(data)
            case "closed":
                self.rows.pop(data["id"], None)
            case "tick":
                self._tick(data)
            case "lost":
                self.stale = True
            case _:
                pass

    def replace(self, sessions: list[dict[str, Any]]) -> None:
        """These are all sessions there are."""
        self.rows.clear()
        self.stale = False
        for session in sessions:
            self._open(session)

    def matching(self, query: dict[str, str]) -> list[Row]:
        """The sessions that pass a filter, by the API's own rule."""
        folded = {name: text.casefold() for name, text in query.items()}
        text = folded.pop("q", "")
        anywhere = ("client", "user", "target", "chain", "frontend", "protocol")
        return [
            row
            for row in self.rows.values()
            if all(value in row.text(name).casefold() for name, value in folded.items())
            and (not text or any(text in row.text(name).casefold() for name in anywhere))
        ]

    def _open(self, session: dict[str, Any]) -> None:
        self.rows[session["id"]] = Row(
            session,
            time.monotonic() - session["age"],
            session["bytes_up"],
            session["bytes_down"],
            session["rate_up"] + session["rate_down"],
        )

    def _tick(self, data: dict[str, Any]) -> None:
        before, self.stats = self.stats, data["stats"]
        seconds = self.stats["time"] - before["time"] if before else 0.0
        for row in self.rows.values():
            row.rate = 0.0
        for number, up, down in data["active"]:
            known = self.rows.get(number)
            if known is not None:
                moved = up - known.up + down - known.down
                known.rate = moved / seconds if seconds > 0 else 0.0
                known.up, known.down = up, down
        if seconds > 0:
            self.up.append((self.stats["byt_up"] - before["byt_up"]) / seconds)
            self.down.append((self.stats["byt_down"] - before["byt_down"]) / seconds)
        self.problems = data["health"]
        self.memory = data.get("metrics", {}).get("lua_memory_bytes", self.memory)


class Reader:
    """Reads a stream in a thread of its own; :meth:`drain` gives what has come since."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._queue: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """The stream has ended, and all of it was taken."""
        return not self._thread.is_alive() and self._queue.empty()

    def drain(self, board: Board) -> bool:
        """Give *board* what has come; False if nothing has."""
        some = False
        while not self._queue.empty():
            board.take(*self._queue.get())
            some = True
        return some

    def close(self) -> None:
        self._stream.close()
        self._thread.join(2.0)

    def _read(self) -> None:
        for event in self._stream:
            self._queue.put(event)
