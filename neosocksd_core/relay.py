"""The relay: joins two sockets, both ways, until both have ended.

A half-close is passed on as a half-close, a reset as a reset. An idle relay holds no task, no buffer and no pipe: bytes go through a pipe by
``splice`` without being copied to this process, or, where the system has no splice, through one buffer that all relays share.
"""

import os
import socket
from collections.abc import Callable

from neosocksd_core.closing import Closer
from neosocksd_core.pipes import HAS_SPLICE, PIPE_SIZE, Pipe, PipePool
from neosocksd_core.reactor import HANGUP, READ, WRITE, Reactor

BUFFER_SIZE = 1 << 18

_SPLICE_FLAGS = (
    (getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)) if HAS_SPLICE else 0
)


class Movers:
    """What all relays of a server share: the reactor, and the means to move bytes."""

    def __init__(self, reactor: Reactor, closer: Closer, use_splice: bool) -> None:
        self.reactor = reactor
        self.closer = closer
        self.pipes = PipePool() if use_splice and HAS_SPLICE else None
        self.buffer = bytearray(0 if self.pipes is not None else BUFFER_SIZE)

    def close(self) -> None:
        if self.pipes is not None:
            self.pipes.close()


class Flow:
    """One direction: bytes from ``source`` to ``sink``.

    What has been read and not yet written waits in ``pipe`` (``in_pipe`` bytes of it) or in ``unsent``; while there is any,
    nothing more is read.
    """

    __slots__ = ("count", "ended", "in_pipe", "pipe", "sink", "source", "unsent")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.count = 0
        """Bytes that the sink has taken."""
        self.ended = False
        """The source has sent its end, and the sink has been told."""
        self.pipe: Pipe | None = None
        self.in_pipe = 0
        self.unsent = b""


