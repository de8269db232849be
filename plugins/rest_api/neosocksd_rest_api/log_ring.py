"""The last lines of the log, kept for those who look."""

import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import JsonValue

from neosocksd_core.log import level_name
from neosocksd_rest_api.models import MOST_EVENTS


class LogLine(NamedTuple):
    """A line of the log; every one is kept for a while, so that no more is made of it than must be."""

    id: int
    time: float
    severity: int
    message: str

    def event(self) -> dict[str, JsonValue]:
        """The line as :class:`~neosocksd_rest_api.models.LogEvent` says."""
        return {
            "id": self.id,
            "time": self.time,
            "level": level_name(self.severity).lower(),
            "message": self.message,
        }


class LogRing(logging.Handler):
    """Keeps the last lines of the log. Takes records from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=MOST_EVENTS)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, without a traceback."""
        try:
            message = record.getMessage()
        except Exception:  # the wrong arguments; the log itself tells
            message = "unformattable log record"
        self._count += 1
        self._lines.append(LogLine(self._count, record.created, record.levelno, message))

    @property
    def last(self) -> int:
        """The number of the last line, 0 before there is one."""
        return self._count

    def since(self, number: int) -> Sequence[LogLine]:
        """The lines after that of this number, oldest first."""
        return [line for line in tuple(self._lines) if line.id > number]

    def recent(self, level: int, limit: int) -> Sequence[LogLine]:
        """The last *limit* lines of *level* and above, oldest first."""
        found = [line for line in tuple(self._lines) if line.severity >= level]
        return found[len(found) - limit :] if limit < len(found) else found
