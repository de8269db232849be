"""The text endpoints of the original: layout, switches, Prometheus' format."""

import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from neosocksd_core import ServerContext, hookimpl
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
)
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.report import format_bytes, format_duration, quantiles
from neosocksd_rest_api.testing import find_program


class Reporter:
    """Adds to the statistics page and to the metrics."""

    def __init__(self) -> None:
        self.intervals: list[float] = []

    @hookimpl
    def report_stats(self, server: ServerContext, interval: float, query: str) -> str:
        self.intervals.append(interval)
        return f"asked for {query}"

    @hookimpl
    def report_runtime(self, server: ServerContext) -> str:
        return "Runtime             : fine"

    @hookimpl
    def report_metrics(self, server: ServerContext) -> str:
        return "# TYPE other gauge\nother 1"


@pytest.fixture
def reporter() -> Reporter:
    return Reporter()


@pytest.fixture
def server(serve: Serve, reporter: Reporter) -> RunningServer:
    return serve(
        {"listen": "127.0.0.1:0", "restapi": "127.0.0.1:0"},
        plugins=[PlainPlugin, RestApi, reporter],
    )


@pytest.fixture
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url="http://{}:{}".format(*server.addresses[1][:2])) as client:
        yield client


def relay(server: RunningServer, echo: EchoServer) -> None:
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"hello")
        client.expect(b"ok\nhello")
    server.wait_idle()


NAMES = [
    "Server Time", "Uptime", "Num Sessions", "Num Rejected", "Conn Accepts", "Name Resolves",
    "Requests", "API Requests", "Handshake Dial", "Traffic", "API Client", "Connect Latency",
]  # fmt: skip
RATES = ["Accept Rate", "Request Rate", "Reject Rate", "Throughput", "Server Load"]


def names_in(text: str) -> list[str]:
    return [line[:20].rstrip() for line in text.splitlines() if line[20:22] == ": "]


def test_statistics_have_the_layout_of_the_original(
    backend: str, server: RunningServer, echo: EchoServer, api: httpx.Client
) -> None:
    relay(server, echo)
    answer = api.get("/stats")
    assert answer.headers["content-type"].startswith("text/plain")
    banner, _, body = answer.text.partition("\n\n")
    assert banner.startswith("neosocksd")
    assert names_in(body) == NAMES
    lines = {line[:20].rstrip(): line[22:] for line in body.splitlines()}
    assert lines["Num Sessions"] == "0 (+0) peak=1"
    assert lines["Num Rejected"] == "0 (ruleset=0, timeout=0, upstream=0)"
    assert (lines["Conn Accepts"], lines["Requests"]) == ("1 (+0)", "1 (+0)")
    assert lines["Traffic"] == "Up 5 B, Down 5 B"
    request = len(plain_request(echo.address)) + 5  # what came with it was received with it
    assert lines["Handshake Dial"] == f"clients Rx={request} B Tx=3 B, proxies Rx=0 B Tx=0 B"
    assert lines["API Client"] == "0 (+0) Rx=0 B Tx=0 B"
    assert re.fullmatch(r"(P50|P90|P99|MAX)=\S+( \S+){3}", lines["Connect Latency"])


def test_a_post_adds_rates_and_what_plugins_report(api: httpx.Client, reporter: Reporter) -> None:
    assert "asked" not in api.get("/stats?q=x").text
    text = api.post("/stats?nobanner=1&q=x%20y").text
    assert names_in(text) == [*NAMES[:-1], *RATES]
    assert text.startswith("Server Time")
    assert text.endswith("asked for x y\n")
    api.post("/stats")
    assert len(reporter.intervals) == 2
    assert all(interval >= 0 for interval in reporter.intervals)


@pytest.mark.parametrize("value", ["1", "y", "yes", "on", "t", "true", "TRUE"])
def test_switches_are_true_by_many_words(api: httpx.Client, value: str) -> None:
    assert not api.get(f"/stats?nobanner={value}").text.startswith("neosocksd")
    assert "Runtime             : fine" in api.get(f"/stats?runtime={value}").text


