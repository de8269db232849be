"""The counters, as sessions of every kind leave them."""

from neosocksd_core.statistics import Counters
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    Serve,
    closed_address,
    plain_request,
)


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
    latency = server.wait_idle().connect_latency
    assert latency.count == len(latency.recent) == 3
    assert all(0 < seconds < 10 for seconds in latency.recent)
    assert latency.total == sum(latency.recent)


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


def test_only_the_last_latencies_are_kept_and_all_are_counted() -> None:
    counters = Counters()
    for n in range(1000):
        counters.connect_latency.add(float(n))
    latency = counters.snapshot().connect_latency
    assert latency.recent == tuple(float(n) for n in range(744, 1000))
    assert (latency.count, latency.total) == (1000, 499_500.0)


def test_a_name_that_was_found_leaves_the_latency_of_its_lookup(serve: Serve) -> None:
    server = serve(plugins=[PlainPlugin])
    with closed_address() as (_, port):
        for name in ("localhost", "nowhere.invalid"):
            with Client(server.address) as client:
                client.send(f"{name}:{port}\n".encode())
                assert client.receive_all().startswith(b"no ")
    statistics = server.wait_idle()
    assert (statistics.num_dns_query, statistics.num_dns_success) == (2, 1)
    assert statistics.dns_latency.count == 1
    assert statistics.dns_latency.recent[0] > 0


def test_bytes_before_the_relay_are_counted_apart(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    request = plain_request(echo.address)
    with Client(server.address) as client:
        client.send(request)
        client.expect(b"ok\n")
        client.send(b"hello")
        client.expect(b"hello")
    statistics = server.wait_idle()
    assert statistics.byt_proxy_server_rx == len(request)
    assert statistics.byt_proxy_server_tx == len(b"ok\n")
    assert (statistics.byt_proxy_client_rx, statistics.byt_proxy_client_tx) == (0, 0)


def test_bytes_of_the_handshakes_with_proxies_are_counted(serve: Serve, echo: EchoServer) -> None:
    proxy = serve(plugins=["socks5"])
    server = serve(
        {"listen": "127.0.0.1:0", "proxy": f"socks5://127.0.0.1:{proxy.address[1]}"},
        plugins=[PlainPlugin, "socks5"],
    )
    with Client(server.address) as client:
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
    ours, theirs = server.wait_idle(), proxy.wait_idle()
    assert ours.byt_proxy_client_tx == theirs.byt_proxy_server_rx > 0
    assert ours.byt_proxy_client_rx == theirs.byt_proxy_server_tx > 0


def test_a_server_that_does_not_run_has_counted_nothing() -> None:
    statistics = Counters().snapshot()
    assert statistics.num_accept == statistics.byt_up == 0
    assert statistics.lasterror is None


def test_a_snapshot_has_each_counter_in_its_place() -> None:
    counters = Counters()
    names = [name for name in Counters.__slots__ if isinstance(getattr(counters, name), int)]
    for number, name in enumerate(names):
        setattr(counters, name, number)
    counters.connect_latency.add(1.5)
    counters.lasterror = "refused"
    statistics = counters.snapshot(1001, 1002)
    assert {name: getattr(statistics, name) for name in names} == {
        name: number for number, name in enumerate(names)
    }
    assert (statistics.num_halfopen, statistics.num_sessions) == (1001, 1002)
    assert (statistics.connect_latency.count, statistics.dns_latency.count) == (1, 0)
    assert statistics.lasterror == "refused"
    statistics = counters.snapshot(traffic=(2001, 2002))
    assert (statistics.byt_up, statistics.byt_down) == (2001, 2002)
