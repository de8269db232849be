"""The client's machines by byte table, against our own server's machine, and by random input."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neosocksd_core import (
    Address,
    AddressType,
    ClientHandshake,
    Connect,
    Credentials,
    Dialer,
    DialError,
    Hop,
    Reason,
)
from neosocksd_socks5.dialer import Socks4aDialer, Socks5Dialer
from neosocksd_socks5.handshake import SocksHandshake

PROXY = Address("proxy.example", 1080)
HOP4 = Hop("socks4a", PROXY)
HOP5 = Hop("socks5", PROXY)
HOP5_USER = Hop("socks5", PROXY, b"us\xffr", b"p:w")
LONG_NAME = ".".join(["a" * 63] * 4)
TARGETS = {
    "v4": Address("192.0.2.1", 80),
    "v6": Address("2001:db8::1", 65535),
    "name": Address("example.org", 443),
    "long": Address(LONG_NAME, 1),
}

GRANTED4 = bytes.fromhex("005a123401020304")  # VN, CD, DSTPORT, DSTIP
NO_AUTH = bytes.fromhex("0500")  # VER, METHOD
GRANTED5 = bytes.fromhex("050000017f0000011f90")  # VER, REP, RSV, ATYP; BND.ADDR; BND.PORT


def deliveries(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


def feed(machine: ClientHandshake, pieces: list[bytes]) -> bytes:
    """Feed as a dial does: no more once the tunnel stands. Returns what belongs to the tunnel."""
    for index, piece in enumerate(pieces):
        machine.receive_data(piece)
        if machine.done:
            return machine.trailing_data() + b"".join(pieces[index + 1 :])
    assert machine.trailing_data() == b""
    return b""


# fmt: off
REQUESTS4 = [
    # hop, target, VN and CD + DSTPORT + DSTIP + USERID and NUL (+ name and NUL)
    (HOP4, TARGETS["v4"],
        b"\x04\x01" + b"\x00\x50" + b"\xc0\x00\x02\x01" + b"\0"),
    (Hop("socks4a", PROXY, b"bob", b"unsaid"), TARGETS["v4"],
        b"\x04\x01" + b"\x00\x50" + b"\xc0\x00\x02\x01" + b"bob\0"),
    (HOP4, TARGETS["name"],
        b"\x04\x01" + b"\x01\xbb" + b"\x00\x00\x00\x01" + b"\0" + b"example.org\0"),
    (HOP4, TARGETS["v6"],
        b"\x04\x01" + b"\xff\xff" + b"\x00\x00\x00\x01" + b"\0" + b"2001:db8::1\0"),
]
REQUESTS5 = [
    # target, VER and CMD and RSV + ATYP + DST.ADDR + DST.PORT
    (TARGETS["v4"], b"\x05\x01\x00" + b"\x01" + b"\xc0\x00\x02\x01" + b"\x00\x50"),
    (TARGETS["v6"],
        b"\x05\x01\x00" + b"\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\xff\xff"),
    (TARGETS["name"], b"\x05\x01\x00" + b"\x03" + b"\x0bexample.org" + b"\x01\xbb"),
    (TARGETS["long"], b"\x05\x01\x00" + b"\x03" + b"\xff" + LONG_NAME.encode() + b"\x00\x01"),
]
# fmt: on


@pytest.mark.parametrize(("hop", "target", "sent"), REQUESTS4)
def test_socks4a_asks_in_the_form_that_fits_the_target(
    hop: Hop, target: Address, sent: bytes
) -> None:
    machine = Socks4aDialer().handshake(hop, target)
    assert machine.data_to_send() == sent
    assert machine.data_to_send() == b""


@pytest.mark.parametrize(("target", "sent"), REQUESTS5)
def test_socks5_asks_in_the_form_that_fits_the_target(target: Address, sent: bytes) -> None:
    machine = Socks5Dialer().handshake(HOP5, target)
    assert machine.data_to_send() == b"\x05\x01\x00"
    machine.receive_data(NO_AUTH)
    assert machine.data_to_send() == sent


def test_socks5_with_a_user_offers_both_methods() -> None:
    for method, sent in (
        (0, b"\x05\1\0\x01"),
        (2, b"\x01" + b"\x04us\xffr" + b"\x03p:w"),
    ):
        machine = Socks5Dialer().handshake(HOP5_USER, TARGETS["v4"])
        assert machine.data_to_send() == b"\x05\x02\x00\x02"
        machine.receive_data(bytes((5, method)))
        assert machine.data_to_send().startswith(sent)
    machine.receive_data(b"\x01\x00")
    assert machine.data_to_send() == b"\x05\1\0\x01\xc0\0\2\1\0\x50"
    assert not machine.done


# fmt: off
REPLIES = [
    (Socks4aDialer(), HOP4, GRANTED4),
    (Socks5Dialer(), HOP5, NO_AUTH + GRANTED5),
    (Socks5Dialer(), HOP5_USER, b"\x05\x02\x01\x00" + GRANTED5),
    (Socks5Dialer(), HOP5, NO_AUTH + b"\x05\0\0\x04" + bytes(16) + b"\0\0"),
    (Socks5Dialer(), HOP5, NO_AUTH + b"\x05\0\0\x03\x01x\0\0"),
    (Socks5Dialer(), HOP5, NO_AUTH + b"\x05\0\xee\x03\xff" + b"\0" * 255 + b"\0\0"),
]
# fmt: on


@pytest.mark.parametrize(("dialer", "hop", "reply"), REPLIES)
@pytest.mark.parametrize("early", [b"", b"SSH-2.0\r\n", b"\x05\x00"], ids=["", "ssh", "socks"])
def test_a_grant_is_understood_and_the_tunnel_keeps_its_bytes(
    dialer: Dialer, hop: Hop, reply: bytes, early: bytes
) -> None:
    for pieces in deliveries(reply + early):
        machine = dialer.handshake(hop, TARGETS["v4"])
        assert feed(machine, pieces) == early
        assert machine.done
        assert machine.filter is None
    for end in range(len(reply)):
        machine = dialer.handshake(hop, TARGETS["v4"])
        machine.receive_data(reply[:end])
        assert not machine.done


# fmt: off
REFUSALS = [
    # what, hop, bytes of which the last decides, reason
    ("socks4 version", HOP4, b"\x04", Reason.GENERAL_FAILURE),
    ("socks4 rejected", HOP4, b"\x00\x5b", Reason.CONNECTION_REFUSED),
    ("socks4 no identd", HOP4, b"\x00\x5c", Reason.GENERAL_FAILURE),
    ("socks4 identd", HOP4, b"\x00\x5d", Reason.GENERAL_FAILURE),
    ("socks4 unknown", HOP4, b"\x00\x00", Reason.GENERAL_FAILURE),
    ("version of the method", HOP5, b"\x04", Reason.GENERAL_FAILURE),
    ("http", HOP5, b"H", Reason.GENERAL_FAILURE),
    ("none acceptable", HOP5, b"\x05\xff", Reason.GENERAL_FAILURE),
    ("not offered", HOP5, b"\x05\x02", Reason.GENERAL_FAILURE),
    ("gssapi", HOP5_USER, b"\x05\x01", Reason.GENERAL_FAILURE),
    ("version of the status", HOP5_USER, b"\x05\x02\x05", Reason.GENERAL_FAILURE),
    ("refused", HOP5_USER, b"\x05\x02\x01\x01", Reason.GENERAL_FAILURE),
    ("refused, 255", HOP5_USER, b"\x05\x02\x01\xff", Reason.GENERAL_FAILURE),
    ("version of the reply", HOP5, NO_AUTH + b"\x04", Reason.GENERAL_FAILURE),
    *((f"reply {rep}", HOP5, NO_AUTH + bytes((5, rep)),
        {2: Reason.NOT_ALLOWED, 5: Reason.CONNECTION_REFUSED}.get(rep, Reason.GENERAL_FAILURE))
        for rep in (1, 2, 3, 4, 5, 6, 7, 8, 99, 255)),
    *((f"address type {atyp}", HOP5, NO_AUTH + bytes((5, 0, 0, atyp)), Reason.GENERAL_FAILURE)
        for atyp in (0, 2, 5, 255)),
    ("empty name", HOP5, NO_AUTH + b"\x05\0\0\x03\0", Reason.GENERAL_FAILURE),
]
# fmt: on


@pytest.mark.parametrize(
    ("hop", "reply", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_refusal_is_mapped_at_the_byte_that_decides(
    hop: Hop, reply: bytes, reason: Reason
) -> None:
    dialer: Dialer = Socks4aDialer() if hop.scheme == "socks4a" else Socks5Dialer()
    for pieces in [*deliveries(reply), [reply + b"junk" * 1024]]:
        machine = dialer.handshake(hop, TARGETS["name"])
        with pytest.raises(DialError) as caught:
            feed(machine, pieces)
        assert caught.value.reason is reason
        assert "p:w" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not machine.done
        assert machine.trailing_data() == b""
    machine = dialer.handshake(hop, TARGETS["name"])
    feed(machine, [reply[:-1]])


@pytest.mark.parametrize(
    ("dialer", "hop", "target"),
    [
        (Socks4aDialer(), Hop("socks4a", PROXY, b"a\0b"), TARGETS["v4"]),
        (Socks4aDialer(), HOP4, Address("a\0b", 1)),
        (Socks4aDialer(), HOP4, Address("a" * 256, 1)),
        (Socks4aDialer(), HOP4, Address("", 1)),
        (Socks5Dialer(), HOP5, Address("", 1)),
        (Socks5Dialer(), HOP5, Address("a" * 256, 1)),
        (Socks5Dialer(), HOP5, Address("\xe4.de", 1)),
        (Socks5Dialer(), Hop("socks5", PROXY, b"u" * 256, b"p"), TARGETS["v4"]),
        (Socks5Dialer(), Hop("socks5", PROXY, b"u", b"p" * 256), TARGETS["v4"]),
    ],
)
def test_what_cannot_be_said_in_the_protocol_is_a_dial_error(
    dialer: Dialer, hop: Hop, target: Address
) -> None:
    with pytest.raises(DialError):
        dialer.handshake(hop, target)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(
    ("dialer", "hop", "auth_required"),
    [
        (Socks4aDialer(), HOP4, False),
        (Socks4aDialer(), Hop("socks4a", PROXY, b"bob"), True),
        (Socks5Dialer(), HOP5, False),
        (Socks5Dialer(), HOP5_USER, False),
        (Socks5Dialer(), HOP5_USER, True),
    ],
)
def test_client_and_server_understand_each_other_byte_by_byte(
    dialer: Dialer, hop: Hop, auth_required: bool, target: Address
) -> None:
    client, server = dialer.handshake(hop, target), SocksHandshake(auth_required)
    connect = None
    for _ in range(2000):
        for byte in client.data_to_send():
            server.receive_data(bytes((byte,)))
            while (event := server.next_event()) is not None:
                if isinstance(event, Connect):
                    connect = event
                    server.grant(("192.0.2.9", 9))
                else:
                    server.judge(True)
        for byte in server.data_to_send():
            client.receive_data(bytes((byte,)))
        if client.done:
            break
    assert client.done
    assert connect is not None
    assert connect.target == target
    if hop.scheme == "socks4a":
        is_v4 = target is TARGETS["v4"]
        assert connect.address_type is (AddressType.IPV4 if is_v4 else AddressType.DOMAIN)
        assert connect.credentials == Credentials(hop.username or b"")
    elif auth_required:
        assert connect.credentials == Credentials(b"us\xffr", b"p:w")
    else:
        assert connect.credentials is None


@settings(deadline=None)
@given(
    st.sampled_from([HOP4, HOP5, HOP5_USER]),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([GRANTED4, NO_AUTH, b"\5\2", b"\1\0", GRANTED5, b"\5\0\0\3\xff"]),
        ),
        max_size=8,
    ),
)
def test_random_bytes_raise_only_dial_errors_and_lose_nothing(
    hop: Hop, pieces: list[bytes]
) -> None:
    dialer: Dialer = Socks4aDialer() if hop.scheme == "socks4a" else Socks5Dialer()
    machine = dialer.handshake(hop, TARGETS["name"])
    fed = b""
    for piece in pieces:
        fed += piece
        try:
            machine.receive_data(piece)
        except DialError:
            assert machine.trailing_data() == b""
            return
        if machine.done:
            assert fed.endswith(machine.trailing_data())
            return
    assert len(fed) <= 2 + 2 + 262
