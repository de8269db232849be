"""The machines against each other in every delivery, then two servers with a veil between them."""

from collections.abc import Callable

import neosocksd_veil
import pytest
from neosocksd_veil.config import VeilSettings
from neosocksd_veil.dialer import VeilClientHandshake
from neosocksd_veil.frontend import VeilHandshake
from neosocksd_veil.masking import SALT_SIZE, Mask, VeilFilter, masks
from pydantic import ValidationError

from neosocksd_core import Address, Connect, DialError, FilterState, ProtocolError, Reason
from neosocksd_core.testing import (
    DELIVERIES,
    Client,
    Delivery,
    EchoServer,
    PlainPlugin,
    RunningServer,
    closed_address,
    every_split,
    feed,
    pair,
    plain_request,
)

SECRET = b"some words"
SALT = bytes(range(SALT_SIZE))
TARGET = Address("example.com", 443)
BOUND = ("192.0.2.1", 1025)


def client(target: Address = TARGET, secret: bytes = SECRET) -> VeilClientHandshake:
    return VeilClientHandshake(secret, SALT, target)


def test_a_mask_is_its_own_inverse_whatever_the_pieces() -> None:
    data = bytes(range(256)) * 64
    masked = Mask(SECRET, SALT, b"up").apply(data)
    assert masked != data
    unmask = Mask(SECRET, SALT, b"up")
    assert (
        b"".join(unmask.apply(data) for data in (masked[:1], masked[1:5000], masked[5000:])) == data
    )


def test_each_direction_salt_and_key_has_a_stream_of_its_own() -> None:
    streams = {
        Mask(*seed).apply(bytes(32))
        for seed in ((SECRET, SALT, b"up"), (SECRET, SALT, b"down"), (SECRET, SALT[::-1], b"up"), (b"", SALT, b"up"))
    }  # fmt: skip
    assert len(streams) == 4


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_two_sides_understand_each_other(delivery: Delivery) -> None:
    dialer = client()
    request = pair(VeilHandshake(SECRET), dialer, delivery=delivery)
    assert request is not None
    assert request.target == TARGET
    assert dialer.done


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_arrives_with_its_reason(reason: Reason) -> None:
    with pytest.raises(DialError) as caught:
        pair(VeilHandshake(SECRET), client(), answer=reason)
    assert caught.value.reason is reason


def test_bytes_that_follow_the_request_stay_masked_for_the_filter() -> None:
    message = client().data_to_send()
    up, _ = masks(SECRET, SALT)
    up.apply(message[SALT_SIZE:])  # moves the stream to where the tunnel begins
    early = up.apply(b"early")
    for pieces in every_split(message + early):
        machine = VeilHandshake(SECRET)
        fed = feed(machine, pieces)
        assert [event.target for event in fed.events if isinstance(event, Connect)] == [TARGET]
        stream = machine.grant(BOUND)
        stream.from_client(fed.trailing)
        assert stream.to_upstream() == b"early"


@pytest.mark.parametrize("message", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(64)])
def test_noise_of_others_is_dropped_without_a_word(message: bytes) -> None:
    fed = feed(VeilHandshake(SECRET), [message])
    assert isinstance(fed.error, ProtocolError)
    assert not fed.sent


def test_a_client_with_another_key_is_dropped() -> None:
    with pytest.raises(ProtocolError):
        pair(VeilHandshake(SECRET), client(secret=b"other words"))


def test_the_filter_passes_ends_and_failures_on() -> None:
    stream = VeilFilter(*masks(SECRET, SALT))
    stream.from_client(b"")
    assert (stream.upstream_ended, stream.client_ended) == (True, False)
    stream.from_upstream(b"")
    assert stream.client_ended
    stream.upstream_failed()
    assert stream.state is FilterState.ABORT


def test_listeners_need_a_key() -> None:
    with pytest.raises(ValidationError, match="listen needs a key"):
        VeilSettings.model_validate({"listen": ["127.0.0.1:0"]})


# Real servers: a client speaks the testing kit's plain protocol to the near one, which reaches targets through the far one.


@pytest.fixture
def near(serve: Callable[..., RunningServer], backend: str) -> RunningServer:
    key = SECRET.decode()
    far = serve({"veil": {"key": key, "listen": ["127.0.0.1:0"]}}, plugins=[neosocksd_veil])
    uri = f"veil://127.0.0.1:{far.address[1]}"
    settings = {"listen": "127.0.0.1:0", "proxy": uri, "veil": {"key": key}}
    return serve(settings, plugins=[PlainPlugin, neosocksd_veil])


def test_bytes_pass_both_ways_and_the_end_comes_last(near: RunningServer, echo: EchoServer) -> None:
    data = bytes(range(256)) * 2000
    with Client(near.address) as connection:
        connection.send(plain_request(echo.address) + b"early")
        connection.expect(b"ok\nearly")
        connection.send(data)
        connection.expect(data)
        connection.finish()
        connection.expect_eof()


def test_a_closed_port_is_reported_through_the_veil(near: RunningServer) -> None:
    with closed_address() as target, Client(near.address) as connection:
        connection.send(plain_request(target))
        connection.expect(b"no connection refused\n")
        connection.expect_eof()
