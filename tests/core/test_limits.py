"""Session and start-up limits, and that their counters are exact."""

from typing import Any

import pytest

from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    plain_request,
)


def start(serve: Any, **settings: Any) -> RunningServer:
    server: RunningServer = serve({"listen": "127.0.0.1:0", **settings}, plugins=[PlainPlugin])
    return server


def counts(server: RunningServer) -> tuple[int, int, int, int]:
    s = server.statistics()
    return s.num_accept, s.num_serve, s.num_halfopen, s.num_sessions


def test_the_session_beyond_the_limit_is_refused_and_a_place_that_is_free_is_given(
    serve: Any, echo: EchoServer
) -> None:
    server = start(serve, max_sessions=2)
    with Client(server.address) as first, Client(server.address) as second:
        for client in (first, second):
            client.send(plain_request(echo.address))
            client.expect(b"ok\n")
        with Client(server.address) as third:
            third.expect_closed()
        assert counts(server) == (3, 2, 0, 2)
        first.finish()
        first.expect_eof()
        server.wait_until(lambda s: s.num_sessions == 1)
        with Client(server.address) as fourth:
            fourth.send(plain_request(echo.address))
            fourth.expect(b"ok\n")
            assert counts(server) == (4, 3, 0, 2)
    server.wait_idle()


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_sessions", 1),
        ("max_sessions_per_client", 1),
        ("startup_limit_full", 1),
        ("startup_limit_start", 1),
    ],
)
def test_that_clients_are_turned_away_is_told_once_in_a_while(
    serve: Any, caplog: pytest.LogCaptureFixture, limit: str, value: int
) -> None:
    server = start(serve, startup_limit_rate=100, **{limit: value})
    with Client(server.address):
        for _ in range(3):
            with Client(server.address) as refused:
                refused.expect_closed()
    told = [r.getMessage() for r in caplog.records if "turned away" in r.getMessage()]
    assert told == [f"clients are turned away, {limit} is reached: 127.0.0.1"]


def test_half_open_connections_count_for_the_session_limit(serve: Any) -> None:
    server = start(serve, max_sessions=1)
    with Client(server.address), Client(server.address) as second:
        second.expect_closed()
        assert counts(server) == (2, 1, 1, 0)


def test_one_clients_limit_is_not_anothers(serve: Any, echo: EchoServer) -> None:
    server = start(serve, max_sessions_per_client=1)
    with Client(server.address), Client(server.address) as second:
        second.expect_closed()
        with Client(server.address, source="127.0.0.2") as other:
            other.send(plain_request(echo.address))
            other.expect(b"ok\n")
    server.wait_idle()
    with Client(server.address) as again:
        again.send(plain_request(echo.address))
        again.expect(b"ok\n")


def test_at_the_full_startup_limit_every_client_is_refused(serve: Any) -> None:
    server = start(serve, startup_limit_full=2)
    with Client(server.address), Client(server.address):
        server.wait_until(lambda s: s.num_halfopen == 2)
        for _ in range(5):
            with Client(server.address) as refused:
                refused.expect_closed()
        assert counts(server) == (7, 2, 2, 0)


def test_relaying_sessions_do_not_count_for_the_startup_limit(serve: Any, echo: EchoServer) -> None:
    server = start(serve, startup_limit_full=1)
    clients = [Client(server.address)]
    for _ in range(3):
        clients[-1].send(plain_request(echo.address))
        clients[-1].expect(b"ok\n")
        clients.append(Client(server.address))
    server.wait_until(lambda s: (s.num_halfopen, s.num_sessions) == (1, 3))
    for client in clients:
        client.close()
    server.wait_idle()


@pytest.mark.parametrize(("rate", "served"), [(0, 8), (100, 3)])
def test_from_the_start_limit_on_as_many_are_refused_as_the_rate_says(
    serve: Any, rate: int, served: int
) -> None:
    server = start(serve, startup_limit_start=3, startup_limit_rate=rate)
    clients = [Client(server.address) for _ in range(8)]
    server.wait_until(lambda s: s.num_accept == 8)
    assert counts(server) == (8, served, served, 0)
    for client in clients:
        client.close()
    server.wait_idle()


def test_a_reload_changes_the_limits(serve: Any) -> None:
    server = start(serve, max_sessions=1)
    with Client(server.address):
        server.wait_until(lambda s: s.num_halfopen == 1)
        server.reload({"listen": "127.0.0.1:0", "max_sessions": 2})
        with Client(server.address):
            server.wait_until(lambda s: s.num_halfopen == 2)
            with Client(server.address) as third:
                third.expect_closed()
    server.wait_idle()


def test_after_many_short_sessions_nothing_is_counted_as_there(
    serve: Any, echo: EchoServer
) -> None:
    server = start(serve, max_sessions=50, max_sessions_per_client=50, startup_limit_full=50)
    for number in range(300):
        with Client(server.address) as client:
            if number % 3:
                client.send(plain_request(echo.address))
                client.expect(b"ok\n")
            if number % 5 == 0:
                client.reset()
        if number % 20 == 0:
            server.wait_idle()
        assert server.statistics().num_halfopen >= 0
    statistics = server.wait_idle()
    assert statistics.num_accept == statistics.num_serve == 300
    assert statistics.num_request == statistics.num_success == 200
