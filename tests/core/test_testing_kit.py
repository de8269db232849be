"""The testing kit itself: it must see what goes wrong, or no other test means anything."""

import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from neosocksd_core import (
    Address,
    Answered,
    Authenticate,
    Connect,
    DialError,
    HandshakeEvent,
    Hop,
    ListenError,
    PluginError,
    ProtocolError,
    Reason,
    hookimpl,
)
from neosocksd_core.testing import (
    DELIVERIES,
    BlackHole,
    Client,
    EchoServer,
    LeakCheck,
    Peer,
    PlainPlugin,
    RunningServer,
    ScriptedPeer,
    byte_by_byte,
    closed_address,
    every_split,
    feed,
    feed_client,
    in_one_write,
    pair,
    run_async,
    split_at,
)
from neosocksd_core.testing.plain import PlainClientHandshake, PlainHandshake

TARGET = Address("example.com", 80)
HOP = Hop("plain", Address("hop.example", 1), b"user", b"secret")


# the leak check


def found_after(work: Callable[[], object]) -> str:
    with LeakCheck() as check:
        kept = work()
        found = check.check()
        del kept
    return "\n".join(found)


def test_a_test_that_leaves_nothing_is_clean() -> None:
    assert found_after(lambda: None) == ""


def test_a_descriptor_that_is_left_open_is_found() -> None:
    left: list[int] = []

    def work() -> None:
        left.extend(os.pipe())

    found = found_after(work)
    for number in left:
        os.close(number)
        assert f"descriptor {number} is still open" in found


def test_a_thread_that_still_runs_is_found_and_one_that_ends_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    ending = threading.Thread(target=lambda: None, name="ending")
    assert found_after(ending.start) == ""
    monkeypatch.setattr("neosocksd_core.testing.leaks.CONVERGENCE_SECONDS", 0.01)
    staying = threading.Thread(target=gate.wait, name="staying")
    assert "'staying'" in found_after(staying.start)
    gate.set()
    staying.join()


def test_a_child_process_that_is_left_is_found() -> None:
    children: list[subprocess.Popen[bytes]] = []

    def work() -> None:
        children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

    found = found_after(work)
    children[0].communicate()
    assert f"child process {children[0].pid} is still there" in found


def test_a_socket_that_nobody_closed_is_found() -> None:
    def work() -> None:
        warnings.simplefilter("error", ResourceWarning)
        socket.socket()
        gc.collect()

    assert "unclosed" in found_after(work)


@pytest.mark.logs_error("went wrong")
def test_an_error_in_the_log_is_found_unless_expected_and_missed_if_it_does_not_come() -> None:
    def work() -> None:
        logging.getLogger("somewhere").error("went %s", "wrong")

    logging.getLogger("somewhere").warning("is no error")
    assert "went wrong" in found_after(work)
    with LeakCheck(["went wrong"]) as check:
        assert "no error was logged" in check.check()[0]
        work()
        assert check.check() == []


def test_an_exception_in_a_thread_is_found() -> None:
    def work() -> None:
        thread = threading.Thread(target=lambda: 1 / 0, name="failing")
        thread.start()
        thread.join()

    assert "'failing' raised ZeroDivisionError" in found_after(work)


@pytest.mark.logs_error("ZeroDivisionError")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_exception_in_a_callback_of_the_loop_is_found(loop: Any) -> None:
    def work() -> None:
        async def main() -> None:
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await anyio.sleep(0)
            await anyio.sleep(0)

        run_async(main, loop)

    assert "ZeroDivisionError" in found_after(work)


def test_what_was_hooked_is_restored() -> None:
    before = sys.unraisablehook, threading.excepthook, list(logging.getLogger().handlers)
    found_after(lambda: None)
    assert (sys.unraisablehook, threading.excepthook, logging.getLogger().handlers) == before


def test_a_task_that_is_left_in_a_loop_is_found() -> None:
    async def main() -> None:
        kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="left"))

    kept: list[object] = []
    with pytest.raises(AssertionError, match="tasks are left"):
        run_async(main)


# connections and peers


def test_what_does_not_come_as_expected_says_what_came() -> None:
    def script(connection: Any) -> None:
        connection.send(b"abc")

    with ScriptedPeer(script) as peer:
        expectations: list[tuple[Callable[[Client], object], str]] = [
            (lambda c: c.expect(b"abd"), "b'abd' expected, got b'abc'"),
            (lambda c: c.expect(b"abcd"), "got b'abc' and the end"),
            (lambda c: c.receive(9), "9 bytes expected, got b'abc' and the end"),
            (lambda c: c.expect_eof(), "the end expected, got b'abc'"),
            (lambda c: c.expect_reset(), "a reset expected, got b'abc'"),
            (lambda c: c.expect_closed(), "the end expected, got b'abc'"),
        ]
        for expectation, message in expectations:
            with Client(peer.address) as client, pytest.raises(AssertionError) as caught:
                expectation(client)
            assert message in str(caught.value)


def test_silence_is_a_failure_after_the_deadline() -> None:
    with Peer() as peer, Client(peer.address, deadline=0.02) as client:
        for expectation in (
            client.expect_eof,
            client.expect_reset,
            client.expect_closed,
            lambda: client.expect(b"x"),
            lambda: client.receive(1),
            client.receive_all,
        ):
            with pytest.raises(AssertionError):
                expectation()


def test_an_end_is_told_from_a_reset() -> None:
    with Peer() as peer, Client(peer.address) as client:
        peer.accept().close()
        with pytest.raises(AssertionError, match="orderly end"):
            client.expect_reset()
    with Peer() as peer, Client(peer.address) as client:
        peer.accept().reset()
        with pytest.raises(AssertionError, match="the end expected"):
            client.expect_eof()


