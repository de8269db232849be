"""The filtered relay over real sockets: states, half-closes, resets, backlogs, and filters that raise."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from neosocksd_core.closing import Closer
from neosocksd_core.errors import NeosocksdError
from neosocksd_core.filter_relay import FilterRelay, Outcome
from neosocksd_core.filters import FilterState
from neosocksd_core.loops import open_reactor
from neosocksd_core.poller import READ
from neosocksd_core.sockets import reset
from neosocksd_core.testing import Client, Connection, Peer, run_async
from neosocksd_core.testing.running import Backend


class Upper:
    """Makes upper case of what goes up and lower case of what comes down; a byte can change its state."""

    STATES = {  # noqa: RUF012
        b"H": FilterState.HOLD,
        b"R": FilterState.RELAY,
        b"T": FilterState.TUNNEL,
        b"N": FilterState.NEXT,
        b"C": FilterState.CLOSE,
        b"A": FilterState.ABORT,
    }

    def __init__(self) -> None:
        self.client_ended = False
        self.upstream_ended = False
        self.failure: NeosocksdError | None = None
        self.state = FilterState.RELAY
        self.failed = False
        self.last_words = b""
        """What it says to the client beyond what comes from the upstream."""
        self._to_client = b""
        self._to_upstream = b""

    def from_client(self, data: bytes) -> None:
        if data == b"crash":
            raise ZeroDivisionError
        self._to_upstream += data.upper()
        self.upstream_ended |= not data

    def from_upstream(self, data: bytes) -> None:
        if data[-1:] in self.STATES:
            self.state = self.STATES[data[-1:]]
            data = data[:-1]
        self._to_client += data.lower() + self.last_words
        self.client_ended |= not data and self.state is FilterState.RELAY

    def upstream_failed(self) -> None:
        self.failed = True
        self.state = FilterState.ABORT

    def to_client(self) -> bytes:
        data, self._to_client = self._to_client, b""
        return data

    def to_upstream(self) -> bytes:
        data, self._to_upstream = self._to_upstream, b""
        return data


class Joined:
    """What a test plays with: both ends, the filter, and what became of it."""

    def __init__(self, client: Connection, upstream: Connection, stream_filter: Upper) -> None:
        self.client = client
        self.upstream = upstream
        self.filter = stream_filter
        self.outcomes: list[Outcome] = []
        self.errors: list[BaseException] = []
        self.finished = threading.Event()
        self.relay: Any = None

    def outcome(self) -> Outcome:
        assert self.finished.wait(10)
        [outcome] = self.outcomes
        return outcome


def play(
    script: Callable[[Joined], None],
    early: tuple[bytes, bytes] = (b"", b""),
    backend: Backend = "auto",
    receive_buffer: int = 0,
) -> None:
    """Run *script* in a thread while the relay runs on a loop."""

    def ends() -> tuple[Client, socket.socket]:
        with Peer(receive_buffer=receive_buffer) as peer:
            outside = Client(peer.address, receive_buffer=receive_buffer)
            inside = peer.accept().socket
            inside.setblocking(False)
            return outside, inside

    async def main() -> None:
        client_out, client = ends()
        upstream_out, upstream = ends()
        joined = Joined(client_out, upstream_out, Upper())
        async with open_reactor() as reactor:
            closer = Closer(reactor)

            def finish(outcome: Outcome) -> None:
                joined.outcomes.append(outcome)
                watch.close()  # which is still open after a TUNNEL
                for sock in (client, upstream):
                    if outcome is Outcome.ABORT:
                        reset(sock)
                    else:
                        sock.close()
                joined.finished.set()

            watch = reactor.watch(client.fileno(), READ, lambda events: None)
            relay = FilterRelay(
                reactor, client, watch, upstream, joined.filter, finish, joined.errors.append
            )
            joined.relay = relay
            relay.start(*early)
            try:
                with client_out, upstream_out:
                    await anyio.to_thread.run_sync(script, joined)
            finally:
                if not joined.finished.is_set():
                    relay.abort()
                closer.close()

    run_async(main, backend)


def test_bytes_pass_the_filter_both_ways_early_ones_first(backend: Backend) -> None:
    def script(joined: Joined) -> None:
        joined.upstream.expect(b"EARLY")
        joined.client.expect(b"GREETING")  # that the dialer has decoded already
        joined.client.send(b"more")
        joined.upstream.expect(b"MORE")
        joined.upstream.send(b"ANSWERx")
        joined.client.expect(b"answerx")

    play(script, (b"early", b"GREETING"), backend)


def test_half_closes_pass_and_after_both_it_is_over(backend: Backend) -> None:
    def script(joined: Joined) -> None:
        joined.client.finish()
        joined.upstream.expect_eof()
        joined.upstream.send(b"LATEx")
        joined.client.expect(b"latex")
        joined.upstream.finish()
        joined.client.expect_eof()
        assert joined.outcome() is Outcome.CLOSE

    play(script, backend=backend)


@pytest.mark.parametrize(
    ("byte", "outcome"),
    [(b"T", Outcome.TUNNEL), (b"N", Outcome.NEXT), (b"C", Outcome.CLOSE), (b"A", Outcome.ABORT)],
)
def test_a_state_is_acted_on_once_what_is_queued_has_been_sent(
    byte: bytes, outcome: Outcome
) -> None:
    def script(joined: Joined) -> None:
        joined.upstream.send(b"LASTx" + byte)
        joined.client.expect(b"lastx")
        assert joined.outcome() is outcome

    play(script)


def test_a_client_that_breaks_ends_it(backend: Backend) -> None:
    def script(joined: Joined) -> None:
        joined.client.reset()
        assert joined.outcome() is Outcome.ABORT
        joined.upstream.expect_reset()

    play(script, backend=backend)


def test_an_upstream_that_breaks_is_the_filters_affair() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.reset()
        assert joined.outcome() is Outcome.ABORT
        assert joined.filter.failed

    play(script)


def test_a_filter_that_raises_ends_it_and_is_reported() -> None:
    def script(joined: Joined) -> None:
        joined.client.send(b"crash")
        assert joined.outcome() is Outcome.ABORT
        assert [type(error) for error in joined.errors] == [ZeroDivisionError]
        joined.client.expect_reset()

    play(script)


def test_a_peer_that_does_not_read_stops_the_other_and_little_waits_for_it() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.socket.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += joined.upstream.socket.send(b"x" * 65536)
        assert len(joined.relay.client.queued) <= 2 * 65536
        assert joined.client.receive(sent) == b"x" * sent

    play(script, receive_buffer=4096)


def test_a_client_is_left_unread_as_long_as_the_filter_says() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.send(b"WAITH")
        joined.client.expect(b"wait")
        joined.client.socket.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += joined.client.socket.send(b"x" * 65536)
        assert joined.relay.counts() == (0, 4)
        joined.upstream.send(b"GO ONR")
        assert joined.upstream.receive(sent) == b"X" * sent
        joined.client.expect(b"go on")

    play(script, receive_buffer=4096)


def test_what_comes_with_the_end_of_an_exchange_is_left_unread() -> None:
    def script(joined: Joined) -> None:
        def send_at_once() -> None:  # on the loop, which then hears of both in one batch
            joined.filter.last_words = b"x" * (1 << 23)
            joined.upstream.send(b"N")
            joined.client.send(b"the next request")

        anyio.from_thread.run_sync(send_at_once)
        with suppress(ConnectionResetError):  # for its next request, which nobody takes here
            while joined.client.socket.recv(1 << 16):
                pass
        assert joined.outcome() is Outcome.NEXT
        joined.upstream.expect_eof()

    play(script)


def test_a_client_that_is_left_unread_costs_nothing_when_it_breaks_and_is_found_out_later() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.send(b"WAITH")
        joined.client.expect(b"wait")
        joined.client.reset()
        joined.upstream.send(b"GO ONR")
        assert joined.outcome() is Outcome.ABORT

    play(script)


def test_a_backlog_is_delivered_although_the_sender_has_gone() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.socket.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += joined.upstream.socket.send(b"x" * 65536)
        joined.client.finish()
        joined.upstream.close()
        assert joined.client.receive(sent) == b"x" * sent
        joined.client.expect_closed()
        joined.outcome()

    play(script, receive_buffer=4096)


def test_a_sender_that_breaks_behind_a_backlog_is_not_read_into_memory() -> None:
    def script(joined: Joined) -> None:
        joined.upstream.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                joined.upstream.socket.send(b"x" * 65536)
        joined.upstream.reset()
        joined.client.receive(100)
        assert len(joined.relay.client.queued) <= 2 * 65536
        with pytest.raises(ConnectionResetError):
            while joined.client.socket.recv(1 << 20):
                assert len(joined.relay.client.queued) <= 2 * 65536
        assert joined.outcome() is Outcome.ABORT

    play(script, receive_buffer=4096)


def test_an_abort_from_outside_is_an_abort() -> None:
    def script(joined: Joined) -> None:
        pass

    play(script)
