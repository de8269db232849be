"""What no SOCKS client should send, over the running server: every row of the specification's tables, in several deliveries.

After each case nothing is left behind and a control session still echoes. Between the pieces of a delivery the control
session makes a round trip, so the server has read each piece by itself; a pause would show nothing more.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from neosocksd_core import (
    Credentials,
    Decision,
    DialError,
    Forward,
    Reason,
    Request,
    SocketAddress,
)
from neosocksd_core.log import escape
from neosocksd_core.testing import (
    DELIVERIES,
    BlackHole,
    Client,
    Delivery,
    EchoServer,
    Peer,
    RunningServer,
    byte_by_byte,
    closed_address,
    in_one_write,
    split_at,
)

L = b"\x7f\x00\x00\x01"
USER = b"\x75\x00"

GRANTED = b"\x00\x5a" + bytes(6)
REJECTED = b"\x00\x5b" + bytes(6)
NAME_255 = b".".join((b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 63))

GREETING = b"\x05\x01\x00"
GREETED = b"\x05\x00"
REQUEST = b"\x05\x01\x00"
BOUND = (b"\x05\x00\x00\x01" + L, 2)
"""A success reply: our address towards the target, and any port."""

Answer = bytes | Sequence[bytes | int]
"""What the server says; a number stands for so many bytes of any value."""


def error(reply: int) -> bytes:
    """A SOCKS5 error reply."""
    return bytes((5, reply, 0, 1)) + bytes(6)


def domain(name: bytes) -> bytes:
    """A SOCKS5 request for a name, without its port."""
    return REQUEST + b"\x03" + bytes((len(name),)) + name


@dataclass(frozen=True)
class Case:
    """A row: ``<E>`` in it stands for the echo server's port, ``<X>`` for a closed one."""

    row: str
    sent: bytes
    answer: Answer
    relays: bytes | None = None
    """What comes back from the echo after that; None where the connection ends."""
    finish: bool = False
    """The client ends its half after the message."""
    deliveries: Sequence[Delivery] = DELIVERIES
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return self.row


def rejected4(row: str, sent: bytes, **options: Any) -> Case:
    return Case(row, sent, REJECTED, **options)


def failed5(row: str, request: bytes, reply: int, **options: Any) -> Case:
    return Case(row, GREETING + request, GREETED + error(reply), **options)


