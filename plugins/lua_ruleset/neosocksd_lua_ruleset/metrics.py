"""The machine's own metrics, and those of ``ruleset.metrics``, in Prometheus' text format."""

from neosocksd_lua_ruleset.engine import Engine

_HELP = {
    "lua_memory_bytes": "Memory that the Lua machine holds.",
    "lua_objects": "Objects of the Lua machine, as last counted.",
    "lua_threads_active": "Routines that run or wait.",
    "lua_threads_peak": "The most routines at once.",
}


def render(engine: Engine) -> str:
    """All of them, ready to be appended to the server's."""
    measure = engine.measure()
    values = {
        "lua_memory_bytes": measure.memory,
        "lua_objects": measure.objects,
        "lua_threads_active": measure.routines,
        "lua_threads_peak": measure.peak,
    }
    lines: list[str] = []
    for name, value in values.items():
        lines.append(f"# HELP neosocksd_{name} {_HELP[name]}")
        lines.append(f"# TYPE neosocksd_{name} gauge")
        lines.append(f"neosocksd_{name} {value}")
    text = engine.metrics()
    if text:
        lines.append(text.rstrip("\n"))
    return "\n".join(lines) + "\n"
