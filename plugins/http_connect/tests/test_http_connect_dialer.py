"""The dialer's handshake, alone and against the frontend's."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_core import Address, Connect, Credentials, DialError, Hop, Reason
from neosocksd_http_connect.dialer import HttpClientHandshake, HttpDialer
from neosocksd_http_connect.handshake import HttpHandshake

HOP = Hop("http", Address("proxy", 80))
TARGET = Address("example.org", 443)
OK = b"HTTP/1.1 200 OK\r\n"


def dial(target: Address = TARGET, hop: Hop = HOP) -> HttpClientHandshake:
    return HttpDialer().handshake(hop, target)


def feed_bytewise(machine: HttpClientHandshake, raw: bytes) -> None:
    for i in range(len(raw)):
        machine.receive_data(raw[i : i + 1])


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (TARGET, b"example.org:443"),
        (Address("127.0.0.1", 80), b"127.0.0.1:80"),
        (Address("::1", 80), b"[::1]:80"),
        (Address("fe80::1%eth0", 80), b"[fe80::1]:80"),
    ],
)
def test_connect_names_host_and_port(target: Address, authority: bytes) -> None:
    machine = dial(target)
    request = b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n"
    assert machine.data_to_send() == request
    assert machine.data_to_send() == b""
    assert machine.filter is None


@pytest.mark.parametrize(
    ("username", "password", "text"),
    [
        (b"u", b"p:q", b"u:p:q"),
        (b"u", None, b"u:"),
        (b"", b"", b":"),
        (b"\xe4", b"\xff", b"\xe4:\xff"),
    ],
)
def test_credentials_are_sent(username: bytes, password: bytes | None, text: bytes) -> None:
    sent = dial(hop=Hop("http", HOP.address, username, password)).data_to_send()
    assert b"\r\nProxy-Authorization: Basic " + b64encode(text) + b"\r\n" in sent


@pytest.mark.parametrize(("username", "password"), [(b"a:b", b""), (b"a", b"\n"), (b"\0", None)])
def test_credentials_that_basic_cannot_say_are_not_sent(
    username: bytes, password: bytes | None
) -> None:
    with pytest.raises(DialError, match="cannot be sent"):
        dial(hop=Hop("http", HOP.address, username, password))


@pytest.mark.parametrize("host", ["", "a b", "a\r\nB: c", "\xe4", "127.1"])
def test_a_target_that_is_no_host_is_not_asked_for(host: str) -> None:
    with pytest.raises(DialError):
        dial(Address(host, 80))


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 299\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\n",
        OK + (b"A: " + b"b" * 1000 + b"\r\n") * 60 + b"\r\n",
    ],
)
def test_all_that_follows_the_head_is_the_tunnels(head: bytes) -> None:
    raw = head + b"\x05\x00hello"
    for at in range(0, len(raw), max(1, len(raw) // 200)):
        machine = dial()
        for piece in (raw[:at], raw[at:]):
            assert not machine.done or at >= len(head)
            machine.receive_data(piece)
        assert machine.done
        assert machine.trailing_data() == b"\x05\x00hello"
    machine = dial()
    for i in range(len(head)):
        assert not machine.done
        machine.receive_data(head[i : i + 1])
    assert machine.done
    assert machine.trailing_data() == b""


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, Reason.NOT_ALLOWED),
        (407, Reason.NOT_ALLOWED),
        (502, Reason.CONNECTION_REFUSED),
        (503, Reason.CONNECTION_REFUSED),
        (301, Reason.GENERAL_FAILURE),
        (400, Reason.GENERAL_FAILURE),
        (404, Reason.GENERAL_FAILURE),
        (504, Reason.GENERAL_FAILURE),
    ],
)
def test_a_refusal_is_passed_on(status: int, reason: Reason) -> None:
    machine = dial()
    with pytest.raises(DialError, match=str(status)) as caught:
        machine.receive_data(b"HTTP/1.1 %d \x80secret\r\nContent-Length: 9\r\n\r\n" % status)
    assert caught.value.reason is reason
    assert "secret" not in str(caught.value)
    assert not machine.done


@pytest.mark.parametrize(
    "raw",
    [
        b"\x05\x00",
        b"SSH-2.0-x\r\n",
        b"HTTP/2.0 200\r\n",
        b"HTTP/1.1 200 O\x00K\r\n",
        OK + b"A : b\r\n",
        OK + b"A: b\n",
        OK + b"A: " + b"b" * 70_000,
        OK + b"A: b\r\n" * 10_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 407 No\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"x" * 4096,
    ],
)
def test_an_answer_that_is_no_http_is_a_failure(raw: bytes) -> None:
    with pytest.raises(DialError) as caught:
        dial().receive_data(raw)
    assert caught.value.reason is Reason.GENERAL_FAILURE
    machine = dial()
    with pytest.raises(DialError):
        feed_bytewise(machine, raw)


HOSTS = st.sampled_from(["h", "example.org", "127.0.0.1", "::1", "a_b.c-d"])


@given(
    HOSTS,
    st.integers(1, 65535),
    st.none() | st.tuples(st.from_regex(rb"[^:\x00-\x1f\x7f]*", fullmatch=True), st.just(b"p")),
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.integers(1, 40),
)
def test_dialer_and_frontend_understand_each_other(
    host: str,
    port: int,
    user: tuple[bytes, bytes] | None,
    up: bytes,
    down: bytes,
    size: int,
) -> None:
    client = dial(Address(host, port), Hop("http", HOP.address, *(user or (None, None))))
    server = HttpHandshake(False)
    event = None
    raw = client.data_to_send() + up
    for at in range(0, len(raw), size):
        server.receive_data(raw[at : at + size])
        event = event or server.next_event()
    assert isinstance(event, Connect)
    assert event.target == Address(host, port)
    assert event.credentials == (Credentials(*user) if user else None)
    assert server.grant(("127.0.0.1", 1)) is None
    raw = server.data_to_send() + down
    for at in range(0, len(raw), size):
        client.receive_data(raw[at : at + size])
    assert client.done
    assert server.trailing_data() == up
    assert client.trailing_data() == down


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_of_the_frontend_reaches_the_dialer(reason: Reason) -> None:
    client, server = dial(), HttpHandshake(False)
    server.receive_data(client.data_to_send())
    assert server.next_event() is not None
    server.reject(reason)
    with pytest.raises(DialError) as caught:
        client.receive_data(server.data_to_send())
    if reason is Reason.NOT_ALLOWED:
        assert caught.value.reason is Reason.NOT_ALLOWED
    elif reason is Reason.TIMED_OUT:
        assert caught.value.reason is Reason.GENERAL_FAILURE
    else:
        assert caught.value.reason is Reason.CONNECTION_REFUSED


@given(st.binary(max_size=60), st.integers(1, 10))
def test_random_answers_fail_or_wait(raw: bytes, size: int) -> None:
    machine = dial()
    try:
        for at in range(0, len(raw), size):
            machine.receive_data(raw[at : at + size])
    except DialError:
        return
    assert not machine.done
