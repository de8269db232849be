"""The server's machine by byte table: whole, byte by byte, at every split, and by random input."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_core import (
    Address,
    AddressType,
    Associate,
    Authenticate,
    Bind,
    Connect,
    Credentials,
    ProtocolError,
    Reason,
)
from neosocksd_core.testing import feed
from neosocksd_socks5.handshake import Extras, SocksHandshake

L = bytes.fromhex("7f000001")  # 127.0.0.1
E = bytes.fromhex("1f90")  # port 8080
LONG_NAME = b".".join([b"a" * 63] * 4)  # 255 bytes, four labels of the greatest length

GRANTED4 = bytes.fromhex("005a000000000000")
REJECTED4 = bytes.fromhex("005b000000000000")


def failure5(reply: int) -> bytes:
    return bytes((5, reply, 0, 1)) + bytes(6)


@dataclass
class Outcome:
    """What became of one client's bytes."""

    sent: bytes = b""
    authenticated: Credentials | None = None
    connect: Connect | None = None
    failed: bool = False
    trailing: bytes = b""


def play(pieces: list[bytes], *, auth_required: bool = False, accept: bool = True) -> Outcome:
    """Feed *pieces* as the session would: events after each, what is early is kept back."""
    machine = SocksHandshake(auth_required)
    outcome = Outcome()
    for index, piece in enumerate(pieces):
        machine.receive_data(piece)
        try:
            while (event := machine.next_event()) is not None:
                if isinstance(event, Connect):
                    outcome.connect = event
                    outcome.sent += machine.data_to_send()
                    outcome.trailing = machine.trailing_data() + b"".join(pieces[index + 1 :])
                    return outcome
                assert isinstance(event, Authenticate)
                outcome.authenticated = event.credentials
                machine.judge(accept)
                outcome.failed = not accept
        except ProtocolError:
            outcome.failed = True
        outcome.sent += machine.data_to_send()
        if outcome.failed:
            return outcome
    return outcome