def test_what_a_script_raises_is_raised_by_its_peer() -> None:
    def script(connection: Any) -> None:
        connection.expect(b"something else")

    peer = ScriptedPeer(script)
    with Client(peer.address) as client:
        client.send(b"this")
        client.expect_closed()
    with pytest.raises(AssertionError, match="something else"):
        peer.close()


def test_a_peer_tells_whether_anybody_came() -> None:
    with Peer() as peer:
        peer.expect_no_connection()
        with Client(peer.address), pytest.raises(AssertionError, match="one came"):
            peer.expect_no_connection()


def test_an_echo_answers_many_clients_and_their_ends() -> None:
    with EchoServer() as echo:
        clients = [Client(echo.address) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number * 1000)
        for number, client in enumerate(clients):
            client.finish()
            assert client.receive_all() == b"%d" % number * 1000
            client.close()


def test_a_black_hole_takes_no_connection_and_a_closed_address_refuses_it() -> None:
    with BlackHole() as hole, pytest.raises(TimeoutError):
        Client(hole.address, deadline=0.05)
    with closed_address() as refusing, pytest.raises(ConnectionRefusedError):
        Client(refusing)


# servers


def test_a_server_that_cannot_start_says_so_and_leaves_nothing() -> None:
    with Peer() as peer, pytest.raises(ListenError):
        RunningServer({"listen": f"127.0.0.1:{peer.port}"}, plugins=[PlainPlugin])


def test_a_server_whose_plugin_fails_when_its_loop_runs_raises_the_plugins_error() -> None:
    class Late:
        @hookimpl
        def register_services(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(PluginError, match="plugin 'late': register_services failed"):
        RunningServer(plugins=[PlainPlugin, Late])


def test_what_never_comes_to_be_is_a_failure(monkeypatch: pytest.MonkeyPatch, serve: Any) -> None:
    server = serve(plugins=[PlainPlugin])
    monkeypatch.setattr("neosocksd_core.testing.running.DEADLINE", 0.01)
    with pytest.raises(AssertionError, match="never came to that"):
        server.wait_until(lambda s: s.num_accept)  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]


# deliveries and machines


def test_each_delivery_delivers_the_whole_message() -> None:
    for delivery in DELIVERIES:
        assert b"".join(delivery(b"message")) == b"message"
    assert split_at(2)(b"message") == (b"me", b"ssage")
    assert split_at(-1)(b"x") == (b"x",)
    assert list(every_split(b"abc")) == [(b"a", b"bc"), (b"ab", b"c")]
    assert in_one_write(b"ab") == (b"ab",)
    assert byte_by_byte(b"ab") == (b"a", b"b")


@pytest.mark.parametrize("pieces", [byte_by_byte(b"u:p@h:1\nmore"), (b"u:p@h:1\nmo", b"re")])
def test_a_machine_is_fed_as_a_session_feeds_it(pieces: tuple[bytes, ...]) -> None:
    fed = feed(PlainHandshake(), pieces)
    assert [type(event) for event in fed.events] == [Authenticate, Connect]
    assert (fed.sent, fed.error, fed.trailing) == (b"", None, b"more")
    fed = feed(PlainHandshake(), pieces, lambda event: False)
    assert isinstance(fed.error, ProtocolError)
    assert fed.sent == b"no not allowed\n"
    assert feed(PlainHandshake(), b"h:1\nmore").trailing == b"more"
    fed = feed(PlainHandshake(), (b"nonsense\n", b"more"))
    assert isinstance(fed.error, ProtocolError)
    assert fed.sent.startswith(b"no, ")


class Greeter(PlainHandshake):
    """Answers a greeting by itself."""

    def next_event(self) -> HandshakeEvent | None:
        """Whatever comes is one."""
        self._output += b"hello\n"
        return Answered()


def test_a_machine_that_has_answered_is_fed_no_more() -> None:
    fed = feed(Greeter(), (b"hi", b"hi"))
    assert (fed.events, fed.sent, fed.error, fed.trailing) == ([Answered()], b"hello\n", None, b"")
    with pytest.raises(DialError):
        pair(Greeter(), PlainClientHandshake(HOP, TARGET))


def test_a_dialers_machine_is_fed_as_a_dial_feeds_it() -> None:
    for pieces in (byte_by_byte(b"ok\nmore"), (b"ok\nmore",)):
        fed = feed_client(PlainClientHandshake(HOP, TARGET), pieces)
        assert (fed.sent, fed.error, fed.trailing) == (
            b"user:secret@example.com:80\n",
            None,
            b"more",
        )
    fed = feed_client(PlainClientHandshake(HOP, TARGET), (b"no timed out\n", b"more"))
    assert isinstance(fed.error, DialError)
    assert fed.error.reason is Reason.TIMED_OUT


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_two_machines_are_paired(delivery: Any) -> None:
    machine = PlainClientHandshake(HOP, TARGET)
    request = pair(PlainHandshake(), machine, delivery=delivery)
    assert machine.done
    assert request is not None
    assert request.target == TARGET
    machine = PlainClientHandshake(HOP, TARGET)
    with pytest.raises(DialError) as caught:
        pair(PlainHandshake(), machine, answer=Reason.TIMED_OUT, delivery=delivery)
    assert caught.value.reason is Reason.TIMED_OUT
    with pytest.raises(DialError):
        pair(
            PlainHandshake(),
            PlainClientHandshake(HOP, TARGET),
            judge=lambda event: False,
            delivery=delivery,
        )
