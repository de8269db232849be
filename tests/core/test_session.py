"""The session pipeline through a running server: routers and authenticators of every kind, observers, time limits, early ends."""

from collections.abc import Sequence

import anyio
import pytest

from neosocksd_core import (
    Address,
    Authenticator,
    Credentials,
    Decision,
    DialError,
    Forward,
    Frontend,
    Observer,
    Reason,
    Reject,
    Request,
    Router,
    ServerContext,
    SessionInfo,
    SocketAddress,
    hookimpl,
)
from neosocksd_core.protocols import ClientConnection, Handshake
from neosocksd_core.testing import (
    BlackHole,
    Client,
    EchoServer,
    Peer,
    PlainPlugin,
    RunningServer,
    Serve,
    closed_address,
    plain_request,
)
from neosocksd_core.testing.plain import PlainFrontend, PlainHandshake

TARGET = ("192.0.2.1", 80)


def ask(server: RunningServer, request: bytes, answer: bytes) -> None:
    with Client(server.address) as client:
        client.send(request)
        client.expect(answer)
        client.expect_eof()
    server.wait_idle()


class Thinking:
    """A router that takes its time until it is told to decide."""

    def __init__(self) -> None:
        self._decided: anyio.Event | None = None

    async def route(self, request: Request) -> Decision:
        self._decided = anyio.Event()
        await self._decided.wait()
        return Forward(request.target)

    def decide(self) -> None:
        assert self._decided is not None
        self._decided.set()


def routed(serve: Serve, router: Router, **settings: object) -> RunningServer:
    return serve({"listen": "127.0.0.1:0", **settings}, plugins=[PlainPlugin], router=router)


# routers


class To:
    """Sends every request to one address, at once or later."""

    def __init__(self, address: SocketAddress, later: bool) -> None:
        self.address = address
        self.later = later
        self.requests: list[Request] = []

    def route(self, request: Request) -> object:
        self.requests.append(request)
        forward = Forward(Address(*self.address[:2]))
        return self._later(forward) if self.later else forward

    async def _later(self, decision: Decision) -> Decision:
        await anyio.sleep(0)
        return decision


@pytest.mark.parametrize("later", [False, True])
def test_a_router_sends_a_request_elsewhere(
    serve: Serve, echo: EchoServer, backend: str, later: bool
) -> None:
    router = To(echo.address, later)
    server = routed(serve, router)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with Client(server.address) as client:
        client.send(plain_request(TARGET, "user", "secret") + b"early")
        client.expect(b"ok\nearly")
        [request] = router.requests
        assert request.client == client.local
        assert (request.frontend, request.protocol) == ("plain", "plain")
        assert request.target == Address(*TARGET)
        assert request.credentials == Credentials(b"user", b"secret")
        [session] = server.sessions()
        assert (session.id, session.user) == (request.session_id, "user")
        assert "secret" not in repr(session) + repr(request)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_router_refuses_with_a_reason(serve: Serve, reason: Reason) -> None:
    class Refusing:
        def route(self, request: Request) -> Decision:
            return Reject(reason, "because\n")

    server = routed(serve, Refusing())
    ask(server, plain_request(TARGET), f"no {reason.value}\n".encode())
    assert server.statistics().num_reject_ruleset == 1


@pytest.mark.logs_error("router raised ZeroDivisionError")
@pytest.mark.parametrize("later", [False, True])
def test_a_router_that_raises_rejects_that_request_alone(
    serve: Serve, echo: EchoServer, later: bool
) -> None:
    class Raising:
        def route(self, request: Request) -> object:
            if request.target.host == echo.address[0]:
                return Forward(request.target)
            if later:
                return self._later()
            raise ZeroDivisionError

        async def _later(self) -> Decision:
            raise ZeroDivisionError

    server = routed(serve, Raising())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with Client(server.address) as living:
        living.send(plain_request(echo.address))
        living.expect(b"ok\n")
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            client.expect(b"no not allowed\n")
            client.expect_eof()
        living.send(b"still here")
        living.expect(b"still here")
    server.wait_idle()


