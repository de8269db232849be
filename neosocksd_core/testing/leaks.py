"""The leak check: what a test started has ended, what it opened is closed, and nothing went wrong where nobody looks.

Counted are descriptors, threads and child processes; tasks are counted by
:class:`~neosocksd_core.testing.running.RunningServer` and :func:`~neosocksd_core.testing.running.run_async`, when their loops end. Recorded are
log records of level error (the event loops report there too), and what reaches :func:`sys.unraisablehook` (an unclosed socket's
ResourceWarning among it) and :func:`threading.excepthook`.
"""

import gc
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_DESCRIPTORS = Path("/proc/self/fd")
_TASKS = Path("/proc/self/task")

CONVERGENCE_SECONDS = 5.0
"""How long threads may take to end after the test."""

_CACHED_THREADS = "Trio thread"
"""Trio keeps its worker threads for ten seconds, whoever used them."""


class LeakCheck:
    """Watches what happens between its ``__enter__`` and its :meth:`check`."""

    def __init__(self, expected_errors: Sequence[str] = ()) -> None:
        """*expected_errors* are texts, each of which some log record of level error must contain; other records are failures."""
        self._expected = expected_errors
        self._records: list[str] = []
        self._failures: list[str] = []
        self._restore: list[Callable[[], None]] = []
        self._threads: set[threading.Thread] = set()
        self._descriptors: dict[str, str] = {}
        self._children: set[str] = set()

    def __enter__(self) -> Self:
        _settle()
        self._threads = set(threading.enumerate())
        self._children = _children()
        handler = _Recorder(self._records)
        root = logging.getLogger()
        root.addHandler(handler)
        self._restore.append(lambda: root.removeHandler(handler))
        self._hook(sys, "unraisablehook", self._on_unraisable)
        self._hook(threading, "excepthook", self._on_thread_exception)
        catching = warnings.catch_warnings()
        catching.__enter__()
        warnings.simplefilter("error", ResourceWarning)
        self._restore.append(lambda: catching.__exit__(None, None, None))
        self._descriptors = _descriptors()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._restore:
            self._restore.pop()()

    def check(self) -> list[str]:
        """What is wrong, a line each. Waits for threads to end."""
        deadline = time.monotonic() + CONVERGENCE_SECONDS
        for thread in self._new_threads():
            thread.join(max(deadline - time.monotonic(), 0.0))
        # The young generations hold what the test made; all of them are looked at only where something is still open.
        gc.collect(1)
        if _descriptors() != self._descriptors:
            gc.collect()
        found = list(self._failures)
        found += [f"thread {thread.name!r} is still there" for thread in self._new_threads()]
        for number, target in _descriptors().items():
            if self._descriptors.get(number) != target:
                found.append(f"descriptor {number} is still open: {target}")
        found += [f"child process {child} is still there" for child in _children() - self._children]
        found += [
            f"logged: {record}"
            for record in self._records
            if not any(text in record for text in self._expected)
        ]
        found += [
            f"no error was logged that says {text!r}"
            for text in self._expected
            if not any(text in record for record in self._records)
        ]
        return found

    def _new_threads(self) -> list[threading.Thread]:
        here = threading.current_thread()
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads
            and thread is not here
            and not thread.name.startswith(_CACHED_THREADS)
        ]

    def _hook(self, module: Any, name: str, hook: Callable[[Any], None]) -> None:
        before = getattr(module, name)
        setattr(module, name, hook)
        self._restore.append(lambda: setattr(module, name, before))

    def _on_unraisable(self, unraisable: Any) -> None:
        what = unraisable.err_msg or "exception ignored in"
        self._failures.append(f"{what}: {unraisable.object!r}: {unraisable.exc_value!r}")

    def _on_thread_exception(self, args: Any) -> None:
        name = args.thread.name if args.thread else "?"
        self._failures.append(f"thread {name!r} raised {args.exc_value!r}")


class _Recorder(logging.Handler):
    def __init__(self, records: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({record.exc_info[1]!r})"
        self._records.append(text)


@cache
def _settle() -> None:
    """Have libuv open the pipe that it keeps for the rest of the process."""
    with suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()


def _descriptors() -> dict[str, str]:
    """The open descriptors, and what they are; empty where the system does not tell."""
    found: dict[str, str] = {}
    if _DESCRIPTORS.is_dir():
        for number in os.listdir(_DESCRIPTORS):
            with suppress(OSError):  # that of the listing itself is gone by now
                found[number] = os.readlink(_DESCRIPTORS / number)
    return found


def _children() -> set[str]:
    """The child processes, zombies among them; empty where the system does not tell."""
    found: set[str] = set()
    with suppress(OSError):
        for thread in _TASKS.iterdir():
            with suppress(OSError):
                found.update((thread / "children").read_text().split())
    return found
