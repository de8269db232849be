"""Connecting: the addresses in their order, happy eyeballs, the policy, and nothing left open."""

import errno
import os
import socket
import struct

import anyio
import pytest

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.connect import Connection, Connector, SocketOption, error_of, outgoing_options
from neosocksd_core.errors import DialError
from neosocksd_core.loops import open_reactor
from neosocksd_core.policy import Policy
from neosocksd_core.reasons import Reason
from neosocksd_core.settings import Settings
from neosocksd_core.testing import BlackHole, Peer, closed_address, run_async
from neosocksd_core.testing.running import Backend

SETTINGS = Settings.model_validate({})


def connect(
    addresses: list[str],
    port: int,
    *,
    settings: Settings = SETTINGS,
    guarded: list[SocketAddress] | None = None,
    judged: bool = True,
    options: tuple[SocketOption, ...] = (),
    backend: Backend = "auto",
) -> socket.socket | DialError:
    """Connect to one of *addresses*, and say what came of it."""
    result: list[Connection | DialError] = []

    async def main() -> None:
        async with open_reactor() as reactor:
            done = anyio.Event()

            def finish(outcome: Connection | DialError) -> None:
                result.append(outcome)
                done.set()

            policy = Policy(settings, guarded or ())
            connector = Connector(reactor, options, policy, judged, guarded is not None, finish)
            connector.start(addresses, port)
            await done.wait()
            assert len(result) == 1

    run_async(main, backend)
    [outcome] = result
    if isinstance(outcome, DialError):
        return outcome
    sock, bound = outcome
    assert bound == sock.getsockname()
    return sock


def reason_of(outcome: socket.socket | DialError) -> Reason:
    assert isinstance(outcome, DialError), outcome
    return outcome.reason


def expect_socket(outcome: socket.socket | DialError) -> socket.socket:
    assert isinstance(outcome, socket.socket), outcome
    return outcome


def test_the_first_address_that_answers_is_taken(backend: Backend) -> None:
    with (
        Peer() as peer,
        expect_socket(connect(["127.0.0.1", "127.0.0.2"], peer.port, backend=backend)) as sock,
    ):
        assert sock.getpeername() == peer.address
        assert not sock.getblocking()
        peer.accept().close()


def test_an_address_that_refuses_is_passed_over(backend: Backend) -> None:
    with (
        Peer() as peer,
        expect_socket(
            connect(["127.0.0.2", "127.0.0.3", "127.0.0.1"], peer.port, backend=backend)
        ) as sock,
    ):
        assert sock.getpeername() == peer.address


def test_where_all_refuse_that_is_the_reason() -> None:
    with closed_address() as refusing:
        outcome = connect(["127.0.0.1"] * 20, refusing[1])
    assert reason_of(outcome) is Reason.CONNECTION_REFUSED


def test_a_silent_address_gets_company_and_is_closed_when_another_answers() -> None:
    with BlackHole() as hole, Peer("127.0.0.2", port=hole.port) as peer:
        with expect_socket(connect(["127.0.0.1", "127.0.0.2"], hole.port)) as sock:
            assert sock.getpeername() == peer.address
            peer.accept().close()


def test_a_dead_ipv6_address_falls_back_to_ipv4() -> None:
    with BlackHole("::1") as hole, Peer("127.0.0.1", port=hole.port) as peer:
        with expect_socket(connect(["::1", "127.0.0.1"], hole.port)) as sock:
            assert sock.getpeername() == peer.address


def test_what_is_cancelled_hands_over_nothing_and_leaves_nothing_open() -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            with BlackHole() as hole, BlackHole("127.0.0.2") as other:
                before = len(os.listdir("/proc/self/fd"))
                connector = Connector(
                    reactor,
                    (),
                    Policy(SETTINGS),
                    True,
                    False,
                    lambda outcome: pytest.fail("was cancelled"),
                )
                connector.start(["127.0.0.1", "127.0.0.2"], hole.port)
                assert len(os.listdir("/proc/self/fd")) > before
                connector.cancel()
                assert len(os.listdir("/proc/self/fd")) == before
                assert other.port

    run_async(main)


def test_each_address_is_judged_by_itself() -> None:
    settings = Settings.model_validate({"block_local": True})
    with (
        Peer() as peer,
        expect_socket(connect(["10.0.0.1", "127.0.0.1"], peer.port, settings=settings)),
    ):
        pass
    assert reason_of(connect(["10.0.0.1"], 80, settings=settings)) is Reason.NOT_ALLOWED


def test_what_is_not_judged_may_go_to_blocked_addresses() -> None:
    settings = Settings.model_validate({"block_loopback": True})
    with Peer() as peer:
        assert reason_of(connect(["127.0.0.1"], peer.port, settings=settings)) is (
            Reason.NOT_ALLOWED
        )
        expect_socket(connect(["127.0.0.1"], peer.port, settings=settings, judged=False)).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_guarded_address_is_not_connected_to(host: str) -> None:
    with Peer() as peer:
        outcome = connect([host], peer.port, guarded=[peer.address])
        assert reason_of(outcome) is Reason.NOT_ALLOWED
        peer.expect_no_connection()


def test_a_mapped_address_is_connected_to_by_ipv4() -> None:
    with Peer() as peer, expect_socket(connect(["::ffff:127.0.0.1"], peer.port)) as sock:
        assert sock.family is socket.AF_INET


def test_a_connection_that_meets_itself_is_refused() -> None:
    with closed_address() as free:
        port = free[1]
    # The system is left no choice but to give our end the very port that we connect to.
    ip_local_port_range = 51
    only_port = struct.pack("=I", port << 16 | port)
    option = (socket.IPPROTO_IP, ip_local_port_range, only_port)
    with socket.socket() as probe:
        try:
            probe.setsockopt(*option)
        except OSError:
            pytest.skip("this system cannot be told which ports to use")
    outcome = connect(["127.0.0.1"], port, options=(option,))
    assert reason_of(outcome) is Reason.CONNECTION_REFUSED
    assert "itself" in str(outcome)


def test_options_are_set_before_connecting() -> None:
    settings = Settings.model_validate(
        {"tcp_sndbuf": 32768, "tcp_rcvbuf": 32768, "tcp_keepalive": True}
    )
    with (
        Peer() as peer,
        expect_socket(
            connect(["127.0.0.1"], peer.port, options=outgoing_options(settings))
        ) as sock,
    ):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 65536


def test_a_device_that_is_not_there_fails_the_attempt() -> None:
    settings = Settings.model_validate({"netdev": "none0"})
    outcome = connect(["127.0.0.1"], 9, options=outgoing_options(settings))
    assert reason_of(outcome) is Reason.GENERAL_FAILURE


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, Reason.CONNECTION_REFUSED),
        (errno.ENETUNREACH, Reason.NETWORK_UNREACHABLE),
        (errno.EHOSTUNREACH, Reason.HOST_UNREACHABLE),
        (errno.ETIMEDOUT, Reason.TIMED_OUT),
        (errno.EMFILE, Reason.GENERAL_FAILURE),
        (errno.EACCES, Reason.GENERAL_FAILURE),
    ],
)
def test_the_systems_errors_have_their_reasons(code: int, reason: Reason) -> None:
    assert error_of(code, "where").reason is reason
    assert os.strerror(code) in str(error_of(code, "where"))