@pytest.mark.logs_error("raised TypeError: not a decision")
def test_what_is_no_decision_rejects_the_request(serve: Serve) -> None:
    class Nonsense:
        def route(self, request: Request) -> object:
            return "nonsense"

    ask(routed(serve, Nonsense()), plain_request(TARGET), b"no not allowed\n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_router_tries_another_way_before_the_client_is_answered(
    serve: Serve, echo: EchoServer, backend: str
) -> None:
    with closed_address() as refusing:

        class Failover:
            async def route(self, request: Request) -> Decision:
                for address in (refusing, echo.address):
                    try:
                        return await request.dial(Forward(Address(*address)))
                    except DialError as error:
                        assert error.reason is Reason.CONNECTION_REFUSED
                raise AssertionError

        server = routed(serve, Failover())
        with Client(server.address) as client:
            client.send(plain_request(TARGET) + b"early")
            client.expect(b"ok\nearly")
            client.finish()
            client.expect_eof()
    assert server.wait_idle().num_success == 1


def test_a_router_that_lets_the_failure_of_its_dial_pass_answers_with_its_reason(
    serve: Serve,
) -> None:
    class Dialling:
        async def route(self, request: Request) -> Decision:
            return await request.dial(Forward(request.target))

    with closed_address() as refusing:
        server = routed(serve, Dialling())
        ask(server, plain_request(refusing), b"no connection refused\n")
    assert server.statistics().num_reject_upstream == 1


def test_a_dial_of_a_router_outlives_no_black_hole(serve: Serve, echo: EchoServer) -> None:
    with BlackHole() as hole:

        class Failover:
            async def route(self, request: Request) -> Decision:
                try:
                    return await request.dial(Forward(Address(*hole.address)))
                except DialError:
                    return Forward(Address(*echo.address))

        server = routed(serve, Failover(), dial_timeout=0.05)
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            client.expect(b"ok\n")


def test_a_connection_that_a_router_made_for_a_client_that_left_is_closed(serve: Serve) -> None:
    running: list[RunningServer] = []
    with Peer() as peer:

        class Slow:
            async def route(self, request: Request) -> Decision:
                upstream = await request.dial(Forward(request.target))
                with anyio.CancelScope(shield=True):
                    while running[0].server.sessions():
                        await anyio.sleep(0)
                return upstream

        running.append(routed(serve, Slow()))
        client = Client(running[0].address)
        client.send(plain_request(peer.address))
        with peer.accept() as accepted:
            client.reset()
            accepted.expect_eof()
    running[0].wait_idle()


@pytest.mark.parametrize("ending", ["another answer", "the client leaves"])
def test_a_connection_that_a_router_made_and_did_not_answer_with_is_closed(
    serve: Serve, ending: str
) -> None:
    with Peer() as peer:

        class Undecided:
            async def route(self, request: Request) -> Decision:
                await request.dial(Forward(request.target))
                if ending == "the client leaves":
                    await anyio.sleep_forever()
                return Reject()

        server = routed(serve, Undecided())
        with Client(server.address) as client:
            client.send(plain_request(peer.address))
            with peer.accept() as accepted:
                if ending == "the client leaves":
                    client.reset()
                accepted.expect_eof()
            if ending == "another answer":
                client.expect(b"no not allowed\n")
    server.wait_idle()


def test_a_client_that_leaves_while_the_router_thinks_cancels_it(
    serve: Serve, backend: str
) -> None:
    ended: list[str] = []

    class Thinking:
        async def route(self, request: Request) -> Decision:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("cancelled")
            raise AssertionError

    server = routed(serve, Thinking())
    client = Client(server.address)
    client.send(plain_request(TARGET))
    server.wait_until(lambda s: s.num_request == 1)
    assert server.sessions()[0].outcome == "routing"
    client.reset()
    server.wait_idle()
    server.stop()
    assert ended == ["cancelled"]


def test_a_client_that_half_closes_while_the_router_thinks_is_still_answered(
    serve: Serve, echo: EchoServer
) -> None:
    thinking = Thinking()
    server = routed(serve, thinking)
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"question")
        client.finish()
        server.wait_until(lambda s: s.num_request == 1)
        server.call(thinking.decide)
        client.expect(b"ok\nquestion")
        client.expect_eof()
    server.wait_idle()


# authenticators


class Judge:
    """Accepts one password, at once or later; raises for another."""

    def __init__(self, later: bool) -> None:
        self.later = later

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> object:
        return self._later(credentials) if self.later else self._judge(credentials)

    async def _later(self, credentials: Credentials) -> bool:
        await anyio.sleep(0)
        return self._judge(credentials)

    def _judge(self, credentials: Credentials) -> bool:
        if credentials.password == b"crash":
            raise ZeroDivisionError
        return credentials.password == b"right"