SOCKS4 = [
    Case("S4-1", b"\x04\x01<E>" + L + USER + b"PING", GRANTED, relays=b"PING"),
    rejected4("S4-2", b"\x04\x01<X>" + L + USER),
    rejected4("S4-3 BIND", b"\x04\x02<E>" + L + USER),
    rejected4("S4-3 command 0", b"\x04\x00<E>" + L + USER),
    rejected4("S4-3 command 255", b"\x04\xff<E>" + L + USER),
    Case("S4-4", b"\x04\x01<E>" + L + b"u" * 255 + b"\0PING", GRANTED, relays=b"PING"),
    rejected4("S4-5", b"\x04\x01<E>" + L + b"u" * 256 + b"\0"),
    rejected4("S4-6", b"\x04\x01<E>" + L + b"u" * 5000, deliveries=(in_one_write, split_at(300))),
    Case("S4-7 two bytes", b"\x04\x01", b"", finish=True),
    Case("S4-7 no user id", b"\x04\x01<E>" + L, b"", finish=True),
    rejected4("S4-8", b"\x04\x01\x00\x00" + L + USER),
    rejected4("S4-9", b"\x04\x01<E>\x00\x00\x00\x00" + USER),
    rejected4("S4-10", b"\x04\x01<E>\x00\x00\x00\x01" + USER + b"\0"),
    rejected4("S4-11 255", b"\x04\x01<E>\x00\x00\x00\x01" + USER + NAME_255 + b"\0"),
    rejected4("S4-11 256", b"\x04\x01<E>\x00\x00\x00\x01" + USER + NAME_255 + b"e\0"),
    Case("S4-13", b"\x04\x01<E>\0\0\0\x01" + USER + b"127.0.0.1\0HI", GRANTED, relays=b"HI"),
    rejected4(
        "S4-13 blocked",
        b"\x04\x01<E>\0\0\0\x01" + USER + b"10.0.0.1\0",
        settings={"block_local": True},
    ),
    rejected4("S4-13 guarded", b"\x04\x01<S>\0\0\0\x01" + USER + b"127.0.0.1\0"),
    Case("S4-15 zero", b"\x00", b""),
    Case("S4-15 six", b"\x06\x01\x00", b""),
    Case("S4-15 HTTP", b"GET / HTTP/1.1\r\n\r\n", b""),
    Case("S4-15 TLS", b"\x16\x03\x01\x02\x00\x01\x00", b""),
    Case("S4-15 SSH", b"SSH-2.0-OpenSSH_9.2\r\n", b""),
    Case("S4-15 HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
]

BAD_NAMES = {
    "newline": b"evil\nhost",
    "escape": b"evil\x1b[2J",
    "space": b"evil host",
    "0x80": b"evil\x80",
    "0xff": b"\xff\xfe",
    "percent": b"evil%00",
    "scope": b"::1%\n",
}

SOCKS5 = [
    Case("S5-1", GREETING + REQUEST + b"\x01" + L + b"<E>data", (GREETED, *BOUND), relays=b"data"),
    Case("S5-2", b"\x05\x00", b"\x05\xff"),
    Case("S5-3", b"\x05\x01\x01", b"\x05\xff"),
    Case(
        "S5-4",
        b"\x05\xff" + bytes(range(3, 256)) + b"\x00\x01" + REQUEST + b"\x01" + L + b"<E>hi",
        (GREETED, *BOUND),
        relays=b"hi",
    ),
    Case(
        "S5-5",
        b"\x05\x02\x02\x00\x01\x01u\x01p" + REQUEST + b"\x01" + L + b"<E>hi",
        (b"\x05\x02\x01\x00", *BOUND),
        relays=b"hi",
    ),
    Case("S5-7 no user", b"\x05\x01\x02\x01\x00\x01p", b"\x05\x02\x01\x01"),
    Case("S5-7 no password", b"\x05\x01\x02\x01\x01u\x00", b"\x05\x02\x01\x01"),
    Case("S5-8", b"\x05\x01\x02\x05\x01u\x01p", b"\x05\x02"),
    Case(
        "S5-9",
        b"\x05\x01\x02\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255 + domain(NAME_255) + b"\0\x50",
        b"\x05\x02\x01\x00" + error(4),
    ),
    Case("S5-11", GREETING + b"\x04\x01\x00\x01" + L + b"<E>", GREETED),
    Case(
        "S5-12",
        GREETING + b"\x05\x01\xff\x01" + L + b"<E>hi",
        (GREETED, *BOUND),
        relays=b"hi",
    ),
    *(
        failed5(f"S5-13 command {n:#x}", bytes((5, n, 0, 1)) + L + b"<E>", 7)
        for n in (0, 4, 0xF0, 0xFF)
    ),
    failed5("S5-14 BIND", b"\x05\x02\x00\x01" + L + b"<E>", 7),
    failed5("S5-14 UDP ASSOCIATE", b"\x05\x03\x00\x01" + L + b"<E>", 7),
    *(failed5(f"S5-15 type {n:#x}", bytes((5, 1, 0, n)), 8) for n in (0, 2, 0xFF)),
    failed5("S5-16", domain(b"") + b"<E>", 4),
    failed5("S5-20 blocked", domain(b"10.0.0.1") + b"<E>", 2, settings={"block_local": True}),
    failed5("S5-20 unspecified", domain(b"0.0.0.0") + b"<E>", 2),
    failed5("S5-20 guarded", domain(b"127.0.0.1") + b"<S>", 2),
    Case(
        "S5-20 a literal as a name",
        GREETING + domain(b"127.0.0.1") + b"<E>hi",
        (GREETED, *BOUND),
        relays=b"hi",
    ),
    Case(
        "S5-21 mapped",
        GREETING + REQUEST + b"\x04" + bytes(10) + b"\xff\xff" + L + b"<E>hi",
        (GREETED, *BOUND),
        relays=b"hi",
    ),
    failed5(
        "S5-21 mapped and guarded", REQUEST + b"\x04" + bytes(10) + b"\xff\xff" + L + b"<S>", 2
    ),
    failed5("S5-22", REQUEST + b"\x01" + L + b"\0\0", 5),
    failed5("S5-23 refused", REQUEST + b"\x01" + L + b"<X>", 5),
    failed5("S5-23 name not resolved", domain(b"nowhere.example") + b"<E>", 4),
    failed5("S5-23 blocked", REQUEST + b"\x01\xe0\x00\x00\x01<E>", 2),
    Case("S5-24", GREETING, GREETED, finish=True),
    Case(
        "S5-25",
        GREETING + REQUEST + b"\x01" + L + b"<E>DATA",
        (GREETED, *BOUND),
        relays=b"DATA",
        finish=True,
    ),
    Case("S5-27 junk", GREETING + b"\xff" * 70_000, GREETED, deliveries=(in_one_write,)),
    Case(
        "S5-27 data",
        GREETING + REQUEST + b"\x01" + L + b"<E>" + b"x" * 70_000,
        (GREETED, *BOUND),
        relays=b"x" * 70_000,
        deliveries=(in_one_write, split_at(13), split_at(14)),
    ),
]


def play(world: Any, case: Case, sent: bytes, delivery: Delivery) -> None:
    with world.connect() as client:
        client.send(sent, delivery, between=world.ping)
        if case.finish:
            client.finish()
        expect(client, case.answer)
        if case.relays is not None:
            client.expect(case.relays)
            if not case.finish:
                client.send(b"more")
                client.expect(b"more")
                client.finish()
        client.expect_eof()


def expect(client: Client, answer: Answer) -> None:
    for part in (answer,) if isinstance(answer, bytes) else answer:
        if isinstance(part, int):
            client.receive(part)
        else:
            client.expect(part)


@pytest.mark.parametrize("case", [*SOCKS4, *SOCKS5], ids=str)
def test_each_row_gets_its_answer_in_every_delivery(make_world: Any, case: Case) -> None:
    world = make_world(case.settings)
    with closed_address() as refusing:
        world.remember()
        sent = case.sent
        for placeholder, address in (
            (b"<E>", world.echo.address),
            (b"<X>", refusing),
            (b"<S>", world.server.address),
        ):
            sent = sent.replace(placeholder, address[1].to_bytes(2, "big"))
        for delivery in case.deliveries:
            play(world, case, sent, delivery)
            world.expect_no_growth()
        if case.deliveries is DELIVERIES and len(sent) <= 40:
            for offset in range(2, len(sent) - 1):
                play(world, case, sent, split_at(offset))
    world.expect_no_growth()
    assert not any("\n" in line or "\x1b" in line for line in world.lines)


class Watcher:
    """A router that lets everything pass, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def route(self, request: Request) -> Decision:
        self.asked.append(request)
        return Forward(request.target)


def expect_refused_unseen(
    make_world: Any, name: bytes, sent: bytes, answer: bytes, delivery: Delivery
) -> None:
    """What is *sent* with *name* and a port behind it gets *answer*, before router, resolver and connect; the log has it escaped once."""
    router = Watcher()
    world = make_world(router=router)
    router.asked.clear()
    with Peer() as target, world.connect() as client:
        world.remember()
        port = target.port.to_bytes(2, "big")
        client.send(sent.replace(b"<P>", port), delivery, between=world.ping)
        client.expect(answer)
        client.expect_eof()
        world.expect_no_growth()
        target.expect_no_connection()
    assert not router.asked
    assert not world.names.asked
    assert all(line.isprintable() and line.isascii() for line in world.lines)
    message = escape(f"not a host name: {name.decode('latin-1')}")
    assert f"protocol error: {message}, up" in world.lines[-1]


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_s4_12_a_name_that_is_none_is_refused_before_router_and_resolver(
    make_world: Any, name: bytes, delivery: Delivery
) -> None:
    sent = b"\x04\x01<P>\x00\x00\x00\x01" + USER + name + b"\0"
    expect_refused_unseen(make_world, name, sent, REJECTED, delivery)


REFUSED_NAMES = {
    **{f"S5-18 {name}": value for name, value in BAD_NAMES.items()},
    "S5-17": b"127.0.0.1\0.x",
    "S5-18 two dots": b"a..b",
    "S5-18 label of 64": b"a" * 64,
    "S5-18 255 times a": b"a" * 255,
    "S5-19 127.1": b"127.1",
    "S5-19 hexadecimal": b"0x7f000001",
    "S5-19 decimal": b"2130706433",
    "S5-19 octal": b"0177.0.0.1",
    "S5-19 localhost.": b"localhost.",
}


@pytest.mark.parametrize("name", REFUSED_NAMES.values(), ids=list(REFUSED_NAMES))
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_s5_17_to_19_a_name_that_is_none_is_refused_before_router_resolver_and_connect(
    make_world: Any, name: bytes, delivery: Delivery
) -> None:
    sent = GREETING + domain(name) + b"<P>"
    expect_refused_unseen(make_world, name, sent, GREETED + error(4), delivery)


def test_s5_20_an_ipv6_literal_in_the_field_of_a_name_is_connected_to(world: Any) -> None:
    with EchoServer("::1") as target, world.connect() as client:
        client.send(GREETING + domain(b"::1") + target.port.to_bytes(2, "big") + b"hi")
        client.expect(GREETED + b"\x05\x00\x00\x04" + bytes(15) + b"\x01")
        client.receive(2)
        client.expect(b"hi")
        client.finish()
        client.expect_eof()
    world.expect_no_growth()
    assert not world.names.asked


LOOPBACK_SPELLINGS = {
    "127.0.0.1": b"\x01" + L,
    "127.9.9.9": b"\x01\x7f\x09\x09\x09",
    "::1": b"\x04" + bytes(15) + b"\x01",
    "mapped": b"\x04" + bytes(10) + b"\xff\xff" + L,
    "compatible": b"\x04" + bytes(12) + L,
    "NAT64": b"\x04\x00\x64\xff\x9b" + bytes(8) + L,
    "6to4": b"\x04\x20\x02" + L + bytes(10),
    "0.0.0.0": b"\x01" + bytes(4),
    "::": b"\x04" + bytes(16),
    "127.0.0.1 as a name": domain(b"127.0.0.1")[3:],
    "::1 as a name": domain(b"::1")[3:],
    "mapped as a name": domain(b"::ffff:127.0.0.1")[3:],
    "a name that resolves to it": domain(b"loop.example")[3:],
}


@pytest.mark.parametrize("spelling", LOOPBACK_SPELLINGS.values(), ids=list(LOOPBACK_SPELLINGS))
def test_s5_21_no_spelling_of_loopback_passes_the_block_list(
    serve: Any, echo: EchoServer, names_of: Any, spelling: bytes
) -> None:
    server = serve(
        {"listen": "127.0.0.1:0", "block_loopback": True},
        plugins=["socks5"],
        resolver=names_of({"loop.example": ("::ffff:127.0.0.1",)}),
    )
    with Client(server.address) as client:
        client.send(GREETING + REQUEST + spelling + echo.port.to_bytes(2, "big"))
        client.expect(GREETED + error(2))
        client.expect_eof()


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        (Reason.GENERAL_FAILURE, 1),
        (Reason.NOT_ALLOWED, 2),
        (Reason.NETWORK_UNREACHABLE, 3),
        (Reason.HOST_UNREACHABLE, 4),
        (Reason.NAME_NOT_RESOLVED, 4),
        (Reason.CONNECTION_REFUSED, 5),
        (Reason.TIMED_OUT, 6),
    ],
)
def test_s5_23_each_reason_has_its_reply(
    serve: Any, echo: EchoServer, reason: Reason, reply: int
) -> None:
    class Failing:
        async def route(self, request: Request) -> Decision:
            raise DialError(reason)

    server = serve(plugins=["socks5"], router=Failing())
    with Client(server.address) as client:
        client.send(GREETING + REQUEST + b"\x01" + L + echo.port.to_bytes(2, "big"))
        client.expect(GREETED + error(reply))
        client.expect_eof()
    server.wait_idle()


def test_s5_23_a_target_that_never_answers_is_reply_6(make_world: Any) -> None:
    world = make_world({"dial_timeout": 0.1})
    with BlackHole() as hole, world.connect() as client:
        world.remember()
        client.send(GREETING + REQUEST + b"\x01" + L + hole.port.to_bytes(2, "big"))
        client.expect(GREETED + error(6))
        client.expect_eof()
        world.expect_no_growth()


class Judge:
    """Knows one user by name and password, and one by name alone."""

    def __init__(self) -> None:
        self.seen: list[Credentials] = []

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
        self.seen.append(credentials)
        return credentials in (Credentials(b"user", b"secret"), Credentials(b"friend"))


AUTH_CASES = [
    Case("S4-14 a stranger", b"\x04\x01<E>" + L + USER, REJECTED),
    Case("S4-14 a friend", b"\x04\x01<E>" + L + b"friend\0hi", GRANTED, relays=b"hi"),
    Case("S5-6", b"\x05\x01\x00", b"\x05\xff"),
    Case("S5-6 GSSAPI", b"\x05\x02\x00\x01", b"\x05\xff"),
    Case("a wrong password", b"\x05\x01\x02\x01\x04user\x05wrong", b"\x05\x02\x01\x01"),
    Case("S5-10", b"\x05\x01\x02\x01\x04\0\xff\nu\x03\xff\0\n", b"\x05\x02\x01\x01"),
    Case(
        "the right password",
        b"\x05\x02\x00\x02\x01\x04user\x06secret" + REQUEST + b"\x01" + L + b"<E>hi",
        (b"\x05\x02\x01\x00", *BOUND),
        relays=b"hi",
    ),
]


@pytest.mark.parametrize("case", AUTH_CASES, ids=str)
def test_where_credentials_are_required_nobody_passes_without(make_world: Any, case: Case) -> None:
    judge = Judge()
    world = make_world(
        {"auth_required": True}, authenticator=judge, login=b"\x01\x04user\x06secret"
    )
    sent = case.sent.replace(b"<E>", world.echo.port.to_bytes(2, "big"))
    for delivery in DELIVERIES:
        judge.seen.clear()
        play(world, case, sent, delivery)
        world.expect_no_growth()
        if case.row == "S5-10":
            assert judge.seen == [Credentials(b"\0\xff\nu", b"\xff\0\n")]
    assert all(line.isprintable() and line.isascii() for line in world.lines)


@pytest.mark.parametrize("delivery", [in_one_write, byte_by_byte])
def test_s5_10_credentials_reach_the_router_as_they_were_sent(
    make_world: Any, delivery: Delivery
) -> None:
    router = Watcher()
    world = make_world(router=router)
    with world.connect() as client:
        client.send(
            b"\x05\x01\x02\x01\x04\0\xff\nu\x03\xff\0\n"
            + REQUEST
            + b"\x01"
            + L
            + world.echo.port.to_bytes(2, "big"),
            delivery,
            between=world.ping,
        )
        client.expect(b"\x05\x02\x01\x00\x05\x00")
    assert router.asked[-1].credentials == Credentials(b"\0\xff\nu", b"\xff\0\n")
    world.expect_no_growth()
    assert any("\\x00\\xff\\nu" in line for line in world.lines)
    assert all(line.isprintable() and line.isascii() for line in world.lines)


def test_s5_26_a_reset_between_greeting_and_request_ends_the_session(world: Any) -> None:
    client = world.connect()
    client.send(GREETING)
    client.expect(GREETED)
    client.reset()
    world.expect_no_growth()


def test_s5_26_a_reset_while_dialing_ends_the_dial(world: Any) -> None:
    server: RunningServer = world.server
    with BlackHole() as hole:
        client = world.connect()
        world.remember()
        client.send(GREETING + REQUEST + b"\x01" + L + hole.port.to_bytes(2, "big"))
        client.expect(GREETED)
        server.wait_until(lambda s: s.num_request == 2)
        client.reset()
        world.expect_no_growth()
    assert world.server.statistics().num_success == 1


def test_s5_27_what_is_sent_while_the_router_thinks_is_bounded_and_not_lost(
    serve: Any, echo: EchoServer
) -> None:
    import anyio

    class Thinking:
        gate: anyio.Event

        async def route(self, request: Request) -> Decision:
            self.gate = anyio.Event()
            await self.gate.wait()
            return Forward(request.target)

    router = Thinking()
    server: RunningServer = serve(plugins=["socks5"], router=router)
    data = bytes(range(256)) * 1024
    with Client(server.address) as client:
        client.send(GREETING + REQUEST + b"\x01" + L + echo.port.to_bytes(2, "big"))
        client.expect(GREETED)
        server.wait_until(lambda s: s.num_request == 1)
        client.socket.setblocking(False)
        sent = client.socket.send(data)
        client.socket.settimeout(10)
        server.call(lambda: router.gate.set())
        expect(client, BOUND)
        client.send(data[sent:])
        client.expect(data)
        client.finish()
        client.expect_eof()
    assert server.wait_idle().byt_up == len(data)


def test_s5_28_a_client_that_says_one_byte_costs_one_timeout_and_is_counted(world: Any) -> None:
    world.server.shorten_timeout(0.05)
    with world.connect() as client:
        client.send(b"\x05")
        client.expect_eof()
    world.expect_no_growth()
    statistics = world.server.statistics()
    assert statistics.num_reject_timeout == 1
    assert statistics.num_request == 1  # the control session's


def test_s5_29_a_dribbling_client_is_closed_at_the_total_deadline(world: Any) -> None:
    world.server.shorten_timeout(0.1)
    message = b"\x05\x01\x02\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    closed = False
    with world.connect() as client:
        client.socket.settimeout(0.01)
        for byte in byte_by_byte(message):
            try:
                client.socket.send(byte)
                closed = client.socket.recv(100) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
            if closed:
                break
    assert closed
    world.expect_no_growth()
    assert world.server.statistics().num_reject_timeout == 1


def test_a_client_that_stops_at_any_byte_leaves_nothing(world: Any) -> None:
    message = GREETING + REQUEST + b"\x01" + L + world.echo.port.to_bytes(2, "big")
    for length in range(len(message)):
        with world.connect() as client:
            client.send(message[:length])
            client.socket.shutdown(socket.SHUT_WR)
            client.expect(GREETED if length >= len(GREETING) else b"")
            client.expect_eof()
    world.expect_no_growth()
