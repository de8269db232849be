"""Objects of plugins and of programs that do at a connection what they should not: it fails, the server goes on, the log names who it was."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest

from neosocksd_core import (
    Associate,
    ClientConnection,
    ControlConnection,
    Credentials,
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    Forward,
    Hop,
    Reason,
    Reject,
    Request,
    Resolution,
    ServerContext,
    SessionInfo,
    SocketAddress,
    hookimpl,
)
from neosocksd_core.addresses import Address
from neosocksd_core.services import ControlListener, Service
from neosocksd_core.testing import (
    DEADLINE,
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    Serve,
    closed_address,
    plain_request,
)
from neosocksd_core.testing.plain import PlainFrontend, PlainHandshake


class Bad:
    """A plugin that gives what a test says, for one hook each."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    @hookimpl
    def create_router(self) -> Any:
        return self.given.get("router")

    @hookimpl
    def create_authenticator(self) -> Any:
        return self.given.get("authenticator")

    @hookimpl
    def create_resolver(self) -> Any:
        return self.given.get("resolver")

    @hookimpl
    def register_observers(self) -> Any:
        return self.given.get("observers", ())

    @hookimpl
    def register_frontends(self) -> Any:
        return self.given.get("frontends", ())

    @hookimpl
    def register_dialers(self) -> Any:
        return self.given.get("dialers", {})

    @hookimpl
    def register_services(self) -> Any:
        return self.given.get("services", ())

    @hookimpl
    def register_control_listeners(self) -> Any:
        return self.given.get("controls", ())

    @hookimpl
    def register_endpoints(self) -> Any:
        return [replace(endpoint) for endpoint in self.given.get("endpoints", ())]


class Answering:
    """A router that answers with whatever it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def route(self, request: Request) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Associating(PlainHandshake):
    """A handshake that asks for a relay of datagrams, which come as *codec* says, and answers with its port."""

    def __init__(self, codec: Any) -> None:
        super().__init__()
        self.codec = codec
        self.port = b""

    def next_event(self) -> Any:
        return Associate(Address("", 0), None, "datagrams", self.codec)

    def grant(self, bound: SocketAddress) -> None:
        self.port = b"%d\n" % bound[1]

    def data_to_send(self) -> bytes:
        return self.port


def expect_service(server: RunningServer, echo: EchoServer) -> None:
    """Clients are served."""
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"hi")
        client.expect(b"ok\nhi")


def expect_refusal(server: RunningServer, request: bytes, reason: Reason) -> None:
    with Client(server.address) as client:
        client.send(request)
        client.expect(f"no {reason.value}\n".encode())
        client.expect_eof()


@pytest.mark.logs_error("plugin bad: router raised")
@pytest.mark.parametrize(
    "answer",
    [
        ZeroDivisionError(),
        None,
        "example.org:80",
        Reject,
        Reject("no mail"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        Forward(("127.0.0.1", 80)),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
    ids=repr,
)
def test_a_request_is_refused_if_the_router_answers_what_is_no_decision(
    serve: Serve, echo: EchoServer, answer: object
) -> None:
    server = serve(plugins=[PlainPlugin, Bad(router=Answering(answer))])
    expect_refusal(server, plain_request(echo.address), Reason.NOT_ALLOWED)


class EmptyTable(dict[str, str]):
    """A router that is a mapping, and has no entries: it is false, and decides all the same."""

    def route(self, request: Request) -> Reject:
        return Reject()

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
        return False

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        return Resolution(("127.0.0.1",))


def test_a_router_that_is_false_decides(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin], router=EmptyTable())
    expect_refusal(server, plain_request(echo.address), Reason.NOT_ALLOWED)


def test_an_authenticator_that_is_false_judges(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin], authenticator=EmptyTable())
    request = plain_request(echo.address, "alice", "secret")
    expect_refusal(server, request, Reason.NOT_ALLOWED)
    server.reload({"listen": "127.0.0.1:0"})
    assert server.wait_idle().num_reject_ruleset == 1


def test_a_resolver_that_is_false_resolves(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin], resolver=EmptyTable())
    with Client(server.address) as client:
        client.send(plain_request(Address("name.invalid", echo.port)) + b"hi")
        client.expect(b"ok\nhi")


class Judge:
    def __init__(self, answer: Any, late: bool) -> None:
        self.answer = answer
        self.late = late

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> Any:
        return self.judge_late() if self.late else self.judge()

    def judge(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def judge_late(self) -> Any:
        return self.judge()


@pytest.mark.logs_error("plugin bad: authenticator raised")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "answer", [ZeroDivisionError(), asyncio.CancelledError(), None, 1, "wrong password"], ids=repr
)
def test_credentials_are_refused_if_the_answer_about_them_is_no_verdict(
    serve: Serve, echo: EchoServer, answer: object, late: bool
) -> None:
    server = serve(plugins=[PlainPlugin, Bad(authenticator=Judge(answer, late))])
    request = plain_request(echo.address, "alice", "secret")
    expect_refusal(server, request, Reason.NOT_ALLOWED)
    expect_service(server, echo)


class Breaking:
    """A router, an authenticator and a resolver in one: it waits for ever, and fails when that is cancelled."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.failed = threading.Event()

    async def route(self, request: Request) -> Any:
        await self.wait()

    async def authenticate(self, credentials: Credentials, client: SocketAddress) -> Any:
        await self.wait()

    async def resolve(self, host: str, family: socket.AddressFamily) -> Any:
        await self.wait()

    async def wait(self) -> None:
        self.waits.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.failed.set()
            raise ZeroDivisionError