def judged(serve: Serve, later: bool) -> RunningServer:
    judge: object = Judge(later)
    assert isinstance(judge, Judge)
    authenticator: Authenticator = judge  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    return serve(
        {"listen": "127.0.0.1:0", "auth_required": True},
        plugins=[PlainPlugin],
        authenticator=authenticator,
    )


@pytest.mark.parametrize("later", [False, True])
def test_good_credentials_pass_and_bad_ones_do_not(
    serve: Serve, echo: EchoServer, backend: str, later: bool
) -> None:
    server = judged(serve, later)
    with Client(server.address) as client:
        client.send(plain_request(echo.address, "user", "right") + b"early")
        client.expect(b"ok\nearly")
    ask(server, plain_request(echo.address, "user", "wrong"), b"no not allowed\n")
    ask(server, plain_request(echo.address), b"no, credentials are required\n")
    statistics = server.statistics()
    assert (statistics.num_success, statistics.num_reject_ruleset) == (1, 1)


@pytest.mark.logs_error("raised ZeroDivisionError")
@pytest.mark.parametrize("later", [False, True])
def test_an_authenticator_that_raises_lets_nobody_pass(
    serve: Serve, echo: EchoServer, later: bool
) -> None:
    server = judged(serve, later)
    with Client(server.address) as client:
        client.send(plain_request(echo.address, "user", "crash"))
        with pytest.raises((AssertionError, OSError)):
            client.expect(b"ok\n")
    assert server.wait_idle().num_success == 0


def test_a_client_that_leaves_while_it_is_judged_cancels_that(serve: Serve) -> None:
    class Thinking:
        async def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
            await anyio.sleep_forever()
            return True

    server = serve(plugins=[PlainPlugin], authenticator=Thinking())
    client = Client(server.address)
    client.send(plain_request(TARGET, "user", "secret"))
    server.wait_until(lambda s: s.num_halfopen == 1)
    client.reset()
    server.wait_idle()


# frontends and observers


class Watching:
    """An observer, as a plugin; raises where it is told to."""

    def __init__(self, raising: bool = False) -> None:
        self.raising = raising
        self.seen: list[tuple[str, SessionInfo]] = []

    @hookimpl
    def register_observers(self) -> Sequence[Observer]:
        return [self]

    def session_opened(self, session: SessionInfo) -> None:
        self.seen.append(("opened", session))
        if self.raising:
            raise ZeroDivisionError

    def session_closed(self, session: SessionInfo) -> None:
        self.seen.append(("closed", session))
        if self.raising:
            raise ZeroDivisionError


def test_observers_are_told_of_each_session(serve: Serve, echo: EchoServer) -> None:
    watching = Watching()
    server = serve(plugins=[PlainPlugin, watching])
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"hi")
        client.expect(b"ok\nhi")
        client.finish()
        client.expect_eof()
    ask(server, b"nonsense\n", b"no, not an address\n")
    told = [(what, info.id, info.outcome.partition(":")[0]) for what, info in watching.seen]
    assert told == [
        ("opened", 1, "relaying"),
        ("closed", 1, "done"),
        ("closed", 2, "protocol error"),
    ]
    closed = watching.seen[1][1]
    assert (closed.bytes_up, closed.bytes_down, closed.target) == (2, 2, Address(*echo.address))


@pytest.mark.logs_error("observer raised ZeroDivisionError")
def test_an_observer_that_raises_disturbs_nobody(serve: Serve, echo: EchoServer) -> None:
    watching = Watching(raising=True)
    server = serve(plugins=[PlainPlugin, watching])
    for _ in range(2):
        with Client(server.address) as client:
            client.send(plain_request(echo.address) + b"hi")
            client.expect(b"ok\nhi")
    server.wait_idle()
    assert len(watching.seen) == 4


class BadFrontend(PlainFrontend):
    """Makes machines that raise: at once, when fed, when asked, when granting."""

    where = "handshake"

    def handshake(self, connection: ClientConnection) -> Handshake:
        if self.where == "handshake":
            raise ZeroDivisionError
        return BadHandshake(self.where)


class BadHandshake(PlainHandshake):
    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def receive_data(self, data: bytes) -> None:
        if self._where == "receive_data":
            raise ZeroDivisionError
        super().receive_data(data)

    def grant(self, bound: SocketAddress) -> None:
        if self._where == "grant":
            raise ZeroDivisionError
        super().grant(bound)

    def reject(self, reason: Reason) -> None:
        raise ZeroDivisionError

    def expire(self) -> None:
        raise ZeroDivisionError


