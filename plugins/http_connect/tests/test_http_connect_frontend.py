"""The frontend's handshake: what clients ask for, what they are answered, in every delivery."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_core import (
    Address,
    AddressType,
    Answered,
    Authenticate,
    Connect,
    Credentials,
    ProtocolError,
    Reason,
)
from neosocksd_http_connect.handshake import HttpHandshake

BOUND = ("127.0.0.1", 1)


@dataclass
class Outcome:
    """What came of a client's bytes: what it asked for, what it was sent."""

    events: list[object] = field(default_factory=list[object])
    reply: bytes = b""
    failed: bool = False

    @property
    def status(self) -> int:
        return int(self.reply[9:12]) if self.reply else 0


def deliver(
    pieces: list[bytes], *, auth: bool = False, accept: bool = True
) -> tuple[HttpHandshake, Outcome]:
    """Feed the pieces as a session does, until the client has asked for something or failed."""
    handshake, outcome = HttpHandshake(auth), Outcome()
    for at, piece in enumerate(pieces):
        handshake.receive_data(piece)
        try:
            event = handshake.next_event()
            if isinstance(event, Authenticate):
                outcome.events.append(event)
                handshake.judge(accept)
                event = handshake.next_event() if accept else None
                outcome.failed = not accept
        except ProtocolError:
            outcome.failed = True
            event = None
        if event is not None:
            outcome.events.append(event)
        if event is not None or outcome.failed:
            for early in pieces[at + 1 :]:
                handshake.receive_data(early)
            break
    outcome.reply = handshake.data_to_send()
    return handshake, outcome


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


DELIVERIES = pytest.mark.parametrize("cut", [whole, bytewise])


def connect(host: str, port: int, credentials: Credentials | None = None) -> Connect:
    return Connect(Address(host, port), AddressType.DOMAIN, credentials, "http")


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"example.org:443", "example.org", 443),
        (b"127.0.0.1:80", "127.0.0.1", 80),
        (b"[::1]:65535", "::1", 65535),
    ],
)
def test_connect_asks_for_a_tunnel_in_every_split(target: bytes, host: str, port: int) -> None:
    raw = b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"
    for at in range(len(raw) + 1):
        handshake, outcome = deliver([raw[:at], raw[at:]])
        assert outcome.events == [connect(host, port)]
        assert outcome.reply == b""
        assert handshake.grant(BOUND) is None
        assert handshake.data_to_send() == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert handshake.trailing_data() == b""


@DELIVERIES
def test_bytes_that_follow_connect_are_the_tunnels(cut: Callable[[bytes], list[bytes]]) -> None:
    raw = b"CONNECT h:1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\x16\x03"  # CL counts for nothing
    handshake, outcome = deliver(cut(raw))
    assert outcome.events == [connect("h", 1)]
    assert handshake.grant(BOUND) is None
    assert handshake.trailing_data() == b"hello\x16\x03"


REFUSED_TARGETS = [
    b"CONNECT h HTTP/1.1\r\n\r\n",
    b"CONNECT h:0 HTTP/1.1\r\n\r\n",
    b"CONNECT h:65536 HTTP/1.1\r\n\r\n",
    b"CONNECT h:-1 HTTP/1.1\r\n\r\n",
    b"CONNECT h:+80 HTTP/1.1\r\n\r\n",
    b"CONNECT / HTTP/1.1\r\n\r\n",
    b"CONNECT http://h:80 HTTP/1.1\r\n\r\n",
    b"CONNECT u:p@h:80 HTTP/1.1\r\n\r\n",
    b"CONNECT :80 HTTP/1.1\r\n\r\n",
    b"CONNECT [::1 HTTP/1.1\r\n\r\n",
    b"CONNECT [::g]:1 HTTP/1.1\r\n\r\n",
    b"CONNECT 127.1:80 HTTP/1.1\r\n\r\n",
    b"CONNECT 0x7f000001:80 HTTP/1.1\r\n\r\n",
    b"CONNECT a..b:80 HTTP/1.1\r\n\r\n",
    b"CONNECT -a:80 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET https://h/ HTTP/1.1\r\n\r\n",
    b"GET ftp://h/ HTTP/1.1\r\n\r\n",
    b"GET h:80 HTTP/1.1\r\n\r\n",
    b"GET http://u:p@h/ HTTP/1.1\r\n\r\n",
    b"GET http://:80/ HTTP/1.1\r\n\r\n",
    b"GET http://2130706433/ HTTP/1.1\r\n\r\n",
]