@pytest.mark.logs_error("raised ZeroDivisionError")
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("what", ["router", "authenticator", "resolver"])
def test_what_fails_when_its_client_leaves_is_logged_and_the_server_goes_on(
    serve: Serve, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    breaking = Breaking()
    server = serve(plugins=[PlainPlugin, Bad(**{what: breaking})])
    user = "alice" if what == "authenticator" else ""
    for _ in range(2):
        breaking.waits.clear()
        breaking.failed.clear()
        with Client(server.address) as client:
            client.send(plain_request(Address("name.example", 80), user, user))
            assert breaking.waits.wait(DEADLINE)
            client.reset()
        assert breaking.failed.wait(DEADLINE)
        server.wait_idle()
    server.close()
    assert caplog.text.count(f"plugin bad: {what} raised ZeroDivisionError") == 2


class Looking:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def resolve(self, host: str, family: socket.AddressFamily) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.logs_error("plugin bad: resolver raised")
@pytest.mark.parametrize(
    "answer",
    [
        ZeroDivisionError(),
        asyncio.CancelledError(),
        "127.0.0.1",
        None,
        Resolution(("name.example",)),
        Resolution("127.0.0.1"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
    ids=repr,
)
def test_a_name_is_not_resolved_if_the_resolver_fails(
    serve: Serve, echo: EchoServer, answer: object
) -> None:
    server = serve(plugins=[PlainPlugin, Bad(resolver=Looking(answer))])
    request = plain_request(Address("name.invalid", echo.port))
    expect_refusal(server, request, Reason.NAME_NOT_RESOLVED)
    expect_service(server, echo)


class Noticing:
    def session_opened(self, session: SessionInfo) -> None:
        raise ZeroDivisionError

    def session_closed(self, session: SessionInfo) -> None: ...


@pytest.mark.logs_error("plugin bad: observer raised ZeroDivisionError")
def test_an_observer_is_named(serve: Serve, echo: EchoServer) -> None:
    server = serve(plugins=[PlainPlugin, Bad(observers=[Noticing()])])
    expect_service(server, echo)


class Confused(PlainHandshake):
    def next_event(self) -> Any:
        return "connect"


class ConfusedFrontend(PlainFrontend):
    name = "confused"
    listen = ("127.0.0.1:0",)
    first_bytes = b"c"  # so it is asked for an event once the client has sent something

    def __init__(self) -> None: ...

    def handshake(self, connection: ClientConnection) -> PlainHandshake:
        return Confused()


@pytest.mark.logs_error("plugin bad: session 1 (confused) raised TypeError: not an event")
def test_a_handshake_with_an_event_of_no_kind_ends_its_session(serve: Serve) -> None:
    server = serve(
        {"socks5": {"listen": "127.0.0.1:0"}},
        plugins=["socks5", Bad(frontends=[ConfusedFrontend()])],
    )
    with Client(server.server.addresses_of("confused")[0][:2]) as client:
        client.send(b"connect")
        client.expect_reset()


class MuteDialer:
    """Makes no machines."""

    default_port = 1

    def handshake(self, hop: Hop, target: Address) -> Any:
        return None


@pytest.mark.logs_error("plugin bad: dialer of mute://")
def test_a_dialer_is_named(serve: Serve, echo: EchoServer) -> None:
    settings = {"listen": "127.0.0.1:0", "proxy": f"mute://127.0.0.1:{echo.port}"}
    server = serve(settings, plugins=[PlainPlugin, Bad(dialers={"mute": MuteDialer()})])
    expect_refusal(server, plain_request(echo.address), Reason.GENERAL_FAILURE)


async def fail(*_: object) -> None:
    raise ZeroDivisionError


async def answer_nothing(*_: object) -> None: ...


async def be_cancelled(*_: object) -> None:
    """What happens to whoever waits for a task that was cancelled."""
    raise asyncio.CancelledError


FAILURES: Sequence[Callable[..., Awaitable[None]]] = [fail, be_cancelled]


@pytest.mark.logs_error("plugin bad: service s raised")
@pytest.mark.parametrize("run", FAILURES)
def test_a_service_that_fails_ends_alone(
    serve: Serve, echo: EchoServer, run: Callable[[], Awaitable[None]], backend: str
) -> None:
    server = serve(plugins=[PlainPlugin, Bad(services=[Service("s", run)])])
    server.wait_until(lambda s: s.lasterror)
    expect_service(server, echo)


@pytest.mark.logs_error("plugin bad: control raised")
@pytest.mark.parametrize("run", FAILURES)
def test_a_control_connection_that_fails_ends_alone(
    serve: Serve,
    echo: EchoServer,
    run: Callable[[ControlConnection], Awaitable[None]],
    backend: str,
) -> None:
    control = ControlListener("control", ("127.0.0.1:0",), run)
    server = serve({"listen": "127.0.0.1:0"}, plugins=[PlainPlugin, Bad(controls=[control])])
    for _ in range(2):
        with Client(server.addresses[1]) as client:
            client.expect_eof()
    expect_service(server, echo)


@pytest.mark.logs_error("plugin bad: endpoint /x raised")
@pytest.mark.parametrize("handle", [*FAILURES, answer_nothing])
def test_a_call_that_fails_is_answered_as_an_internal_error(
    serve: Serve, echo: EchoServer, handle: Callable[[EndpointRequest], Any], backend: str
) -> None:
    class Caller:
        """A plugin that calls the endpoint, while somebody else asks for what there is."""

        answers: ClassVar[list[EndpointResponse]] = []

        @hookimpl
        def register_services(self, server: ServerContext) -> Sequence[Service]:
            async def call() -> None:
                endpoint = server.endpoints()["/x"]
                server.endpoints()
                self.answers.append(await endpoint.handle(EndpointRequest("GET")))

            return [Service("caller", call)]

    endpoint = Endpoint("/x", frozenset({"GET"}), handle)
    server = serve(plugins=[PlainPlugin, Bad(endpoints=[endpoint]), Caller])
    server.wait_until(lambda s: s.lasterror)
    expect_service(server, echo)
    assert Caller.answers == [EndpointResponse(500, b"internal error\n")]


def test_a_service_that_is_cancelled_with_the_server_is_no_error(
    serve: Serve, backend: str
) -> None:
    ended: list[str] = []

    async def run() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    server = serve(plugins=[PlainPlugin, Bad(services=[Service("s", run)])])
    server.wait_idle()
    server.stop()
    assert ended == ["cancelled"]


def test_an_upstream_that_refuses_is_nobodys_error(serve: Serve) -> None:
    server = serve(plugins=[PlainPlugin, Bad()])
    with closed_address() as address:
        expect_refusal(server, plain_request(address), Reason.CONNECTION_REFUSED)


NO_FUNCTION: Any = 5
NOTHING: Any = None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Service("s", NO_FUNCTION), "run of the service 's' is int"),
        (lambda: ControlListener("c", (), NO_FUNCTION), "serve of the control listener 'c' is int"),
        (lambda: Endpoint("/x", frozenset({"GET"}), NO_FUNCTION), "handle of /x is int"),
    ],
)  # fmt: skip
def test_what_is_no_function_is_refused_where_one_is_to_be_called(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(TypeError, match=f"{message}, expected the function itself"):
        make()


class Codec:
    """A codec of datagrams that fails as a test says."""

    def __init__(self, fail: Callable[[], Any]) -> None:
        self.fail = fail

    def decode(self, datagram: bytes) -> Any:
        return self.fail()

    def encode(self, source: SocketAddress, payload: bytes) -> bytes:
        return payload


@pytest.mark.logs_error("plugin bad: datagrams of session 1 raised ZeroDivisionError")
@pytest.mark.parametrize("closes", [False, True], ids=["raises", "closes the session and raises"])
def test_a_codec_of_datagrams_that_raises_ends_its_session_once(serve: Serve, closes: bool) -> None:
    def fail() -> None:
        if closes:
            [session] = server.server.sessions()
            server.server.close_session(session.id)
        raise ZeroDivisionError

    class Frontend(PlainFrontend):
        def handshake(self, connection: ClientConnection) -> Any:
            return Associating(Codec(fail))

    server = serve(plugins=[Bad(frontends=[Frontend(NOTHING)])])
    with Client(server.address) as client, socket.socket(type=socket.SOCK_DGRAM) as sender:
        client.send(b"x")
        port = int(client.receive_until(b"\n"))
        sender.sendto(b"x", (server.address[0], port))
        client.expect_reset()
    server.wait_idle()


class Slow:
    """A resolver that knows one address, and tells it when it may."""

    def __init__(self) -> None:
        self.may_answer = anyio.Event()

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        await self.may_answer.wait()
        return Resolution(("127.0.0.1",))


class InTurn(PlainFrontend):
    """Gives each of its clients the next of some handshakes."""

    def __init__(self, *handshakes: PlainHandshake) -> None:
        super().__init__(NOTHING)
        self.handshakes = list(handshakes)

    def handshake(self, connection: ClientConnection) -> PlainHandshake:
        return self.handshakes.pop(0)


@pytest.mark.logs_error("plugin bad: datagrams of session 1 raised OverflowError")
def test_what_a_codec_says_wrongly_of_a_name_ends_its_session_alone(
    serve: Serve, echo: EchoServer
) -> None:
    codec = Codec(lambda: (Address("name.example", 65536), b"x"))
    resolver = Slow()
    server = serve(
        plugins=[Bad(frontends=[InTurn(Associating(codec), PlainHandshake())])], resolver=resolver
    )
    with Client(server.address) as client, Client(server.address) as other:
        client.send(b"x")
        port = int(client.receive_until(b"\n"))
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            for _ in range(2):
                sender.sendto(b"x", (server.address[0], port))
        server.wait_until(lambda s: s.num_dns_query == 1)
        other.send(plain_request(Address("name.example", echo.port)) + b"hi")
        server.wait_until(lambda s: s.num_request == 2)
        server.call(lambda: resolver.may_answer.set())
        client.expect_reset()
        other.expect(b"ok\nhi")
    server.wait_idle()


def test_a_codec_that_closes_its_session_has_nothing_sent_any_more(serve: Serve) -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as peer,
        socket.socket(type=socket.SOCK_DGRAM) as sender,
    ):
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(DEADLINE)
        target = Address(*peer.getsockname())

        def close() -> tuple[Address, bytes]:
            [session] = server.server.sessions()
            server.server.close_session(session.id)
            return target, b"after the end"

        good = Codec(lambda: (target, b"of another"))
        server = serve(
            plugins=[Bad(frontends=[InTurn(Associating(Codec(close)), Associating(good))])]
        )
        for ends in (True, False):
            with Client(server.address) as client:
                client.send(b"x")
                port = int(client.receive_until(b"\n"))
                sender.sendto(b"x", (server.address[0], port))
                if ends:
                    client.expect_reset()
                else:
                    assert peer.recv(100) == b"of another"
        server.wait_idle()
