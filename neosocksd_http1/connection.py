"""What server and client machine have in common: buffering, bodies, faults, the end of a cycle.

Each machine has two sides, and each side goes its own way through one cycle, a request and its
response; after a tunnel is granted (CONNECT, upgrade) what follows is no HTTP::

    IDLE ──head──▶ BODY ──end──▶ DONE ──next cycle──▶ IDLE
     │              │              │
     │ end of       │ anything     └──tunnel granted──▶ SWITCHED
     ▼ stream       ▼ wrong
    CLOSED         FAULTY

After a fault of the peer its side is FAULTY; a server may still answer. When both sides are DONE
and neither asked for the connection to be closed, the machine is reusable.
"""

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import ClassVar, Final, Generic, Literal, TypeVar

from .bodies import BodyReader, body_reader
from .buffer import Buffer
from .errors import LocalProtocolError, RemoteProtocolError
from .events import NEED_DATA, PAUSED, ConnectionClosed, Data, EndOfMessage, Wait
from .framing import NO_BODY, Framing
from .headers import Headers
from .limits import Limits
from .writer import BodyWriter

HeadT = TypeVar("HeadT")


class State(Enum):
    """Where one side of a machine stands."""

    IDLE = auto()
    BODY = auto()
    DONE = auto()
    SWITCHED = auto()
    CLOSED = auto()
    FAULTY = auto()


# CPython 3.11 takes long to find a member in its enumeration, and a cycle asks for two dozen.
IDLE: Final = State.IDLE
BODY: Final = State.BODY
DONE: Final = State.DONE
SWITCHED: Final = State.SWITCHED
CLOSED: Final = State.CLOSED
FAULTY: Final = State.FAULTY


class Connection(ABC, Generic[HeadT]):
    """The common half of the two machines."""

    _fault_status: ClassVar[int | None] = None

    def __init__(self, limits: Limits) -> None:
        """Start the first cycle."""
        self._limits = limits
        self._buffer = Buffer()
        self._ended = False
        self._fault: RemoteProtocolError | None = None
        self._reading = IDLE
        self._writing = IDLE
        self._body: BodyReader = body_reader(NO_BODY, limits)
        self._framing: Framing = NO_BODY
        self._writer = BodyWriter(NO_BODY)
        self._keep_alive = True

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Never fails because of what they are.

        They are kept until they are read: who goes on feeding a machine that says PAUSED must bound
        that himself, see :attr:`buffered`.

        :raises LocalProtocolError: the stream was said to have ended.
        """
        if self._ended:
            raise LocalProtocolError("fed after the end of the stream")
        if data:
            self._buffer.feed(data)

    def feed_eof(self) -> None:
        """Take notice that the peer sends nothing more."""
        self._ended = True

    def next_event(self) -> HeadT | Data | EndOfMessage | ConnectionClosed | Wait:
        """Read the next event.

        :raises RemoteProtocolError: what came is not HTTP; asked again, it says so again.
        """
        if self._fault is not None:
            raise RemoteProtocolError(self._fault.message, self._fault.status)
        try:
            reading = self._reading
            if reading is IDLE:
                return self._read_head()
            if reading is BODY:
                event = self._body.next_event(self._buffer, self._ended)
                if isinstance(event, EndOfMessage):
                    self._reading = DONE
                return event
            return ConnectionClosed() if reading is CLOSED else PAUSED
        except RemoteProtocolError as fault:
            if self._fault_status is not None:
                fault.status = self._fault_status
            self._fault = fault
            self._reading = FAULTY
            raise

    def finish(self, data: bytes = b"") -> bytes:
        """Write the last *data* of the body, and its end; return the bytes for the peer.

        :raises LocalProtocolError: no body is due, or it has not the length that was announced.
        """
        if self._writing is not BODY:
            raise LocalProtocolError("no body is due")
        end = self._writer.data(data) + self._writer.end()
        self._writing = DONE
        return end

    def trailing_data(self) -> bytes:
        """Remove and return what was fed and not read.

        After CONNECT or an upgrade these are the first bytes of the tunnel.
        """
        return self._buffer.take(len(self._buffer))

    @property
    def buffered(self) -> int:
        """Number of bytes that were fed and not read."""
        return len(self._buffer)

    @property
    def reading(self) -> State:
        """Where the peer's side stands."""
        return self._reading

    @property
    def writing(self) -> State:
        """Where our side stands."""
        return self._writing

    @property
    def framing(self) -> Framing:
        """The framing of the body that the peer sends in this cycle."""
        return self._framing

    @property
    def sent_framing(self) -> Framing:
        """The framing of the body that we send in this cycle."""
        return self._writer.framing

    @property
    def reusable(self) -> bool:
        """The cycle is over and another one may follow."""
        return self._reading is DONE and self._writing is DONE and self._keep_alive

    def start_next_cycle(self) -> None:
        """Make ready for the next request and its response. Pipelined bytes are kept.

        :raises LocalProtocolError: the machine is not :attr:`reusable`.
        """
        if not self.reusable:
            raise LocalProtocolError("the cycle is not over, or the connection is to be closed")
        self._reading = self._writing = IDLE
        self._framing = NO_BODY

    @abstractmethod
    def _read_head(self) -> HeadT | ConnectionClosed | Literal[Wait.NEED_DATA]:
        """Read the head of the peer's next message."""

    def _begin_body(self, framing: Framing) -> None:
        self._body = body_reader(framing, self._limits)
        self._framing = framing
        self._reading = BODY

    def _switch(self) -> None:
        self._reading = self._writing = SWITCHED

    def _close_at_end(self) -> Literal[Wait.NEED_DATA] | ConnectionClosed:
        """Answer for a side that is idle and has nothing to read."""
        if not self._ended:
            return NEED_DATA
        self._reading = CLOSED
        return ConnectionClosed()

    def _write_body(self, event: Data | EndOfMessage) -> bytes:
        if self._writing is not BODY:
            raise LocalProtocolError("no body is due")
        if isinstance(event, Data):
            return self._writer.data(event.data)
        end = self._writer.end(event.trailers)
        self._writing = DONE
        return end


def wants_close(headers: Headers) -> bool:
    """Tell whether the sender closes the connection after this message (RFC 9112 section 9.6)."""
    return b"close" in headers.tokens(b"connection")
