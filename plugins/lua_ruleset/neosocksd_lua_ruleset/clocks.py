"""The natives behind ``time.*``: POSIX clocks, in seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

from neosocksd_lua_ruleset.bridge import Native


def natives() -> Mapping[str, Native]:
    """What Lua calls, by the names under which it does."""
    return {
        "clock_monotonic": time.monotonic,
        "clock_process": time.process_time,
        "clock_thread": time.thread_time,
        "clock_wall": time.time,
    }