class BadPlugin:
    def __init__(self, where: str) -> None:
        self.where = where

    @hookimpl
    def register_frontends(self, server: ServerContext) -> Sequence[Frontend]:
        frontend = BadFrontend(server)
        frontend.where = self.where
        return [frontend]


@pytest.mark.logs_error("ZeroDivisionError")
@pytest.mark.parametrize("where", ["handshake", "receive_data", "grant", "reject"])
def test_a_frontend_that_raises_ends_that_session_alone(
    serve: Serve, echo: EchoServer, where: str
) -> None:
    server = serve(
        {"listen": "127.0.0.1:0", "max_sessions_per_client": 1}, plugins=[BadPlugin(where)]
    )
    for _ in range(3):
        with Client(server.address) as client:
            client.send(b"224.0.0.1:1\n" if where == "reject" else plain_request(echo.address))
            client.expect_closed()
        server.wait_idle()
    assert server.statistics().num_accept == 3
    assert server.statistics().num_serve == 3


@pytest.mark.logs_error("ZeroDivisionError")
def test_a_frontend_that_raises_when_time_is_over_ends_that_session(serve: Serve) -> None:
    server = serve(plugins=[BadPlugin("expire")])
    server.shorten_timeout(0.02)
    with Client(server.address) as client:
        client.expect_closed()
    server.wait_idle()


# time limits and the table


def test_a_client_that_says_nothing_costs_one_timeout_and_is_counted(
    serve: Serve, backend: str
) -> None:
    server = serve(plugins=[PlainPlugin])
    server.shorten_timeout(0.05)
    with Client(server.address) as client:
        client.expect(b"no request\n")
        client.expect_eof()
    statistics = server.wait_idle()
    assert (statistics.num_reject_timeout, statistics.num_request) == (1, 0)


def test_a_session_that_dials_for_too_long_is_answered_at_the_total_deadline(serve: Serve) -> None:
    server = serve(plugins=[PlainPlugin])
    server.shorten_timeout(0.05)
    with BlackHole() as hole:
        ask(server, plain_request(hole.address), b"no timed out\n")
    assert server.statistics().num_reject_timeout == 1


def test_a_session_that_relays_has_no_time_limit(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    with Client(server.address) as client:
        server.shorten_timeout(0.02)
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
        with Client(server.address) as other:
            other.expect(b"no request\n")
        client.send(b"x")
        client.expect(b"x")


@pytest.mark.parametrize("phase", ["handshake", "dialing", "relaying"])
def test_a_session_can_be_closed_by_its_id(serve: Serve, echo: EchoServer, phase: str) -> None:
    server = serve(plugins=[PlainPlugin])
    with BlackHole() as hole, Client(server.address) as client:
        if phase == "dialing":
            client.send(plain_request(hole.address))
        elif phase == "relaying":
            client.send(plain_request(echo.address))
            client.expect(b"ok\n")
        server.wait_until(lambda s: s.num_halfopen + s.num_sessions == 1)
        if phase == "dialing":
            server.wait_until(lambda s: s.num_request == 1)
        [session] = server.sessions()
        assert session.outcome == phase
        assert server.call(server.server.close_session, session.id)
        client.expect_reset()
        assert not server.call(server.server.close_session, session.id)
    server.wait_idle()


def test_the_counts_of_sessions_are_those_of_their_rows(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin])
    assert server.call(server.server.session_counts) == {}
    with Client(server.address) as client, Client(server.address):
        client.send(plain_request(echo.address))
        client.expect(b"ok\n")
        client.send(b"hello")
        client.expect(b"hello")
        server.wait_until(lambda s: s.num_halfopen + s.num_sessions == 2)
        rows = {row.id: (row.bytes_up, row.bytes_down) for row in server.sessions()}
        assert server.call(server.server.session_counts) == rows
        assert sorted(rows.values()) == [(0, 0), (5, 5)]
    server.wait_idle()


def test_early_data_beyond_the_bound_waits_and_is_not_lost(serve: Serve, echo: EchoServer) -> None:
    thinking = Thinking()
    server = routed(serve, thinking)
    data = bytes(range(256)) * 1000
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + data)
        server.wait_until(lambda s: s.num_request == 1)
        server.call(thinking.decide)
        client.expect(b"ok\n" + data)
        client.finish()
        client.expect_eof()
    server.wait_idle()
