"""What a ruleset reports of itself: statistics, metrics, health."""

import pytest

from neosocksd_lua_ruleset.testing import Rule, Ruled


def report(server: Ruled, interval: float = 1.5, query: str = "") -> list[str]:
    running = server.running
    found: list[str] = running.call(
        running.server.plugins.report_stats, running.server, interval, query
    )
    return found


def test_stats_is_given_interval_and_query(rule: Rule) -> None:
    server = rule(
        "return { stats = function(dt, q) return string.format('dt = %.03f, q = %q', dt, q) end }"
    )
    assert report(server, 1.5, 'a"b') == ['dt = 1.500, q = "a\\"b"']


@pytest.mark.parametrize("chunk", ["return {}", "return { stats = function() end }"])
def test_without_stats_there_is_no_text(rule: Rule, chunk: str) -> None:
    assert report(rule(chunk)) == []


FAILURES = [
    ("error('boom', 0)", "boom"),
    ("return {}", "ruleset.%s returned a table, expected a string"),
    ("await.idle()", "not in asynchronous routine"),
]


@pytest.mark.logs_error("ruleset: stats: ")
@pytest.mark.parametrize(("body", "message"), FAILURES)
def test_stats_that_fail_are_one_line_of_the_log(
    rule: Rule, caplog: pytest.LogCaptureFixture, body: str, message: str
) -> None:
    assert report(rule(f"return {{ stats = function() {body} end }}")) == []
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().endswith(message.replace("%s", "stats"))
    assert record.exc_info is None


def test_the_query_of_stats_may_be_any_bytes(rule: Rule) -> None:
    server = rule("return { stats = function(_, q) return #q .. ':' .. q:byte() end }")
    assert report(server, 1.0, "\udcff") == ["1:255"]


def test_stats_may_be_a_number(rule: Rule) -> None:
    assert report(rule("return { stats = function() return 7 end }")) == ["7"]


@pytest.mark.logs_error("ruleset: metrics: ")
@pytest.mark.parametrize(("body", "message"), FAILURES)
def test_metrics_that_fail_are_one_line_of_the_log_and_those_of_the_machine_stay(
    rule: Rule, caplog: pytest.LogCaptureFixture, body: str, message: str
) -> None:
    running = rule(f"return {{ metrics = function() {body} end }}").running
    [text] = running.call(running.server.plugins.report_metrics, running.server)
    assert "\nneosocksd_lua_memory_bytes " in text
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().endswith(message.replace("%s", "metrics"))
    assert record.exc_info is None


def test_the_runtime_report_tells_of_the_machine(rule: Rule) -> None:
    running = rule().running
    [text] = running.call(running.server.plugins.report_runtime, running.server)
    names = [line.partition(":")[0].strip() for line in text.splitlines()]
    assert names == ["Ruleset Allocated", "Ruleset Threads", "Ruleset Events"]


def test_metrics_tell_of_the_machine_and_append_the_scripts_own(rule: Rule) -> None:
    server = rule("return { metrics = function() return 'mine 1\\n' end }")
    running = server.running
    [text] = running.call(running.server.plugins.report_metrics, running.server)
    for name in ("lua_memory_bytes", "lua_objects", "lua_threads_active", "lua_threads_peak"):
        assert f"\nneosocksd_{name} " in text
    assert text.endswith("mine 1\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", []),
        ("return nil", []),
        ("return ''", []),
        ("return 'the upstream is down'", ["the upstream is down"]),
        ("error('boom', 0)", ["boom"]),
        ("return {}", ["ruleset.healthy returned a table, expected a string"]),
    ],
)
def test_healthy_tells_what_is_wrong(rule: Rule, body: str, expected: list[str]) -> None:
    running = rule(f"return {{ healthy = function() {body} end }}").running
    assert running.call(running.server.plugins.check_health, running.server) == expected
