"""The log: levels, line formats, and a handler that never makes the relay wait.

Everything logs through :mod:`logging` under the logger ``neosocksd``. The command line calls :func:`start`; an embedder attaches handlers of
their own, or none. A record may carry ``extra={"fields": {…}}``, or a function that makes them, which the JSON format merges into its object.
"""

import contextlib
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Literal, cast

from neosocksd_core.sinks import DescriptorSink, Line, Sink, SyslogSink

NOTICE = 25
VERBOSE = 7
VERY_VERBOSE = 5
SILENCE = logging.CRITICAL + 10

LEVELS = (
    SILENCE, logging.CRITICAL, logging.ERROR, logging.WARNING, NOTICE, logging.INFO, logging.DEBUG, VERBOSE, VERY_VERBOSE,
)  # fmt: skip
"""The levels of :mod:`logging`, by the number of the setting ``loglevel``."""

_NAMES = {
    logging.CRITICAL: "FATAL",
    logging.ERROR: "ERROR",
    logging.WARNING: "WARNING",
    NOTICE: "NOTICE",
    logging.INFO: "INFO",
    logging.DEBUG: "DEBUG",
    VERBOSE: "VERBOSE",
    VERY_VERBOSE: "VERYVERBOSE",
}
_COLOURS = {"FATAL": "1;31", "ERROR": "31", "WARNING": "33", "NOTICE": "32", "DEBUG": "36"}

GATHER_SECONDS = 0.005
"""How long the writer waits for further lines after the first, so that it writes many at once under load."""

QUEUE_LINES = 4096
"""Lines that may wait for a slow destination; further ones are dropped, and counted."""

FLUSH_SECONDS = 2.0
"""How long the end of the program waits for a destination to take the last lines."""

Destination = Literal["stdout", "stderr", "terminal", "syslog", "discard"]


def escape(data: str | bytes, limit: int = 256) -> str:
    """What a peer sent, made safe for a line of the log: printable ASCII without quotes stays as it is.

    Control characters, quotes, backslashes and everything beyond ASCII become ``\\n``, ``\\"``, ``\\xff``, ``\\u20ac``. What exceeds
    *limit* characters is cut off and replaced by ``...``.
    """
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    if len(text) > limit:
        text, end = text[:limit], "..."
    else:
        end = ""
    if not (text.isascii() and text.isprintable() and not _UNSAFE.intersection(text)):
        text = text.encode("unicode_escape").decode("ascii")
        text = text.replace('"', '\\"').replace("'", "\\'")
    return text + end


_UNSAFE = frozenset("\"'\\")


def level_name(level: int) -> str:
    """The name of a level in the log, as ``NOTICE``."""
    return _NAMES.get(level) or logging.getLevelName(level)


@functools.lru_cache(maxsize=2)
def _local_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@functools.lru_cache(maxsize=2)
def _universal_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class TextFormatter(logging.Formatter):
    """``2026-03-01 12:00:00.123 NOTICE message``, and a traceback's lines indented below it."""

    def __init__(self, *, colour: bool = False, time_stamps: bool = True) -> None:
        super().__init__()
        self._colour = colour
        self._time_stamps = time_stamps

    def format(self, record: logging.LogRecord) -> str:
        name = level_name(record.levelno)
        message = _one_line(record.getMessage())
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info)
            message += "".join(f"\n    {_one_line(line)}" for line in trace.splitlines())
        if not self._time_stamps:
            return f"{name}: {message}"
        if self._colour and name in _COLOURS:
            name = f"\x1b[{_COLOURS[name]}m{name}\x1b[0m"
        return f"{_local_time(int(record.created))}.{int(record.msecs):03d} {name} {message}"