MALFORMED = [
    b"POST http://h/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST http://h/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"POST http://h/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET http://h/ HTTP/1.1\nHost: h\n\n",
    b"GET http://h/ HTTP/1.1\r\nA: b\rc\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\nA : b\r\n\r\n",
    b"GET http://h/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://h/ HTTP/2.0\r\n\r\n",
    b"GET http://h/\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\x05\x01\x00",
    b"A" * 100,
]


@DELIVERIES
@pytest.mark.parametrize("raw", REFUSED_TARGETS + MALFORMED)
def test_what_is_no_proxy_request_gets_400(raw: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    handshake, outcome = deliver(cut(raw))
    assert outcome.failed
    assert outcome.events == []
    assert outcome.reply == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        b"Connection: close\r\nContent-Length: 16\r\n\r\n400 Bad Request\n"
    )
    assert handshake.next_event() is None


@DELIVERIES
@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (
            b"OPTIONS http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            b"TRACE http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\nCookie: a\r\nA: b\r\n\r\n",
            (
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: message/http\r\n"
                b"Content-Length: 51\r\n\r\n"
                b"TRACE http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\nA: b\r\n\r\n"
            ),
        ),
    ],
)
def test_a_request_that_may_go_no_further_is_answered_here(
    raw: bytes, answer: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    _, outcome = deliver(cut(raw))
    assert not outcome.failed
    assert (outcome.events, outcome.reply) == ([Answered()], answer)


def test_credentials_come_before_an_answer_of_our_own() -> None:
    raw = (
        b"OPTIONS http://h/ HTTP/1.1\r\nMax-Forwards: 0\r\nProxy-Authorization: Basic YTpi\r\n\r\n"
    )
    handshake = HttpHandshake(auth_required=True)
    handshake.receive_data(raw)
    assert isinstance(handshake.next_event(), Authenticate)
    assert handshake.data_to_send() == b""
    handshake.judge(True)
    assert handshake.next_event() == Answered()
    assert handshake.data_to_send().startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET http://h/" + b"a" * 9000, 414),
        (b"GET http://h/ HTTP/1.1\r\nA: " + b"b" * 9000, 431),
        (b"GET http://h/ HTTP/1.1\r\n" + b"A: b\r\n" * 10_000, 431),
        (b"GET http://h/ HTTP/1.1\r\n" + (b"A: " + b"b" * 7000 + b"\r\n") * 10, 431),
        (b"GET http://h/ HTTP/1.1\r\nExpect: 200-ok\r\n\r\n", 417),
        (b"GET http://h/ HTTP/1.1\r\nExpect: 100-continue, x\r\n\r\n", 417),
        (b"GET http://h/ HTTP/1.1\r\nVia: 1.0 a, 1.1 neosocksd (b)\r\n\r\n", 403),
        (b"CONNECT h:1 HTTP/1.1\r\nVia: 1.1 neosocksd\r\n\r\n", 403),
    ],
)
def test_other_refusals_have_their_status(raw: bytes, status: int) -> None:
    for pieces in (whole(raw), bytewise(raw[:80_000])):
        _, outcome = deliver(pieces)
        assert (outcome.status, outcome.failed, outcome.events) == (status, True, [])


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.NOT_ALLOWED, 403),
        (Reason.TIMED_OUT, 504),
        (Reason.NETWORK_UNREACHABLE, 502),
        (Reason.HOST_UNREACHABLE, 502),
        (Reason.NAME_NOT_RESOLVED, 502),
        (Reason.CONNECTION_REFUSED, 502),
        (Reason.GENERAL_FAILURE, 502),
    ],
)
@pytest.mark.parametrize(
    "raw", [b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"GET http://h/ HTTP/1.0\r\n\r\n"]
)
def test_a_rejected_request_is_told_why(raw: bytes, reason: Reason, status: int) -> None:
    handshake, outcome = deliver([raw])
    assert len(outcome.events) == 1
    handshake.reject(reason)
    reply = handshake.data_to_send()
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in reply
    assert handshake.data_to_send() == b""