class Relay:
    """Joins a client's and an upstream's socket. Calls *finish* once, with True where both sides ended in order.

    After that both sockets are closed.
    """

    __slots__ = (
        "_client_events",
        "_finish",
        "_is_broken",
        "_shared",
        "_upstream_events",
        "down",
        "up",
    )

    def __init__(
        self,
        shared: Movers,
        client: socket.socket,
        upstream: socket.socket,
        finish: Callable[[bool], None],
    ) -> None:
        self._shared = shared
        self._finish = finish
        self.up = Flow(client, upstream)
        self.down = Flow(upstream, client)
        # What they are watched for, -1 while they are not watched.
        self._client_events = READ
        self._upstream_events = READ
        self._is_broken = False

    def start(self, early_up: bytes, early_down: bytes) -> None:
        """Begin. The client's socket is watched for READ already, by another; the upstream's is not watched."""
        reactor = self._shared.reactor
        client, upstream = self.up.source, self.up.sink
        reactor.hand_over(client.fileno(), self._on_client)
        reactor.watch(upstream.fileno(), READ, self._on_upstream)
        if early_up or early_down:
            self.up.unsent = early_up
            self.down.unsent = early_down
            if self._write(self.up) and self._write(self.down):
                self._update()

    def abort(self) -> None:
        """Reset both connections."""
        self._end(orderly=False)

    def _on_client(self, events: int) -> None:
        self._serve(events, self.up, self.down)

    def _on_upstream(self, events: int) -> None:
        self._serve(events, self.down, self.up)

    def _serve(self, events: int, incoming: Flow, outgoing: Flow) -> None:
        """A socket has events: *incoming* is the flow that reads it, *outgoing* the one that writes it."""
        if events & WRITE and not self._write(outgoing):
            return
        if events & ~WRITE:
            if incoming.ended or incoming.in_pipe or incoming.unsent:
                if events & HANGUP:
                    self._on_broken(incoming)
                    return
            elif not self._read(incoming):
                return
        self._update()

    def _on_broken(self, incoming: Flow) -> None:
        """The source broke while it is not being read: deliver what was read before, then find out by reading."""
        if incoming.ended:
            self._end(orderly=False)
            return
        # Nothing can mask a hang-up, so the descriptor rests until it is wanted again.
        self._shared.reactor.unwatch(incoming.source.fileno())
        if incoming is self.up:
            self._client_events = -1
        else:
            self._upstream_events = -1

    def _read(self, flow: Flow) -> bool:
        """Move what the source has; False if that ended the relay."""
        pipes = self._shared.pipes
        if pipes is None:
            return self._read_copying(flow)
        try:
            pipe = pipes.take()
        except OSError:
            return self._read_copying(flow)
        try:
            got = os.splice(flow.source.fileno(), pipe.write, PIPE_SIZE, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            pipes.give_back(pipe)
            return True
        except OSError:
            pipes.give_back(pipe)
            self._end(orderly=False)
            return False
        if got == 0:
            pipes.give_back(pipe)
            return self._source_ended(flow)
        flow.pipe = pipe
        flow.in_pipe = got
        return self._write(flow)

    def _read_copying(self, flow: Flow) -> bool:
        buffer = self._shared.buffer
        if not buffer:
            buffer.extend(bytes(BUFFER_SIZE))
        try:
            got = flow.source.recv_into(buffer)
        except BlockingIOError:
            return True
        except OSError:
            self._end(orderly=False)
            return False
        if got == 0:
            return self._source_ended(flow)
        try:
            with memoryview(buffer) as view:
                sent = flow.sink.send(view[:got])
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._sink_broke(flow)
        flow.count += sent
        if sent < got:
            flow.unsent = bytes(buffer[sent:got])
        return True

    def _write(self, flow: Flow) -> bool:
        """Write what waits for the sink; False if that ended the relay."""
        try:
            if flow.unsent:
                sent = flow.sink.send(flow.unsent)
                flow.count += sent
                flow.unsent = flow.unsent[sent:]
            if flow.pipe is not None and not flow.unsent:
                sent = os.splice(
                    flow.pipe.read, flow.sink.fileno(), flow.in_pipe, flags=_SPLICE_FLAGS
                )
                flow.count += sent
                flow.in_pipe -= sent
                if not flow.in_pipe:
                    assert self._shared.pipes is not None
                    self._shared.pipes.give_back(flow.pipe)
                    flow.pipe = None
        except BlockingIOError:
            return True
        except OSError:
            return self._sink_broke(flow)
        return True

    def _sink_broke(self, flow: Flow) -> bool:
        """The sink takes no more; what it sent before it broke is still delivered. False if there is nothing of that."""
        other = self.down if flow is self.up else self.up
        self._is_broken = True
        if other.ended:
            self._end(orderly=False)
            return False
        flow.ended = True
        flow.unsent = b""
        flow.in_pipe = 0
        if flow.pipe is not None:
            flow.pipe.close()
            flow.pipe = None
        return True

    def _source_ended(self, flow: Flow) -> bool:
        """Pass the end on; False once both directions have ended."""
        flow.ended = True
        if self.up.ended and self.down.ended:
            self._end(orderly=not self._is_broken)
            return False
        try:
            flow.sink.shutdown(socket.SHUT_WR)
        except OSError:
            return self._sink_broke(flow)
        return True

    def _update(self) -> None:
        """Watch each socket for what its two flows need of it."""
        up, down = self.up, self.down
        reading_client = not (up.ended or up.in_pipe or up.unsent)
        reading_upstream = not (down.ended or down.in_pipe or down.unsent)
        client = (READ if reading_client else 0) | (WRITE if down.in_pipe or down.unsent else 0)
        upstream = (READ if reading_upstream else 0) | (WRITE if up.in_pipe or up.unsent else 0)
        if client != self._client_events:
            self._client_events = self._change(
                up.source, self._client_events, client, self._on_client
            )
        if upstream != self._upstream_events:
            self._upstream_events = self._change(
                up.sink, self._upstream_events, upstream, self._on_upstream
            )

    def _change(
        self, sock: socket.socket, before: int, events: int, callback: Callable[[int], None]
    ) -> int:
        if before >= 0:
            self._shared.reactor.change(sock.fileno(), events)
        elif events:
            self._shared.reactor.watch(sock.fileno(), events, callback)
        else:
            return before
        return events

    def _end(self, orderly: bool) -> None:
        reactor = self._shared.reactor
        for flow in (self.up, self.down):
            reactor.unwatch(flow.source.fileno())
            if flow.pipe is not None:
                flow.pipe.close()
                flow.pipe = None
            if orderly:
                flow.source.close()
            else:
                self._shared.closer.reset(flow.source)
        self._finish(orderly)