class JsonFormatter(logging.Formatter):
    """One object a line: ``time`` (RFC 3339, UTC), ``level``, ``message``, the record's ``fields``, and ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = _universal_time(int(record.created))
        entry: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": level_name(record.levelno).lower(),
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if callable(fields):
            fields = fields()
        if isinstance(fields, Mapping):
            entry = {**cast("Mapping[str, Any]", fields), **entry}
        if record.exc_info and record.exc_info[0] is not None:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _one_line(text: str) -> str:
    """The last line of defence against forged lines: whoever logs a peer's text has escaped it already."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class QueueHandler(logging.Handler):
    """Hands lines to a thread that writes them; a full queue drops lines rather than make the caller wait.

    The thread is a daemon and starts with the first record, so that the handler can be made before a fork. What a destination fails to
    take is lost and counted; the count is logged as soon as lines get through again.
    """

    def __init__(self, sink: Sink, *, limit: int = QUEUE_LINES) -> None:
        super().__init__()
        self._sink = sink
        self._limit = limit
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ending = threading.Event()
        # One counter for each side, so that no two threads write to the same.
        self._refused = 0
        self._failed = 0
        self._reported = 0

    @property
    def dropped(self) -> int:
        """Lines that were lost, and not reported yet."""
        return self._refused + self._failed - self._reported

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line. Never blocks; what the formatting raises is told as :mod:`logging` does."""
        if self._closed or self._lines.qsize() >= self._limit:
            self._refused += 1
            return
        try:
            line = self.format(record)
        except Exception:  # a record with the wrong arguments must not end a session
            self._lines.put((record.levelno, f"unformattable log record: {record.msg!r}"))
        else:
            self._lines.put((record.levelno, line))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="neosocksd-log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop taking lines, and wait for those that were taken, :data:`FLUSH_SECONDS` at most."""
        if not self._closed:
            self._closed = True
            self._ending.set()
            self._lines.put(None)
            if self._thread is not None:
                self._thread.join(FLUSH_SECONDS)
            if self._thread is None or not self._thread.is_alive():
                self._sink.close()
        super().close()

    def _write(self) -> None:
        while (first := self._lines.get()) is not None:
            self._ending.wait(GATHER_SECONDS)
            lines = [first, *self._gathered()]
            lost = self._sink.write(lines)
            self._failed += lost
            if not lost:
                self._report_dropped()
        self._report_dropped()

    def _gathered(self) -> list[Line]:
        """The lines that wait, up to the end of all."""
        lines: list[Line] = []
        with contextlib.suppress(Empty):
            while (line := self._lines.get_nowait()) is not None:
                lines.append(line)
            self._lines.put(None)
        return lines

    def _report_dropped(self) -> None:
        count = self.dropped
        if count:
            record = logging.LogRecord(
                "neosocksd", logging.WARNING, __file__, 0, "%d log lines were lost", (count,), None
            )
            if not self._sink.write([(logging.WARNING, self.format(record))]):
                self._reported += count


def make_handler(destination: Destination, log_format: Literal["text", "json"]) -> logging.Handler:
    """A handler for one of the destinations of the setting ``log``."""
    if destination == "discard":
        return logging.NullHandler()
    if destination == "syslog":
        handler = QueueHandler(SyslogSink())
        formatter = TextFormatter(time_stamps=False)
    else:
        descriptor = 1 if destination == "stdout" else 2
        handler = QueueHandler(DescriptorSink(descriptor))
        formatter = TextFormatter(colour=destination == "terminal" or os.isatty(descriptor))
    handler.setFormatter(JsonFormatter() if log_format == "json" else formatter)
    return handler


class _Keeper(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@contextlib.contextmanager
def kept() -> Generator[list[logging.LogRecord]]:
    """Keep what is logged while there is no log yet; gives the records, which grow until the context ends."""
    logger, keeper = logging.getLogger("neosocksd"), _Keeper()
    logger.addHandler(keeper)
    try:
        yield keeper.records
    finally:
        logger.removeHandler(keeper)


@contextlib.contextmanager
def start(
    destination: Destination,
    log_format: Literal["text", "json"],
    loglevel: int,
    early: Iterable[logging.LogRecord] = (),
) -> Generator[logging.Logger]:
    """Send the logger ``neosocksd`` to *destination* for the duration of the context; at its end what is queued is written.

    *loglevel* is the number of the setting, 0 to 8. *early* records, which were :func:`kept`, come first.
    """
    logger = logging.getLogger("neosocksd")
    handler = make_handler(destination, log_format)
    for record in early:
        if record.levelno >= LEVELS[loglevel]:
            handler.handle(record)
    before = logger.level, logger.propagate
    logger.setLevel(LEVELS[loglevel])
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
