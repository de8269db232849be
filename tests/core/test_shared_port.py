"""One port for several protocols."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from neosocksd_core import Frontend, ServerContext, hookimpl
from neosocksd_core.addresses import SocketAddress
from neosocksd_core.errors import ConfigurationError, ProtocolError
from neosocksd_core.protocols import Claim, ClientConnection
from neosocksd_core.reasons import Reason
from neosocksd_core.shared_port import SharedPort
from neosocksd_core.testing import Client, EchoServer, PlainPlugin, feed, make_server, plain_request
from neosocksd_core.testing.plain import PlainFrontend, PlainHandshake

Serve = Callable[..., Any]


class Exclaiming(PlainFrontend):
    """The plain protocol behind an exclamation mark."""

    name = "exclaiming"
    claim = Claim.NONE
    first_bytes = b"!"

    def handshake(self, connection: ClientConnection) -> "ExclaimingHandshake":
        return ExclaimingHandshake()


class ExclaimingHandshake(PlainHandshake):
    def receive_data(self, data: bytes) -> None:
        super().receive_data(data.removeprefix(b"!"))


class Plugin:
    @hookimpl
    def register_frontends(self, server: ServerContext) -> Sequence[Frontend]:
        return [Exclaiming(server)]


def serve_both(serve: Serve) -> Any:
    return serve({"shared_listen": "127.0.0.1:0"}, plugins=[PlainPlugin, Plugin])


def test_the_first_byte_tells_whose_client_it_is(serve: Serve, echo: EchoServer) -> None:
    server = serve_both(serve)
    for first in (b"", b"!"):
        with Client(server.address) as client:
            client.send(first + plain_request(echo.address) + b"hi")
            client.expect(b"ok\nhi")
    server.wait_idle()


@pytest.mark.parametrize("first", [b"\0", b"G", b"\x05\x01\x00", b"\x16\x03\x01"])
def test_a_first_byte_of_nobodys_is_closed_without_a_word(serve: Serve, first: bytes) -> None:
    server = serve_both(serve)
    with Client(server.address) as client:
        client.send(first)
        client.expect_eof()
    server.wait_idle()


def test_a_client_that_says_nothing_is_closed_without_a_word(serve: Serve) -> None:
    server = serve_both(serve)
    server.shorten_timeout(0.05)
    with Client(server.address) as client:
        client.expect_eof()
    assert server.wait_idle().num_reject_timeout == 1


class Connection:
    client: SocketAddress = ("192.0.2.1", 1)
    local: SocketAddress = ("192.0.2.2", 2)


def handshake() -> Any:
    return SharedPort([PlainFrontend(_context())]).handshake(Connection())


def _context() -> ServerContext:
    return make_server(plugins=[PlainPlugin])


def test_everything_is_passed_on_to_the_one_that_was_chosen() -> None:
    machine = handshake()
    fed = feed(machine, (b"u:p@127.0.0.1:80\n", b"early"), lambda event: True)
    assert fed.error is None or isinstance(fed.error, ProtocolError)
    machine = handshake()
    fed = feed(machine, (b"127.0.0.1:80\nmore", b"early"))
    assert [type(event).__name__ for event in fed.events] == ["Connect"]
    assert fed.trailing == b"moreearly"
    assert machine.grant(("192.0.2.1", 1)) is None
    assert machine.data_to_send() == b"ok\n"
    machine = handshake()
    feed(machine, (b"127.0.0.1:80\n",))
    machine.reject(Reason.TIMED_OUT)
    machine.expire()
    assert machine.data_to_send() == b"no timed out\nno request\n"


def test_before_one_is_chosen_there_is_nothing_to_say() -> None:
    machine = handshake()
    machine.receive_data(b"")
    assert machine.next_event() is None
    machine.expire()
    machine.reject(Reason.TIMED_OUT)
    machine.judge(False)
    assert machine.grant(("192.0.2.1", 1)) is None
    assert (machine.data_to_send(), machine.trailing_data()) == (b"", b"")


def test_two_that_begin_alike_are_an_error_that_names_both() -> None:
    class Other(PlainFrontend):
        name = "other"

    with pytest.raises(ConfigurationError, match="'plain' and 'other'"):
        SharedPort([PlainFrontend(_context()), Other(_context())])


def test_nobody_that_can_be_told_by_a_byte_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="first byte"):
        SharedPort([])