@pytest.mark.parametrize("value", ["0", "no", "", "false"])
def test_the_servers_lines_can_be_left_out(api: httpx.Client, value: str) -> None:
    assert api.get(f"/stats?nobanner=1&server={value}").text == ""
    assert api.post(f"/stats?nobanner=1&server={value}").text == "asked for \n"


def test_metrics_are_in_the_format_of_prometheus(
    server: RunningServer, echo: EchoServer, api: httpx.Client
) -> None:
    relay(server, echo)
    answer = api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(name.startswith("neosocksd_") for name in families.keys() - {"other"})
    assert all(family.documentation for name, family in families.items() if name != "other")
    for name, kind in (
        ("process_cpu_seconds", "counter"),
        ("sessions_peak", "gauge"),
        ("uplink_bytes", "counter"),
        ("api_client_requests", "counter"),
        ("connect_latency_seconds", "summary"),
        ("dns_latency_seconds", "summary"),
    ):
        assert families[f"neosocksd_{name}"].type == kind
    values = {
        (sample.name.removeprefix("neosocksd_"), *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["requests_success_total",] == values["connect_latency_seconds_count",] == 1
    assert values["connect_latency_seconds", "0.5"] == pytest.approx(
        values["connect_latency_seconds_sum",]
    )
    assert values["uplink_bytes_total",] == values["downlink_bytes_total",] == 5
    moved = {key[1:] for key, value in values.items() if key[0] == "protocol_bytes_total" and value}
    assert moved == {("rx", "api_server"), ("rx", "proxy_server"), ("tx", "proxy_server")}
    assert values["protocol_bytes_total", "rx", "api_client"] == 0
    assert values["other",] == 1


METRICS = {
    "process_cpu_seconds_total", "uptime_seconds", "sessions_active", "sessions_peak", "halfopen_connections",
    "connections_accepted_total", "connections_served_total", "requests_total", "requests_success_total",
    "rejects_ruleset_total", "rejects_timeout_total", "rejects_upstream_total", "dns_queries_total", "dns_success_total",
    "api_requests_total", "api_requests_success_total", "uplink_bytes_total", "downlink_bytes_total", "protocol_bytes_total",
    "api_client_requests_total", "connect_latency_seconds_sum", "connect_latency_seconds_count",
}  # fmt: skip


def test_every_metric_of_the_original_is_there(api: httpx.Client) -> None:
    families = list(text_string_to_metric_families(api.get("/metrics").text))
    samples = [sample for family in families for sample in family.samples]
    assert {f"neosocksd_{name}" for name in METRICS} <= {sample.name for sample in samples}
    moved = [sample for sample in samples if sample.name == "neosocksd_protocol_bytes_total"]
    modules = {"api_server", "proxy_server", "proxy_client", "api_client"}
    assert {sample.labels["module"] for sample in moved} == modules
    assert {sample.labels["direction"] for sample in moved} == {"rx", "tx"}
    assert len(moved) == 8


def test_curl_gets_what_it_asks_for(server: RunningServer) -> None:
    base = "http://{}:{}".format(*server.addresses[1][:2])
    for arguments in (["/stats"], ["/stats", "-X", "POST"], ["/stats", "--compressed"]):
        command = [
            find_program("curl"),
            "-sf",
            "--noproxy",
            "*",
            base + arguments[0],
            *arguments[1:],
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        assert "Num Sessions        : " in ran.stdout


def test_numbers_are_written_for_people() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1536, 5 << 30)] == [
        "0 B", "1023 B", "1.50 KiB", "5.00 GiB",
    ]  # fmt: skip
    assert [format_duration(s) for s in (0, 3661.5, 90000)] == [
        "00:00:00", "01:01:01", "1d 01:00:00",
    ]  # fmt: skip
    samples = [float(n) for n in range(1, 101)]
    assert quantiles(samples[::-1], 0.5, 0.9, 0.99, 1.0) == [50, 90, 99, 100]
    assert quantiles([7.0], 0.5) == [7]