def deliveries(data: bytes) -> Iterator[list[bytes]]:
    """*data* whole, byte by byte, and split in two at every offset."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


# fmt: off
NAMED = (
    b"\x05\x01\x00"         # VER, NMETHODS, METHODS: no authentication
    b"\x05\x01\x00\x03"     # VER, CMD CONNECT, RSV, ATYP DOMAINNAME
)
ADDRESSED = (
    b"\x05\x01\x00"         # VER, NMETHODS, METHODS: no authentication
    b"\x05\x01\x00\x01"     # VER, CMD CONNECT, RSV, ATYP IP V4
)
GREETED = (
    b"\x05\x01\x02"         # VER, NMETHODS, METHODS: username/password
)

REQUESTS = [
    # id, bytes, what is sent before the verdict, host, type, credentials, dialect
    ("S4-1", b"\x04\x01" + E + L + b"u\0", b"",
        "127.0.0.1", AddressType.IPV4, Credentials(b"u"), "socks4"),
    ("S4 empty user id", b"\x04\x01" + E + L + b"\0", b"",
        "127.0.0.1", AddressType.IPV4, Credentials(b""), "socks4"),
    ("S4-4", b"\x04\x01" + E + L + b"u" * 255 + b"\0", b"",
        "127.0.0.1", AddressType.IPV4, Credentials(b"u" * 255), "socks4"),
    ("S4-9 left to the core", b"\x04\x01" + E + bytes(4) + b"\0", b"",
        "0.0.0.0", AddressType.IPV4, Credentials(b""), "socks4"),
    ("S4A", b"\x04\x01" + E + b"\0\0\0\x01u\0example.org\0", b"",
        "example.org", AddressType.DOMAIN, Credentials(b"u"), "socks4a"),
    ("S4A x = 255", b"\x04\x01" + E + b"\0\0\0\xffu\xff\0a_b.example\0", b"",
        "a_b.example", AddressType.DOMAIN, Credentials(b"u\xff"), "socks4a"),
    ("S4-11", b"\x04\x01" + E + b"\0\0\0\x01" + b"\0" + LONG_NAME + b"\0", b"",
        LONG_NAME.decode(), AddressType.DOMAIN, Credentials(b""), "socks4a"),
    ("S4-13", b"\x04\x01" + E + b"\0\0\0\x01\x00127.0.0.1\0", b"",
        "127.0.0.1", AddressType.DOMAIN, Credentials(b""), "socks4a"),
    ("S5-1", ADDRESSED + L + E, b"\x05\0",
        "127.0.0.1", AddressType.IPV4, None, "socks5"),
    ("S5-4", b"\x05\xff" + bytes(range(255, 0, -1)).replace(b"\x02", b"\x03")[:254] + b"\0"
        + ADDRESSED[3:] + L + E, b"\x05\0",
        "127.0.0.1", AddressType.IPV4, None, "socks5"),
    ("S5-5", b"\x05\x02\x02\x00" + b"\x01\x01u\x01p" + ADDRESSED[3:] + L + E, b"\x05\2\x01\0",
        "127.0.0.1", AddressType.IPV4, Credentials(b"u", b"p"), "socks5"),
    ("S5-5 other order", b"\x05\x02\x00\x02" + ADDRESSED[3:] + L + E, b"\x05\0",
        "127.0.0.1", AddressType.IPV4, None, "socks5"),
    ("S5-9", GREETED + b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255 + NAMED[3:]
        + b"\xff" + LONG_NAME + E, b"\x05\2\x01\0",
        LONG_NAME.decode(), AddressType.DOMAIN, Credentials(b"u" * 255, b"p" * 255), "socks5"),
    ("S5-10", GREETED + b"\x01\x03\0\xff\n\x02\n\0" + ADDRESSED[3:] + L + E, b"\x05\2\x01\0",
        "127.0.0.1", AddressType.IPV4, Credentials(b"\0\xff\n", b"\n\0"), "socks5"),
    ("S5-12", b"\x05\x01\0\x05\x01\xee\x01" + L + E, b"\x05\0",
        "127.0.0.1", AddressType.IPV4, None, "socks5"),
    ("S5-20 v6", NAMED + b"\x03::1" + E, b"\x05\0",
        "::1", AddressType.DOMAIN, None, "socks5"),
    ("S5-20 v4", NAMED + b"\x09127.0.0.1" + E, b"\x05\0",
        "127.0.0.1", AddressType.DOMAIN, None, "socks5"),
    ("S5-21", b"\x05\x01\0\x05\x01\0\x04" + bytes(10) + b"\xff\xff" + L + E, b"\x05\0",
        "::ffff:127.0.0.1", AddressType.IPV6, None, "socks5"),
    ("IPv6", b"\x05\x01\0\x05\x01\0\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\1" + E, b"\x05\0",
        "2001:db8::1", AddressType.IPV6, None, "socks5"),
    ("name", NAMED + b"\x0bexample.org" + E, b"\x05\0",
        "example.org", AddressType.DOMAIN, None, "socks5"),
]

REFUSED = [
    # id, bytes of which the last decides, what is sent
    ("S4-3 BIND", b"\x04\x02", REJECTED4),
    ("S4-3 zero", b"\x04\x00", REJECTED4),
    ("S4-3 255", b"\x04\xff", REJECTED4),
    ("S4-5", b"\x04\x01" + E + L + b"u" * 256, REJECTED4),
    ("S4-10", b"\x04\x01" + E + b"\0\0\0\x01u\0\0", REJECTED4),
    ("S4-11 256", b"\x04\x01" + E + b"\0\0\0\x01u\0" + (LONG_NAME + b"a"), REJECTED4),
    *(
        (f"S4-12 {name!r}", b"\x04\x01" + E + b"\0\0\0\x01\0" + name + b"\0", REJECTED4)
        for name in (b"a\nb", b"\x1b[2J", b"a b", b"\x80", b"\xffa", b"127.0.0.1%00", b"::1%\n")
    ),
    *((f"S4-15 {first:#x}", bytes((first,)), b"") for first in (0, 6, 0x47, 0x16, 0x53, 0x50)),
    ("S5-2", b"\x05\x00", b"\x05\xff"),
    ("S5-3", b"\x05\x01\x01", b"\x05\xff"),
    ("S5 three unknown", b"\x05\x03\x01\x03\xfe", b"\x05\xff"),
    ("S5-7 ulen 0", GREETED + b"\x01\0", b"\x05\2\x01\1"),
    ("S5-7 plen 0", GREETED + b"\x01\1u\0", b"\x05\2\x01\1"),
    ("S5-8", GREETED + b"\x05", b"\x05\2"),
    ("S5-11", b"\x05\1\0\x04", b"\x05\0"),
    *((f"S5-13 {cmd}", b"\x05\1\0\x05" + bytes((cmd,)), b"\x05\0" + failure5(7))
        for cmd in (0, 4, 0xf0, 0xff)),
    ("S5-14 BIND", b"\x05\1\0\x05\2", b"\x05\0" + failure5(7)),
    ("S5-14 UDP", b"\x05\1\0\x05\3", b"\x05\0" + failure5(7)),
    *((f"S5-15 {atyp}", b"\x05\1\0\x05\1\0" + bytes((atyp,)), b"\x05\0" + failure5(8))
        for atyp in (0, 2, 5, 0xff)),
    ("S5-16", NAMED + b"\0", b"\x05\0" + failure5(4)),
    *(
        (f"{number} {name[:20]!r}", NAMED + bytes((len(name),)) + name, b"\x05\0" + failure5(4))
        for number, name in (
            ("S5-17", b"127.0.0.1\0.x"),
            ("S5-18", b"a b"), ("S5-18", b"a\nb"), ("S5-18", b"a\x7f"), ("S5-18", b"\xc3\xa4.de"),
            ("S5-18", b"a..b"), ("S5-18", b"a" * 64 + b".org"), ("S5-18", b"a" * 255),
            ("S5-18", b"-a.org"), ("S5-18", b"."), ("S5-18", b"[::1]"), ("S5-18", b"fe80::1%lo"),
            ("S5-18", b"::1%\x1b[2J"),
            ("S5-19", b"127.1"), ("S5-19", b"0x7f000001"), ("S5-19", b"2130706433"),
            ("S5-19", b"0177.0.0.1"), ("S5-19", b"localhost."), ("S5-19", b"a.LocalHost."),
        )
    ),
]
# fmt: on


@pytest.mark.parametrize(
    ("data", "sent", "host", "address_type", "credentials", "dialect"),
    [row[1:] for row in REQUESTS],
    ids=[row[0] for row in REQUESTS],
)
@pytest.mark.parametrize("early", [b"", b"PING\x05\x01\x00"], ids=["", "early"])
def test_a_request_is_understood_however_it_is_cut(
    data: bytes,
    sent: bytes,
    host: str,
    address_type: AddressType,
    credentials: Credentials | None,
    dialect: str,
    early: bytes,
) -> None:
    expected = Connect(Address(host, 8080), address_type, credentials, dialect)
    for pieces in deliveries(data + early):
        outcome = play(pieces)
        assert outcome.connect == expected
        assert outcome.sent == sent
        assert outcome.trailing == early
        assert not outcome.failed


@pytest.mark.parametrize(
    ("data", "sent"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_bad_request_is_refused_at_the_byte_that_decides(data: bytes, sent: bytes) -> None:
    for pieces in deliveries(data):
        assert play(pieces) == Outcome(sent=sent, failed=True)
    for more in (b"\0", b"x" * 70_000):
        assert play([data + more]) == Outcome(sent=sent, failed=True)
    for end in range(len(data)):
        assert not play([data[:end]]).failed


def test_authentication_required_leaves_only_the_password_method() -> None:
    for pieces in deliveries(b"\x05\x01\x00"):  # S5-6
        assert play(pieces, auth_required=True) == Outcome(sent=b"\x05\xff", failed=True)
    for pieces in deliveries(b"\x05\x02\x00\x02" + b"\x01\x01u\x01p"):
        outcome = play(pieces, auth_required=True)
        assert outcome == Outcome(sent=b"\x05\2\x01\0", authenticated=Credentials(b"u", b"p"))


def test_refused_credentials_get_status_1_and_nothing_after() -> None:
    data = GREETED + b"\x01\x01u\x01p" + ADDRESSED[3:] + L + E
    for pieces in deliveries(data):
        outcome = play(pieces, accept=False)
        assert outcome.sent == b"\x05\2\x01\1"
        assert outcome.connect is None


@pytest.mark.parametrize("user_id", [b"", b"alice"])
def test_socks4_user_id_is_judged_where_authentication_is_required(user_id: bytes) -> None:
    data = b"\x04\x01" + E + L + user_id + b"\0"  # S4-14
    for pieces in deliveries(data + b"early"):
        outcome = play(pieces, auth_required=True)
        assert outcome.authenticated == Credentials(user_id)
        assert outcome.connect is not None
        assert outcome.connect.credentials == Credentials(user_id)
        assert outcome.trailing == b"early"
        assert play(pieces).authenticated is None
    for pieces in deliveries(data):
        outcome = play(pieces, auth_required=True, accept=False)
        assert (outcome.sent, outcome.connect) == (REJECTED4, None)


def test_a_bad_name_is_refused_before_the_user_id_is_judged() -> None:
    outcome = play([b"\x04\x01" + E + b"\0\0\0\x01alice\0a b\0"], auth_required=True)
    assert outcome == Outcome(sent=REJECTED4, failed=True)


@pytest.mark.parametrize("command", [2, 3])
@pytest.mark.parametrize(("bind", "udp"), [(True, False), (False, True), (True, True)])
def test_bind_and_udp_associate_are_served_where_they_are_enabled(
    command: int, bind: bool, udp: bool
) -> None:
    data = GREETED + b"\x01\x01u\x01p" + bytes((5, command, 0, 1)) + L + E
    is_served = bind if command == 2 else udp
    for pieces in deliveries(data):
        machine = SocksHandshake(extras=Extras(bind, udp))
        fed = feed(machine, pieces)
        if not is_served:
            assert fed.sent.endswith(b"\x01\0" + failure5(7))
            continue
        [_, request] = fed.events
        assert isinstance(request, Bind if command == 2 else Associate)
        address = request.target if isinstance(request, Bind) else request.source
        assert address == Address("127.0.0.1", 8080)
        assert request.credentials == Credentials(b"u", b"p")
        machine.grant(("192.0.2.1", 1))
        machine.grant(("192.0.2.2", 2))
        replies = [b"\x05\0\0\x01\xc0\0\x02" + bytes((n, 0, n)) for n in (1, 2)]
        assert machine.data_to_send() == b"".join(replies)
        machine.reject(Reason.TIMED_OUT)
        assert machine.data_to_send() == failure5(6)


@pytest.mark.parametrize("command", [2, 3])
def test_the_address_to_be_announced_is_told_once(command: int) -> None:
    machine = SocksHandshake(extras=Extras(bind=True, udp=True, announce="2001:db8::1"))
    feed(machine, b"\x05\x01\x00" + bytes((5, command, 0, 1)) + L + E)
    machine.grant(("192.0.2.1", 258))
    machine.grant(("192.0.2.2", 2))
    announced = b"\x05\0\0\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x01\x02"
    assert machine.data_to_send() == announced + b"\x05\0\0\x01\xc0\0\x02\x02\0\x02"


def test_nothing_happens_while_a_verdict_is_awaited() -> None:
    machine = SocksHandshake()
    machine.receive_data(GREETED + b"\x01\x01u\x01p")
    assert isinstance(machine.next_event(), Authenticate)
    machine.receive_data(ADDRESSED[3:] + L + E)
    assert machine.next_event() is None
    machine.judge(True)
    assert isinstance(machine.next_event(), Connect)
    assert machine.next_event() is None


def connecting(data: bytes) -> SocksHandshake:
    machine = SocksHandshake()
    machine.receive_data(data)
    assert isinstance(machine.next_event(), Connect)
    machine.data_to_send()
    return machine


SOCKS4_REQUEST, SOCKS5_REQUEST = (b"\x04\x01" + E + L + b"\0", ADDRESSED + L + E)


# fmt: off
SUCCESSES = [
    # request, bound address, the reply: VER and REP and RSV, ATYP + BND.ADDR + BND.PORT
    (SOCKS4_REQUEST, ("192.0.2.1", 256), GRANTED4),
    (SOCKS5_REQUEST, ("192.0.2.1", 256),
        b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x01" + b"\x01\x00"),
    (SOCKS5_REQUEST, ("2001:db8::1", 65535, 0, 0),
        b"\x05\x00\x00\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\xff\xff"),
    (SOCKS5_REQUEST, ("fe80::1%eth0", 1, 0, 2),
        b"\x05\x00\x00\x04" + b"\xfe\x80" + bytes(13) + b"\x01" + b"\x00\x01"),
    (SOCKS5_REQUEST, ("", 0), b"\x05\x00\x00\x01" + bytes(6)),
]
# fmt: on


@pytest.mark.parametrize(("request_bytes", "bound", "reply"), SUCCESSES)
def test_success_carries_the_bound_address(
    request_bytes: bytes, bound: tuple[str, int], reply: bytes
) -> None:
    machine = connecting(request_bytes)
    machine.grant(bound)
    assert machine.data_to_send() == reply
    assert machine.data_to_send() == b""


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
def test_a_rejection_says_why(reason: Reason, reply: int) -> None:
    machine = connecting(SOCKS5_REQUEST)
    machine.reject(reason)
    assert machine.data_to_send() == failure5(reply)
    machine = connecting(SOCKS4_REQUEST)
    machine.reject(reason)
    assert machine.data_to_send() == REJECTED4


def test_every_reason_has_a_reply() -> None:
    for reason in Reason:
        connecting(SOCKS5_REQUEST).reject(reason)


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x05\x01\x00\x05\x01", b"\x04\x01\x00"])
def test_an_expired_or_cancelled_client_gets_no_reply(data: bytes) -> None:
    machine = SocksHandshake()  # S4-7, S5-24, S5-28
    machine.receive_data(data)
    assert machine.next_event() is None
    machine.data_to_send()
    machine.expire()
    machine.reject(Reason.TIMED_OUT)
    assert machine.data_to_send() == b""
    machine.receive_data(b"\x05\x01\x00")
    assert machine.next_event() is None


def test_what_waits_is_bounded() -> None:
    """S4-6, S5-27: more than a message can hold is refused, and not kept."""
    for start in (b"\x04\x01" + E + L, b"\x04\x01" + E + b"\0\0\0\1u\0", b"\x05\x01\x00"):
        outcome = play([start] + [b"x"] * 5000)
        assert outcome.failed
        machine = SocksHandshake()
        machine.receive_data(start + b"x" * 70_000)
        with pytest.raises(ProtocolError):
            machine.next_event()
        assert machine.trailing_data() == b""


SEEDS = st.sampled_from([row[1] for row in REQUESTS] + [row[1] for row in REFUSED])


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), SEEDS, SEEDS.map(lambda seed: seed[:9])), max_size=8
    ),
    st.booleans(),
    st.booleans(),
)
def test_random_bytes_raise_only_protocol_errors_and_do_not_pile_up(
    pieces: list[bytes], auth_required: bool, accept: bool
) -> None:
    machine = SocksHandshake(auth_required)
    for piece in pieces:
        machine.receive_data(piece)
        try:
            while (event := machine.next_event()) is not None:
                if isinstance(event, Connect):
                    machine.reject(Reason.GENERAL_FAILURE)
                    assert len(machine.data_to_send()) <= 2 + 2 + 10
                    return
                machine.judge(accept)
        except ProtocolError:
            assert machine.trailing_data() == b""
            return
    assert len(machine.trailing_data()) <= 520
