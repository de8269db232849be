"""What happens while somebody looks: sessions that open and close, a tick a second, lines of the log. As server-sent events.

Nobody looks most of the time, and then a session costs one test for that. A reader that is too slow loses events and is told how many.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from weakref import finalize

import anyio

from neosocksd_core import ServerContext, SessionInfo
from neosocksd_rest_api.log_ring import LogRing
from neosocksd_rest_api.models import MOST_SESSIONS, session_of, stats_of
from neosocksd_rest_api.queries import slices
from neosocksd_rest_api.report import program_version
from neosocksd_rest_api.sparing import Sparing

TICK_SECONDS = 1.0
METRICS_TICKS = 5
"""The plugins' metrics are read every so many ticks."""

MOST_WAITING = 8192
"""Events that may wait for a reader."""

_FRESH_SECONDS = 0.5
_GAUGE = re.compile(r"neosocksd_(lua_[a-z0-9_]+) ([0-9.eE+-]+)\Z")


class Meter:
    """How fast sessions relay, from two looks at them."""

    def __init__(self) -> None:
        self._at = 0.0
        self._counts: Mapping[int, tuple[int, int]] = {}
        self._rates: dict[int, tuple[float, float]] = {}

    def look(self, counts: Mapping[int, tuple[int, int]], now: float) -> list[tuple[int, int, int]]:
        """Take note of the sessions' counts; the ids of those that have changed since the last look, with their counts.

        Looks that follow too closely are not counted, so that a rate is one.
        """
        seconds = now - self._at
        if seconds < _FRESH_SECONDS:
            return []
        changed: list[tuple[int, int, int]] = []
        self._rates = {}
        for session, (up, down) in counts.items():
            old = self._counts.get(session)
            if old is not None and old != (up, down):
                self._rates[session] = ((up - old[0]) / seconds, (down - old[1]) / seconds)
            if old != (up, down):
                changed.append((session, up, down))
        self._counts, self._at = counts, now
        return changed

    def rates(self, session: SessionInfo) -> tuple[float, float]:
        """Bytes a second up and down, over the last interval; since its start for a session that is new."""
        if session.id in self._counts or session.age <= 0:
            return self._rates.get(session.id, (0.0, 0.0))
        return session.bytes_up / session.age, session.bytes_down / session.age


class Reader:
    """One who looks."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._lost = 0
        self._is_dismissed = False
        self._wake = anyio.Event()

    def put(self, event: bytes) -> None:
        """Have one more event wait; if there are too many, it is lost."""
        if len(self._events) >= MOST_WAITING:
            self._lost += 1
        else:
            self._events.append(event)
        self._wake.set()

    def dismiss(self) -> None:
        """Let the stream end: whoever reads it must ask anew."""
        self._is_dismissed = True
        self._wake.set()

    async def take(self) -> bytes:
        """All events that wait, at least one; nothing if the stream is to end."""
        if not self._events and not self._is_dismissed:
            self._wake = anyio.Event()
            await self._wake.wait()
        data = b"".join(self._events)
        self._events.clear()
        if self._lost:
            data += encode_event("lost", {"count": self._lost})
            self._lost = 0
        return data


def write_rows(sessions: Sequence[SessionInfo], meter: Meter) -> Iterator[bytes]:
    """The rows of *sessions* as the members of a JSON array, some at a time."""
    for number, some in enumerate(slices(sessions)):
        rows = [session_of(info, meter.rates(info)) for info in some]
        yield (("," if number else "") + json.dumps(rows)[1:-1]).encode()


def encode_event(name: str, data: Mapping[str, object]) -> bytes:
    """One event of a stream. JSON has no line ends, so that one line of data does."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class Feed:
    """Tells those who look. It is an observer of its server."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._readers: set[Reader] = set()
        self._arrival = anyio.Event()
        self._ticks = 0
        self._told = 0
        self._meter = Meter()
        self._gauges = Sparing(lambda: read_gauges(server.report_metrics()))
        self.health = Sparing(server.check_health)
        self.log = LogRing()
        # What is said before the server runs is told, too: what is odd about its configuration, and where it listens.
        server.log.addHandler(self.log)
        finalize(self, server.log.removeHandler, self.log)

    def session_opened(self, session: SessionInfo) -> None:
        """Called for each session that begins to relay."""
        if self._readers:
            self._publish(encode_event("opened", session_of(session, (0.0, 0.0))))

    def session_closed(self, session: SessionInfo) -> None:
        """Called for each session that ends."""
        if self._readers:
            self._publish(encode_event("closed", session_of(session, (0.0, 0.0))))

    def join(self) -> tuple[Reader, Iterator[bytes]]:
        """A new reader, and the pieces of the event that a stream begins with: all sessions as they are."""
        reader = Reader()
        self._readers.add(reader)
        self._ticks = 0  # the next tick has all that ticks have
        self._arrival.set()
        return reader, self._hello(self._server.sessions())

    def _hello(self, infos: Sequence[SessionInfo]) -> Iterator[bytes]:
        head = {"version": program_version(), "total": len(infos)}
        yield f'event: hello\ndata: {json.dumps(head)[:-1]}, "sessions": ['.encode()
        yield from write_rows(infos[-MOST_SESSIONS:], self._meter)
        yield b"]}\n\n"

    def forget(self) -> None:
        """What plugins say may be different now: the settings or the ruleset were replaced."""
        self._gauges.forget()
        self.health.forget()

    def leave(self, reader: Reader) -> None:
        """*reader* looks no more."""
        self._readers.discard(reader)

    def dismiss(self) -> None:
        """Let every stream end: those who read may not be allowed to any more."""
        for reader in self._readers:
            reader.dismiss()

    async def run(self) -> None:
        """Keep the log, and tick while somebody looks; runs as long as the server."""
        logger = self._server.log
        logger.addHandler(self.log)  # it is kept already, unless the server has run before
        try:
            while True:
                if not self._readers:
                    self._arrival = anyio.Event()
                    await self._arrival.wait()
                    self._told = self.log.last
                self._tick()
                await anyio.sleep(TICK_SECONDS)
        finally:
            logger.removeHandler(self.log)

    def _tick(self) -> None:
        server = self._server
        active = self._meter.look(server.session_counts(), anyio.current_time())
        tick: dict[str, object] = {
            "stats": stats_of(server.statistics()),
            "health": list(self.health.ask()),
            "active": active,
        }
        if self._ticks % METRICS_TICKS == 0:
            tick["metrics"] = self._gauges.ask()
        self._ticks += 1
        self._publish(encode_event("tick", tick))
        for line in self.log.since(self._told):
            self._told = line.id
            self._publish(encode_event("log", line.event()))

    def _publish(self, event: bytes) -> None:
        for reader in self._readers:
            reader.put(event)


def read_gauges(texts: Sequence[str]) -> Mapping[str, float]:
    """The values of the script engine in the plugins' metrics, by their names without the prefix."""
    found: dict[str, float] = {}
    for text in texts:
        for line in text.splitlines():
            match = _GAUGE.match(line)
            if match is not None:
                found[match[1]] = float(match[2])
    return found
