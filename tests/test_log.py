"""The log: what a line looks like, and that nothing that happens to its destination reaches the server."""

import contextlib
import json
import logging
import os
import resource
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_core import log
from neosocksd_core.log import JsonFormatter, QueueHandler, TextFormatter, escape
from neosocksd_core.sinks import DescriptorSink, Line, SyslogSink


def record(
    message: str, *args: object, level: int = logging.INFO, **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord("neosocksd", level, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


class Kept:
    """A sink that keeps what it gets, and may be held up."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.waits = threading.Event()
        self.fails = False
        self.closed = False

    def write(self, lines: Sequence[Line]) -> int:
        if not self.open.is_set():
            self.waits.set()
            self.open.wait()
        if self.fails:
            return len(lines)
        self.lines += [line for _, line in lines]
        return 0

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # closed by the test
            os.close(end)


# Text.


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("example.org:80", "example.org:80"),
        (b"user", "user"),
        ("a\nb\r\t\0\x1b[31m", r"a\nb\r\t\x00\x1b[31m"),
        (b"\xff\xc3\xa9", r"\xff\xc3\xa9"),
        ("é€\U0001f600", r"\xe9\u20ac\U0001f600"),
        ("say \"hi\" 'there'", r"say \"hi\" \'there\'"),
        ("back\\slash", r"back\\slash"),
        ("\udcff", r"\udcff"),
        ("x" * 300, "x" * 256 + "..."),
        ("\x7f\x85\u2028", r"\x7f\x85\u2028"),
    ],
)
def test_escape_leaves_plain_text_and_shows_the_rest(raw: str | bytes, safe: str) -> None:
    assert escape(raw) == safe


@given(st.text() | st.binary())
def test_escaped_text_is_printable_ascii_without_a_bare_quote(raw: str | bytes) -> None:
    text = escape(raw, limit=100)
    assert text.isascii()
    assert text.isprintable()
    assert '"' not in text.replace("\\\\", "").replace('\\"', "")
    assert len(text) <= 100 * 10 + 3


def test_a_text_line_has_time_level_and_message() -> None:
    line = TextFormatter().format(record("%s closed", "x", level=log.NOTICE))
    stamp, clock, level, *message = line.split(" ")
    assert (len(stamp), len(clock), level, message) == (10, 12, "NOTICE", ["x", "closed"])


def test_no_message_makes_a_second_line() -> None:
    assert "\n" not in TextFormatter().format(record("a\nFAKE\x1b[0m\r"))
    try:
        raise ValueError("one\n2026-01-01 00:00:00.000 NOTICE forged")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    lines = TextFormatter().format(made).split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert len(JsonFormatter().format(made).split("\n")) == 1


def test_colour_is_added_only_when_asked_for() -> None:
    failed = record("x", level=logging.ERROR)
    assert "\x1b[31mERROR\x1b[0m" in TextFormatter(colour=True).format(failed)
    assert "\x1b" not in TextFormatter().format(failed)


def test_a_json_line_carries_the_fields_and_cannot_be_forged_by_them() -> None:
    made = record("closed", fields={"client": "a\nb", "level": "fatal", "address": object})
    entry = json.loads(JsonFormatter().format(made))
    assert (entry["level"], entry["message"], entry["client"]) == ("info", "closed", "a\nb")
    assert entry["time"].endswith("Z")


def test_the_levels_are_those_of_the_setting() -> None:
    assert list(log.LEVELS) == sorted(log.LEVELS, reverse=True)
    assert len(log.LEVELS) == 9
    assert [log.level_name(level) for level in log.LEVELS[1:]] == [
        "FATAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "VERBOSE", "VERYVERBOSE",
    ]  # fmt: skip


# The queue.


def test_closing_writes_what_is_queued() -> None:
    sink = Kept()
    handler = QueueHandler(sink)
    for number in range(100):
        handler.emit(record("%d", number))
    handler.close()
    assert sink.lines == [str(number) for number in range(100)]
    assert sink.closed
    handler.emit(record("late"))
    assert len(sink.lines) == 100


def test_a_stalled_destination_drops_lines_and_says_how_many() -> None:
    sink = Kept()
    handler = QueueHandler(sink, limit=10)
    sink.open.clear()
    handler.emit(record("first"))
    assert sink.waits.wait(10)
    for number in range(25):
        handler.emit(record("%d", number))
    assert handler.dropped == 15
    sink.open.set()
    handler.close()
    assert sink.lines == ["first", "15 log lines were lost", *map(str, range(10))]


def test_a_destination_that_stalls_for_ever_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "FLUSH_SECONDS", 0.05)
    sink = Kept()
    sink.open.clear()
    handler = QueueHandler(sink)
    handler.emit(record("x"))
    handler.close()
    assert not sink.closed
    sink.open.set()
    for thread in threading.enumerate():
        if thread.name == "neosocksd-log":
            thread.join(10)
    assert sink.lines == ["x"]


def test_a_destination_that_fails_is_tried_again_and_the_loss_reported() -> None:
    sink = Kept()
    sink.fails = True
    handler = QueueHandler(sink)
    handler.emit(record("lost"))
    while not handler.dropped:
        os.sched_yield()
    sink.fails = False
    handler.emit(record("kept"))
    handler.close()
    assert sink.lines == ["kept", "1 log lines were lost"]


def test_a_record_that_cannot_be_formatted_is_still_a_line() -> None:
    sink = Kept()
    handler = QueueHandler(sink)
    handler.emit(record("%d", "x"))
    handler.close()
    assert sink.lines == ["unformattable log record: '%d'"]


# Destinations.


def test_a_descriptor_gets_whole_lines(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert DescriptorSink(writer).write([(logging.INFO, "é\udcff" + "x" * 1000)]) == 0
    assert os.read(reader, 4096) == "é\\udcff".encode() + b"x" * 1000 + b"\n"


def test_lines_that_come_together_are_written_together(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    assert DescriptorSink(writer).write([(logging.INFO, "one"), (logging.ERROR, "two")]) == 0
    assert os.read(reader, 4096) == b"one\ntwo\n"


def test_a_closed_or_broken_descriptor_loses_the_line_only(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    assert DescriptorSink(writer).write([(logging.INFO, "nobody reads")]) == 1
    os.close(writer)
    assert DescriptorSink(writer).write([(logging.INFO, "closed")]) == 1


def test_a_full_disk_loses_the_line_only() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        assert DescriptorSink(full).write([(logging.INFO, "x")]) == 1
    finally:
        os.close(full)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_syslog_gets_priority_tag_and_message(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, kind) as daemon:
        daemon.bind(path)
        if kind == socket.SOCK_STREAM:
            daemon.listen()
        sink = SyslogSink(path)
        assert sink.write([(logging.ERROR, "it failed")]) == 0
        connection = daemon
        if kind == socket.SOCK_STREAM:
            connection, _ = daemon.accept()
        try:
            data = connection.recv(4096).rstrip(b"\0")
        finally:
            connection.close()
        assert data == b"<27>neosocksd[%d]: it failed" % os.getpid()
        sink.close()


def test_syslog_comes_back_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = SyslogSink(str(path))
    assert sink.write([(logging.INFO, "nobody is there")]) == 1
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(path))
            assert sink.write([(logging.INFO, "x")]) == 0
            assert daemon.recv(100).endswith(b": x")
        path.unlink()
    sink.close()


def test_syslog_without_a_descriptor_loses_the_line_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        sink = SyslogSink(str(path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            assert sink.write([(logging.INFO, "lost")]) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sink.write([(logging.INFO, "here again")]) == 0
        assert daemon.recv(100).endswith(b": here again")
        sink.close()


def test_the_context_sends_the_loggers_lines_and_restores_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("neosocksd")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with log.start("stdout", "text", 4) as started:
        assert started is logger
        logger.info("hidden")
        logger.log(log.NOTICE, "shown")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert [line.split(" ", 2)[2] for line in capfd.readouterr().out.splitlines()] == [
        "NOTICE shown"
    ]
    with log.start("discard", "text", 8), log.start("stderr", "json", 0):
        logger.critical("silence")
    assert capfd.readouterr().err == ""


def test_what_is_logged_before_there_is_a_log_comes_first(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("neosocksd")
    with log.kept() as early:
        logger.warning("early")
    assert [record.getMessage() for record in early] == ["early"]
    with log.start("stderr", "text", 3, early):
        logger.warning("late")
    with log.start("stderr", "text", 2, early):
        logger.warning("hidden")
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["WARNING early", "WARNING late"]


def test_logging_costs_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for destination in ("stdout", "stderr", "terminal", "syslog", "discard"):
        with log.start(destination, "text", 4) as logger:
            logger.debug("x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
