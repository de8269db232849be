"""The bytes of all sessions: exact, and cheap to ask for where there are thousands of sessions."""

from collections.abc import Iterator
from contextlib import ExitStack

from neosocksd_core.sessions import LiveSession, SessionTable
from neosocksd_core.statistics import Counters
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
)
from neosocksd_core.traffic import FEW_SESSIONS, Traffic


class LookedAt(SessionTable):
    """Counts how often somebody goes through all sessions."""

    def __init__(self, sessions: SessionTable) -> None:
        super().__init__()
        self.looks = 0
        for session in sessions:
            self.add(session)

    def __iter__(self) -> Iterator[LiveSession]:
        self.looks += 1
        return super().__iter__()


def test_of_many_sessions_the_sum_is_exact_and_not_made_for_each_who_asks(
    serve: Serve, echo: EchoServer
) -> None:
    server = serve(plugins=[PlainPlugin])
    count = FEW_SESSIONS + 1
    with ExitStack() as stack:
        for number in range(count):
            client = stack.enter_context(Client(server.address))
            client.send(plain_request(echo.address) + b"hello")
            client.expect(b"ok\nhello")
            if number == 1:
                assert looks_of_many_questions(server) == 100
        statistics = server.wait_until(lambda s: s.byt_down == 5 * count)
        assert (statistics.num_sessions, statistics.byt_up) == (count, 5 * count)
        assert looks_of_many_questions(server) < 100
    statistics = server.wait_idle()
    assert (statistics.byt_up, statistics.byt_down) == (5 * count, 5 * count)


def looks_of_many_questions(server: RunningServer) -> int:
    """How often the sessions of *server* are gone through to tell their bytes a hundred times at once."""
    runtime = server.server._runtime  # pyright: ignore[reportPrivateUsage]
    assert runtime is not None
    table = LookedAt(runtime.pipeline.table)
    traffic = Traffic(Counters(), table)
    server.call(lambda: [traffic.total() for _ in range(100)])
    return table.looks
