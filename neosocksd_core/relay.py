"""The relay: joins two sockets, both ways, until both have ended.

A half-close is passed on as a half-close, a reset as a reset. An idle relay holds no task, no buffer and no pipe: bytes go through a pipe by
``splice`` without being copied to this process, or, where the system has no splice, through one buffer that all relays share.
"""

import os
import socket
from collections.abc import Callable

from neosocksd_core.closing import Closer
from neosocksd_core.pipes import HAS_SPLICE, PIPE_SIZE, Pipe, PipePool
from neosocksd_core.poller import HANGUP, READ, WRITE
from neosocksd_core.reactor import Reactor, Watch

BUFFER_SIZE = 1 << 18

_SPLICE_FLAGS = (
    (getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)) if HAS_SPLICE else 0
)


class Movers:
    """What all relays of a server share: the reactor, and the means to move bytes."""

    def __init__(self, reactor: Reactor, closer: Closer, use_splice: bool) -> None:
        self.reactor = reactor
        self.closer = closer
        self.pipes = PipePool(use_splice and HAS_SPLICE)
        self.buffer = bytearray()
        """For bytes that are copied, once there are any."""

    def close(self) -> None:
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

    @property
    def is_waiting(self) -> bool:
        """Something was read that the sink has not taken."""
        return self.pipe is not None or bool(self.unsent)

    def drop(self) -> None:
        """Give up what waits."""
        self.unsent = b""
        self.in_pipe = 0
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None


class Relay:
    """Joins a client's and an upstream's socket. Calls *finish* once, with True where both sides ended in order.

    After that both sockets are closed.
    """

    __slots__ = ("_client", "_finish", "_is_broken", "_movers", "_upstream", "down", "up")

    def __init__(
        self,
        movers: Movers,
        client: socket.socket,
        watch: Watch,
        upstream: socket.socket,
        finish: Callable[[bool], None],
    ) -> None:
        """*watch* is the client's, which is the relay's from now on; the upstream's socket is not watched yet."""
        self._movers = movers
        self._finish = finish
        self._is_broken = False
        self.up = Flow(client, upstream)
        self.down = Flow(upstream, client)
        self._client = watch
        watch.callback = self._on_client
        watch.want(READ)
        self._upstream = movers.reactor.watch(upstream.fileno(), READ, self._on_upstream)

    def start(self, early_up: bytes, early_down: bytes) -> None:
        """Send first what came early from either side."""
        if early_up or early_down:
            self.up.unsent = early_up
            self.down.unsent = early_down
            if self._write(self.up) and self._write(self.down):
                self._update()

    def counts(self) -> tuple[int, int]:
        """Bytes relayed so far, up and down."""
        return self.up.count, self.down.count

    def abort(self) -> None:
        """Reset both connections."""
        self._end(orderly=False)

    def _on_client(self, events: int) -> None:
        if events == READ:
            self._read(self.up)
        else:
            self._serve(events, self._client, self.up, self.down)

    def _on_upstream(self, events: int) -> None:
        if events == READ:
            self._read(self.down)
        else:
            self._serve(events, self._upstream, self.down, self.up)

    def _serve(self, events: int, watch: Watch, incoming: Flow, outgoing: Flow) -> None:
        """A socket has more than data: *incoming* is the flow that reads it, *outgoing* the one that writes it."""
        if events & WRITE:
            if not self._write(outgoing):
                return
            self._update()
        if not events & ~WRITE:
            return
        if incoming.ended:
            if events & HANGUP:
                self._end(orderly=False)
        elif incoming.is_waiting:
            # The source broke while it is not being read: what was read before is delivered, then reading finds out.
            if events & HANGUP:
                watch.rest()
        else:
            self._read(incoming)

    def _read(self, flow: Flow) -> None:
        """Move what the source has; nothing of it waits."""
        pipes = self._movers.pipes
        pipe = pipes.take()
        if pipe is None:
            self._copy(flow)
            return
        try:
            got = os.splice(flow.source.fileno(), pipe.write, PIPE_SIZE, None, None, _SPLICE_FLAGS)
        except BlockingIOError:
            pipes.give_back(pipe)
            return
        except OSError:
            pipes.give_back(pipe)
            self._end(orderly=False)
            return
        if not got:
            pipes.give_back(pipe)
            self._source_ended(flow)
            return
        try:
            sent = os.splice(pipe.read, flow.sink.fileno(), got, None, None, _SPLICE_FLAGS)
        except BlockingIOError:
            sent = 0
        except OSError:
            pipe.close()
            self._sink_broke(flow)
            return
        flow.count += sent
        if sent == got:
            pipes.give_back(pipe)
        else:
            flow.pipe = pipe
            flow.in_pipe = got - sent
            self._update()

    def _copy(self, flow: Flow) -> None:
        buffer = self._movers.buffer
        if not buffer:
            buffer.extend(bytes(BUFFER_SIZE))
        try:
            got = flow.source.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            self._end(orderly=False)
            return
        if not got:
            self._source_ended(flow)
            return
        try:
            with memoryview(buffer) as view:
                sent = flow.sink.send(view[:got])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._sink_broke(flow)
            return
        flow.count += sent
        if sent < got:
            flow.unsent = bytes(buffer[sent:got])
            self._update()

    def _write(self, flow: Flow) -> bool:
        """Write what waits for the sink; False if that ended the relay."""
        try:
            if flow.unsent:
                sent = flow.sink.send(flow.unsent)
                flow.count += sent
                flow.unsent = flow.unsent[sent:]
            if flow.pipe is not None and not flow.unsent:
                sent = os.splice(
                    flow.pipe.read, flow.sink.fileno(), flow.in_pipe, None, None, _SPLICE_FLAGS
                )
                flow.count += sent
                flow.in_pipe -= sent
                if not flow.in_pipe:
                    self._movers.pipes.give_back(flow.pipe)
                    flow.pipe = None
        except BlockingIOError:
            return True
        except OSError:
            return self._sink_broke(flow)
        return True

    def _sink_broke(self, flow: Flow) -> bool:
        """The sink takes no more; what it sent before it broke is still delivered. False if there is nothing of that."""
        self._is_broken = True
        if self.up.ended or self.down.ended:
            self._end(orderly=False)
            return False
        flow.ended = True
        flow.drop()
        self._update()
        return True

    def _source_ended(self, flow: Flow) -> None:
        """Pass the end on; both directions ended are the end of the relay."""
        flow.ended = True
        if self.up.ended and self.down.ended:
            self._end(orderly=not self._is_broken)
            return
        try:
            flow.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._is_broken = True
        if flow is self.up:
            self._client.want(_needs(self.up, self.down))
        else:
            self._upstream.want(_needs(self.down, self.up))

    def _update(self) -> None:
        """Watch each socket for what its two flows need of it."""
        self._client.want(_needs(self.up, self.down))
        self._upstream.want(_needs(self.down, self.up))

    def _end(self, orderly: bool) -> None:
        self._client.close()
        self._upstream.close()
        client, upstream = self.up.source, self.down.source
        if orderly:
            client.close()
            upstream.close()
        else:
            self.up.drop()
            self.down.drop()
            self._movers.closer.reset(client)
            self._movers.closer.reset(upstream)
        self._finish(orderly)


def _needs(incoming: Flow, outgoing: Flow) -> int:
    """The events that a socket is to be watched for which *incoming* reads and *outgoing* writes."""
    events = 0 if incoming.ended or incoming.is_waiting else READ
    return events | WRITE if outgoing.is_waiting else events
