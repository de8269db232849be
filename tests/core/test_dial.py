"""Chain dialling through a running server: hops of every kind of fate, and chains of our own servers."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

from neosocksd_core import (
    Address,
    Chain,
    ClientHandshake,
    ConfigurationError,
    Decision,
    Dialer,
    DialError,
    Forward,
    Hop,
    Reason,
    Request,
    hookimpl,
)
from neosocksd_core.addresses import parse_chain
from neosocksd_core.errors import NeosocksdError
from neosocksd_core.filters import FilterState
from neosocksd_core.testing import (
    BlackHole,
    Client,
    Connection,
    EchoServer,
    Peer,
    PlainPlugin,
    RunningServer,
    ScriptedPeer,
    Serve,
    closed_address,
    plain_request,
)
from neosocksd_core.testing.plain import PlainClientHandshake


def through(serve: Serve, *hops: tuple[str, int], **settings: Any) -> RunningServer:
    """A server whose chain is *hops*."""
    chain = ",".join(f"plain://{host}:{port}" for host, port in hops)
    return serve({"listen": "127.0.0.1:0", "proxy": chain, **settings}, plugins=[PlainPlugin])


def ask(server: RunningServer, target: Any, answer: bytes) -> None:
    with Client(server.address) as client:
        client.send(plain_request(target))
        client.expect(answer)
        client.expect_eof()
    server.wait_idle()


TARGET = ("192.0.2.1", 80)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_chain_of_our_own_servers_carries_bytes_and_both_ends(
    serve: Serve, echo: EchoServer, backend: str, length: int
) -> None:
    hops = [serve(plugins=[PlainPlugin]) for _ in range(length)]
    server = through(serve, *(hop.address[:2] for hop in hops))
    with Client(server.address) as client:
        client.send(plain_request(echo.address) + b"early")
        client.expect(b"ok\nearly")
        [session] = server.sessions()
        assert [str(hop) for hop in session.chain] == [
            f"plain://127.0.0.1:{hop.address[1]}" for hop in hops
        ]
        client.send(b"x" * 100_000)
        client.expect(b"x" * 100_000)
        client.finish()
        client.expect_eof()
    for one in (server, *hops):
        one.wait_idle()
    for last in (server, hops[-1]):  # the others relay the handshakes of those behind them as well
        statistics = last.statistics()
        assert statistics.byt_up == statistics.byt_down == 100_005


def test_a_chain_that_fails_at_its_end_answers_with_the_reason_from_there(serve: Serve) -> None:
    hops = [serve(plugins=[PlainPlugin]) for _ in range(3)]
    server = through(serve, *(hop.address[:2] for hop in hops))
    with closed_address() as refusing:
        ask(server, refusing, b"no connection refused\n")
    assert "plain://" in (server.statistics().lasterror or "")
    for hop in hops:
        hop.wait_idle()


def test_a_reset_at_the_end_of_a_chain_is_a_reset_at_its_beginning(serve: Serve) -> None:
    hops = [serve(plugins=[PlainPlugin]) for _ in range(2)]
    server = through(serve, *(hop.address[:2] for hop in hops))
    with Peer() as peer, Client(server.address) as client:
        client.send(plain_request(peer.address))
        client.expect(b"ok\n")
        peer.accept().reset()
        client.expect_reset()


def test_a_hop_that_refuses_the_connection(serve: Serve) -> None:
    with closed_address() as hop:
        ask(through(serve, hop), TARGET, b"no connection refused\n")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_hop_that_never_answers_costs_the_dial_timeout(serve: Serve, position: int) -> None:
    with Peer() as silent:
        hops = [serve(plugins=[PlainPlugin]).address[:2] for _ in range(2)]
        hops.insert(position, silent.address)
        ask(through(serve, *hops, dial_timeout=0.1), TARGET, b"no timed out\n")


def test_a_hop_that_cannot_even_be_connected_to_costs_the_dial_timeout(serve: Serve) -> None:
    with BlackHole() as hole:
        ask(through(serve, hole.address, dial_timeout=0.1), TARGET, b"no timed out\n")


def dies_silently(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))


def dies_by_reset(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))
    connection.reset()


def dies_mid_reply(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))
    connection.send(b"o")


def talks_nonsense(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")


def talks_without_end(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))
    connection.send(b"x" * 1_000_000)
    connection.expect_closed()


def refuses(connection: Connection) -> None:
    connection.expect(plain_request(TARGET))
    connection.send(b"no host unreachable\n")


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (dies_silently, b"no general failure\n"),
        (dies_by_reset, b"no general failure\n"),
        (dies_mid_reply, b"no general failure\n"),
        (talks_nonsense, b"no general failure\n"),
        (talks_without_end, b"no general failure\n"),
        (refuses, b"no host unreachable\n"),
    ],
)
def test_a_hop_that_fails_in_its_handshake(
    serve: Serve, script: Callable[[Connection], None], answer: bytes
) -> None:
    with ScriptedPeer(script) as hop:
        ask(through(serve, hop.address), TARGET, answer)


def test_bytes_that_follow_a_hops_reply_belong_to_the_tunnel(serve: Serve) -> None:
    def greet(connection: Connection) -> None:
        connection.expect(plain_request(TARGET))
        connection.send(b"ok\nhello")
        connection.expect(b"bye")

    with ScriptedPeer(greet) as hop:
        server = through(serve, hop.address)
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            client.expect(b"ok\nhello")
            client.send(b"bye")
            client.expect_eof()


def test_a_reply_byte_by_byte_is_a_reply(serve: Serve) -> None:
    with Peer() as hop:
        server = through(serve, hop.address)
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            with hop.accept() as connection:
                connection.expect(plain_request(TARGET))
                for byte in (b"o", b"k", b"\n"):
                    server.statistics()
                    connection.send(byte)
                client.expect(b"ok\n")


def test_a_client_that_leaves_while_a_hop_is_silent_ends_the_dial(serve: Serve) -> None:
    with Peer() as hop:
        server = through(serve, hop.address)
        client = Client(server.address)
        client.send(plain_request(TARGET))
        with hop.accept() as connection:
            connection.expect(plain_request(TARGET))
            client.reset()
            connection.expect_eof()
        server.wait_idle()


def test_the_target_is_judged_although_a_proxy_connects_to_it(serve: Serve) -> None:
    with Peer() as hop:
        server = through(serve, hop.address, block_local=True)
        ask(server, ("10.0.0.1", 80), b"no not allowed\n")
        ask(server, server.address, b"no not allowed\n")
        hop.expect_no_connection()


def test_a_proxy_on_a_blocked_network_may_be_asked(serve: Serve) -> None:
    def grant(connection: Connection) -> None:
        connection.expect(plain_request(TARGET))
        connection.send(b"ok\n")
        connection.expect_eof()

    with ScriptedPeer(grant) as hop:
        server = through(serve, hop.address, block_loopback=True)
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            client.expect(b"ok\n")


def test_a_chain_into_the_server_itself_is_refused(serve: Serve) -> None:
    own: list[Hop] = []

    class Looping:
        def route(self, request: Request) -> Decision:
            return Forward(request.target, tuple(own))

    server = serve(plugins=[PlainPlugin], router=Looping())
    own.append(Hop("plain", Address(*server.address[:2])))
    ask(server, TARGET, b"no not allowed\n")


def test_a_chain_that_is_too_long_is_refused(serve: Serve) -> None:
    class Endless:
        def route(self, request: Request) -> Decision:
            return Forward(request.target, (Hop("plain", Address("192.0.2.9", 1)),) * 65)

    ask(serve(plugins=[PlainPlugin], router=Endless()), TARGET, b"no general failure\n")


class Rot:
    """Turns the bytes of a tunnel by one, there and back."""

    def __init__(self) -> None:
        self.client_ended = False
        self.upstream_ended = False
        self.failure: NeosocksdError | None = None
        self.state = FilterState.RELAY
        self._down = b""
        self._up = b""

    def from_client(self, data: bytes) -> None:
        self._up += bytes((byte + 1) % 256 for byte in data)
        self.upstream_ended |= not data

    def from_upstream(self, data: bytes) -> None:
        self._down += bytes((byte - 1) % 256 for byte in data)
        self.client_ended |= not data

    def upstream_failed(self) -> None:
        self.state = FilterState.ABORT

    def to_client(self) -> bytes:
        data, self._down = self._down, b""
        return data

    def to_upstream(self) -> bytes:
        data, self._up = self._up, b""
        return data


class RotDialer:
    """Asks in plain text, and turns what follows."""

    default_port = 1091

    def handshake(self, hop: Hop, target: Address) -> ClientHandshake:
        machine = PlainClientHandshake(hop, target)
        machine.filter = Rot()
        return machine


class Odd:
    """Dialers that turn bytes, that raise at once, that raise later, and that do not wait for an answer."""

    @hookimpl
    def register_dialers(self) -> Mapping[str, Dialer]:
        return {
            "rot": RotDialer(),
            "broken": BrokenDialer(),
            "unable": UnableDialer(),
            "eager": EagerDialer(),
        }


PREAMBLE = b"p" * (8 << 20)
"""More than a connection takes at once."""


class EagerHandshake(PlainClientHandshake):
    """Is done with what it sends."""

    def __init__(self, hop: Hop, target: Address) -> None:
        super().__init__(hop, target)
        self._output = PREAMBLE
        self.done = True


class EagerDialer:
    default_port = 1092

    def handshake(self, hop: Hop, target: Address) -> ClientHandshake:
        return EagerHandshake(hop, target)


class BrokenDialer(RotDialer):
    def handshake(self, hop: Hop, target: Address) -> ClientHandshake:
        raise ZeroDivisionError("by a dialer")


class UnableDialer(RotDialer):
    def handshake(self, hop: Hop, target: Address) -> ClientHandshake:
        raise DialError(Reason.HOST_UNREACHABLE, "cannot say that")


class Through:
    """A router that sends everything through one chain, which nobody has looked at before."""

    def __init__(self, chain: str) -> None:
        ports = {"broken": 1, "unable": 1}
        self.chain = parse_chain(chain, ports)

    def route(self, request: Request) -> Decision:
        return Forward(request.target, self.chain)


def odd(serve: Serve, chain: str) -> RunningServer:
    return serve({"listen": "127.0.0.1:0", "proxy": chain}, plugins=[PlainPlugin, Odd])


def test_a_hop_that_encodes_the_stream_is_decoded_and_so_is_what_followed_its_reply(
    serve: Serve,
) -> None:
    with Peer() as hop:
        server = odd(serve, f"rot://127.0.0.1:{hop.port}")
        with Client(server.address) as client:
            client.send(plain_request(TARGET) + b"AB")
            with hop.accept() as connection:
                connection.expect(plain_request(TARGET))
                connection.send(b"ok\n" + b"CD")
                client.expect(b"ok\n" + b"BC")
                connection.expect(b"BC")
                client.finish()
                connection.expect_eof()
            client.expect_eof()
        server.wait_idle()


def test_a_handshake_through_an_encoding_hop_is_encoded(serve: Serve) -> None:
    with Peer() as hop:
        server = odd(serve, f"rot://127.0.0.1:{hop.port},plain://next.example:7")
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            with hop.accept() as connection:
                connection.expect(b"next.example:7\n")
                connection.send(b"ok\n")
                encoded = bytes(byte + 1 for byte in plain_request(TARGET))
                connection.expect(encoded)
                connection.send(bytes(byte + 1 for byte in b"ok\nhi"))
                client.expect(b"ok\nhi")


def test_two_encoding_hops_encode_twice(serve: Serve) -> None:
    with Peer() as hop:
        server = odd(serve, f"rot://127.0.0.1:{hop.port},rot://next.example:7")
        with Client(server.address) as client:
            client.send(plain_request(TARGET))
            with hop.accept() as connection:
                connection.expect(b"next.example:7\n")
                connection.send(b"ok\n")
                connection.expect(bytes(byte + 1 for byte in plain_request(TARGET)))
                connection.send(bytes(byte + 1 for byte in b"ok\n"))
                client.expect(b"ok\n")
                client.send(b"a")
                connection.expect(b"c")
                connection.send(b"z")
                client.expect(b"x")


@pytest.mark.logs_error("ZeroDivisionError: by a dialer")
def test_a_dialer_that_raises_fails_that_dial_alone(serve: Serve) -> None:
    with Peer() as hop:
        router = Through(f"broken://127.0.0.1:{hop.port}")
        ask(serve(plugins=[PlainPlugin, Odd], router=router), TARGET, b"no general failure\n")


def test_what_a_dialer_sends_without_waiting_arrives_before_the_tunnel(serve: Serve) -> None:
    with Peer() as hop:
        server = odd(serve, f"eager://127.0.0.1:{hop.port}")
        with Client(server.address) as client:
            client.send(plain_request(TARGET) + b"AB")
            with hop.accept() as connection:
                connection.send(b"CD")
                connection.expect(PREAMBLE)
                client.expect(b"ok\nCD")
                connection.expect(b"AB")
        server.wait_idle()


def test_a_target_that_cannot_be_asked_for_is_a_failure_with_its_reason(serve: Serve) -> None:
    with Peer() as hop:
        router = Through(f"unable://127.0.0.1:{hop.port}")
        ask(serve(plugins=[PlainPlugin, Odd], router=router), TARGET, b"no host unreachable\n")


@pytest.mark.parametrize(
    ("scheme", "cause"),
    [("broken", "ZeroDivisionError: by a dialer"), ("unable", "cannot say that")],
)
def test_a_chain_with_a_hop_that_cannot_be_asked_is_refused_at_the_start(
    serve: Serve, scheme: str, cause: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^proxy: {scheme}://h:1: {cause}$"):
        odd(serve, f"{scheme}://h:1")


def test_who_waits_for_a_dial_may_be_cancelled(serve: Serve) -> None:
    server = serve(plugins=[PlainPlugin])
    with BlackHole() as hole:

        async def dial() -> None:
            with anyio.move_on_after(0.01):
                await server.server.dial(Forward(Address(*hole.address)))

        server.call(dial)


def test_a_program_dials_for_itself_over_the_chain_and_unjudged(
    serve: Serve, echo: EchoServer
) -> None:
    hop = serve(plugins=[PlainPlugin])
    server = through(serve, hop.address[:2], block_loopback=True)

    async def dial() -> tuple[tuple[str, int], Chain]:
        upstream = await server.server.dial(Forward(Address(*echo.address)))
        peer = upstream.socket.getpeername()
        upstream.close()
        return peer, upstream.chain

    peer, chain = server.call(dial)
    assert peer == hop.address
    assert len(chain) == 1
