"""The counters, as sessions of every kind leave them."""

from collections.abc import Callable

from neosocksd_core.statistics import Counters
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    closed_address,
    plain_request,
)

Serve = Callable[..., RunningServer]


def test_bytes_of_living_and_ended_sessions_are_both_counted(
    serve: Serve, echo: EchoServer
) -> None:
    server = serve(plugins=[PlainPlugin])
    with Client(server.address) as living:
        living.send(plain_request(echo.address) + b"x" * 1000)
        living.expect(b"ok\n" + b"x" * 1000)
        with Client(server.address) as ending:
            ending.send(plain_request(echo.address) + b"y" * 500)
            ending.expect(b"ok\n" + b"y" * 500)
        statistics = server.wait_until(lambda s: s.num_sessions == 1)
        assert (statistics.byt_up, statistics.byt_down) == (1500, 1500)
        assert statistics.num_sessions_peak == 2
        [session] = server.sessions()
        assert (session.bytes_up, session.bytes_down) == (1000, 1000)
        assert session.outcome == "relaying"
    statistics = server.wait_idle()
    assert (statistics.byt_up, statistics.byt_down) == (1500, 1500)


def test_each_dial_that_stands_leaves_its_latency(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    for _ in range(3):
        with Client(server.address) as client:
            client.send(plain_request(echo.address))
            client.expect(b"ok\n")
    latencies = server.wait_idle().connect_latency
    assert len(latencies) == 3
    assert all(0 < latency < 10 for latency in latencies)


def test_a_failure_is_counted_by_its_kind_and_is_the_last_error(serve: Serve) -> None:
    server = serve({"listen": "127.0.0.1:0", "block_local": True}, plugins=[PlainPlugin])
    with closed_address() as refusing, Client(server.address) as client:
        client.send(plain_request(refusing))
        client.expect(b"no connection refused\n")
        client.expect_eof()
    statistics = server.wait_idle()
    assert statistics.num_reject_upstream == 1
    assert "refused" in (statistics.lasterror or "").lower()
    with Client(server.address) as client:
        client.send(b"10.0.0.1:80\n")
        client.expect(b"no not allowed\n")
    statistics = server.wait_idle()
    assert (statistics.num_reject_ruleset, statistics.num_reject_upstream) == (1, 1)
    assert (statistics.num_request, statistics.num_success) == (2, 0)


def test_only_the_last_latencies_are_kept() -> None:
    counters = Counters()
    counters.connect_latency.extend(float(n) for n in range(1000))
    assert counters.snapshot(0, 0, 0, 0).connect_latency == tuple(
        float(n) for n in range(744, 1000)
    )


def test_a_server_that_does_not_run_has_counted_nothing() -> None:
    statistics = Counters().snapshot(0, 0, 0, 0)
    assert statistics.num_accept == statistics.byt_up == 0
    assert statistics.lasterror is None