def test_a_reply_to_head_has_no_body() -> None:
    handshake, _ = deliver([b"HEAD http://h/ HTTP/1.1\r\n\r\n"])
    handshake.reject(Reason.NOT_ALLOWED)
    assert handshake.data_to_send().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("raw", [b"", b"GET http://h/ HT", b"GET http://h/ HTTP/1.1\r\nA: b\r\n"])
def test_a_request_that_does_not_come_gets_408(raw: bytes) -> None:
    handshake, outcome = deliver([raw])
    assert outcome.reply == b""
    handshake.expire()
    assert handshake.data_to_send().startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_nothing_of_the_client_is_in_a_reply() -> None:
    secret = b"<script>"
    raw = b"GET " + secret + b" HTTP/1.1\r\nHost: " + secret + b"\r\n\r\n"
    assert secret not in deliver([raw])[1].reply


def basic(text: bytes) -> bytes:
    return b"Proxy-Authorization: Basic " + b64encode(text) + b"\r\n"


HEAD = b"CONNECT h:1 HTTP/1.1\r\n"

NO_CREDENTIALS = [
    b"",
    b"Proxy-Authorization:\r\n",
    b"Proxy-Authorization: Basic\r\n",
    b"Proxy-Authorization: Basic !!!\r\n",
    b"Proxy-Authorization: Basic eDp5eg\r\n",  # no padding
    b"Proxy-Authorization: Basic eDp5 eDp5\r\n",
    b"Proxy-Authorization: Basic \xff\xfe\r\n",
    b"Proxy-Authorization: Bearer eDp5\r\n",
    b"Proxy-Authorization: eDp5\r\n",
    basic(b"no colon"),
    basic(b"a:b\x00c"),
    basic(b"a\n:b"),
    basic(b"a:b") * 2,
    b"Authorization: Basic eDp5\r\n",
]


@pytest.mark.parametrize("fields", NO_CREDENTIALS)
def test_without_good_credentials_a_client_is_challenged(fields: bytes) -> None:
    _, outcome = deliver([HEAD + fields + b"\r\n"], auth=True)
    assert outcome.failed
    assert outcome.status == 407
    assert b'\r\nProxy-Authenticate: Basic realm="proxy"\r\n' in outcome.reply
    assert b"\r\nConnection: close\r\n" in outcome.reply


@pytest.mark.parametrize("fields", NO_CREDENTIALS)
def test_malformed_credentials_are_ignored_where_none_are_required(fields: bytes) -> None:
    _, outcome = deliver([HEAD + fields + b"\r\n"])
    assert outcome.events == [connect("h", 1)]


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        (b"user:pass", b"user", b"pass"),
        (b"user:", b"user", b""),
        (b":", b"", b""),
        (b"u:p:q", b"u", b"p:q"),
        (b"\xff\xe4:\xfe", b"\xff\xe4", b"\xfe"),  # no UTF-8
    ],
)
def test_credentials_are_judged_before_the_request(
    text: bytes, username: bytes, password: bytes
) -> None:
    credentials = Credentials(username, password)
    raw = HEAD + basic(text) + b"\r\n"
    for pieces in (whole(raw), bytewise(raw)):
        _, outcome = deliver(pieces, auth=True)
        assert outcome.events == [Authenticate(credentials), connect("h", 1, credentials)]
    assert deliver([raw])[1].events == [connect("h", 1, credentials)]


def test_every_refusal_of_credentials_is_the_same() -> None:
    replies = {
        deliver([HEAD + fields + b"\r\n"], auth=True, accept=False)[1].reply
        for fields in (basic(b"nobody:x"), basic(b"user:wrong"), b"")
    }
    assert len(replies) == 1
    assert b" 407 " in replies.pop()


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_random_input_is_refused_or_waited_on(pieces: list[bytes], auth: bool) -> None:
    _, outcome = deliver(pieces, auth=auth)
    assert outcome.events == []
    assert outcome.status in ((400, 414, 431) if outcome.failed else (0,))


@given(st.data())
def test_a_damaged_request_never_escapes_the_handshake(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(REFUSED_TARGETS + MALFORMED + [HEAD + b"\r\n"]))
    at = data.draw(st.integers(0, len(raw)))
    raw = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 2)) :]
    _, whole_outcome = deliver(whole(raw))
    _, cut_outcome = deliver(bytewise(raw))
    assert whole_outcome == cut_outcome
