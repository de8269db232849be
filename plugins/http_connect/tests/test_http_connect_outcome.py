"""How a forwarded exchange went, as the log, the observers and the counters have it."""

from collections.abc import Generator, Sequence

import pytest

from neosocksd_core import Observer, ServerContext, SessionInfo, hookimpl
from neosocksd_core.testing import Client, Peer, RunningServer, Serve


class Outcomes:
    """A plugin that notes how each session ended."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def register_observers(self, server: ServerContext) -> Sequence[Observer]:
        return [self]

    def session_opened(self, session: SessionInfo) -> None:
        pass

    def session_closed(self, session: SessionInfo) -> None:
        self.seen.append(session.outcome)


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def proxy(serve: Serve, outcomes: Outcomes) -> RunningServer:
    return serve({"http_listen": "127.0.0.1:0"}, plugins=["http_connect", outcomes])


@pytest.fixture
def origin() -> Generator[Peer]:
    with Peer() as peer:
        yield peer


def exchange(proxy: RunningServer, origin: Peer, response: bytes) -> bytes:
    """Forward one request, which is answered with *response* and an end; returns what the client got."""
    with Client(proxy.address) as client:
        client.send(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nConnection: close\r\n\r\n" % origin.port)
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(response)
        return client.receive_until_closed()


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "done"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "done"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", "done"),
        (b"SSH-2.0-x\r\n", "failed: broken answer: "),
        (b"", "failed: broken answer: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "failed: broken answer: "),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "failed: broken answer: ",
        ),
    ],
    ids=["whole", "500", "until close", "malformed", "none", "cut", "cut chunked"],
)
def test_an_exchange_succeeds_where_the_response_came_to_its_end(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes, response: bytes, outcome: str
) -> None:
    exchange(proxy, origin, response)
    statistics = proxy.wait_idle()
    [seen] = outcomes.seen
    assert seen.startswith(outcome)
    good = outcome == "done"
    assert (statistics.num_request, statistics.num_success) == (1, int(good))
    assert statistics.num_reject_upstream == int(not good)
    assert (statistics.lasterror is None) == good


def test_an_upstream_that_resets_has_failed(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % origin.port)
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.reset()
        assert client.receive_until_closed().startswith(b"HTTP/1.1 502 ")
    assert proxy.wait_idle().num_reject_upstream == 1
    assert outcomes.seen == ["failed: the upstream broke off"]


def test_a_clients_malformed_body_is_no_success_and_not_the_upstreams_fault(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(
            b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n"
            % origin.port
        )
        assert client.receive_until_closed().startswith(b"HTTP/1.1 400 ")
        origin.accept().close()
    statistics = proxy.wait_idle()
    assert (statistics.num_success, statistics.num_reject_upstream) == (0, 0)
    assert outcomes.seen[0].startswith("protocol error: ")


def test_an_answer_to_a_request_that_may_go_no_further_is_nobodys_fault(
    proxy: RunningServer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(b"OPTIONS http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n")
        assert client.receive_until_closed().startswith(b"HTTP/1.1 200 ")
    proxy.wait_idle()
    assert outcomes.seen == ["done"]


def test_a_session_that_is_closed_from_outside_says_so(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % origin.port)
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            [session] = proxy.sessions()
            assert proxy.call(proxy.server.close_session, session.id)
            client.expect_closed()
    assert proxy.wait_idle().num_success == 0
    assert outcomes.seen == ["closed by request"]


def test_each_exchange_of_a_connection_counts_by_itself(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n\r\n" % origin.port
    with Client(proxy.address) as client:
        for _ in range(3):
            client.send(request)
            with origin.accept() as upstream:
                upstream.receive_until(b"\r\n\r\n")
                upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            client.receive_until(b"ok")
    statistics = proxy.wait_idle()
    assert (statistics.num_request, statistics.num_success) == (3, 3)
    assert outcomes.seen == ["done"] * 3


def test_a_websocket_whose_client_has_half_closed_is_one(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(
            b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nup"
            % origin.port
        )
        client.finish()
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert upstream.receive_until_closed() == b"up"
            upstream.send(b"down")
            upstream.finish()
            assert client.receive_until_closed().endswith(b"\r\n\r\ndown")
    proxy.wait_idle()
    assert outcomes.seen == ["done"]


def test_a_websocket_counts_once_it_stands(
    proxy: RunningServer, origin: Peer, outcomes: Outcomes
) -> None:
    with Client(proxy.address) as client:
        client.send(
            b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            % origin.port
        )
        with origin.accept() as upstream:
            upstream.receive_until(b"\r\n\r\n")
            assert proxy.statistics().num_success == 0
            upstream.send(b"HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            client.receive_until(b"\r\n\r\n")
            assert proxy.wait_until(lambda s: s.num_success).num_success == 1
    assert proxy.wait_idle().num_success == 1
    assert outcomes.seen == ["done"]
