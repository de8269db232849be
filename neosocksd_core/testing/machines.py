"""Feeding protocol machines, without sockets: in any pieces, and two of them against each other."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.errors import DialError, ProtocolError
from neosocksd_core.protocols import ClientHandshake, Handshake
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Answered, Authenticate, Connect, HandshakeEvent


@dataclass(slots=True)
class Fed:
    """What came of feeding a machine: its events, what it sent, its error, and what followed the message."""

    events: list[HandshakeEvent] = field(default_factory=list[HandshakeEvent])
    sent: bytes = b""
    error: ProtocolError | DialError | None = None
    trailing: bytes = b""


def feed(
    machine: Handshake,
    pieces: Iterable[bytes] | bytes,
    judge: Callable[[Authenticate], bool] | None = None,
) -> Fed:
    """Feed the server's side of a protocol, as a session would, up to the request, an answer of its own, or the error. Bytes alone are one piece.

    *judge* answers for the authenticator; without one, all credentials are good. Pieces that come after the
    request are what the session would keep, and stand in ``trailing``.
    """
    fed = Fed()
    asked = False
    for piece in _pieces(pieces):
        if asked or fed.error is not None or Answered() in fed.events:
            fed.trailing += piece
            continue
        machine.receive_data(piece)
        asked = _take_events(machine, fed, judge)
    if fed.error is None:
        fed.trailing = machine.trailing_data() + fed.trailing if asked else b""
    return fed


def _take_events(
    machine: Handshake, fed: Fed, judge: Callable[[Authenticate], bool] | None
) -> bool:
    """Ask for events until there is none; True once there is a request."""
    while True:
        try:
            event = machine.next_event()
        except ProtocolError as error:
            fed.error = error
            fed.sent += machine.data_to_send()
            return False
        fed.sent += machine.data_to_send()
        if event is None:
            return False
        fed.events.append(event)
        if not isinstance(event, Authenticate):
            return not isinstance(event, Answered)
        accepted = judge is None or judge(event)
        machine.judge(accepted)
        fed.sent += machine.data_to_send()
        if not accepted:
            fed.error = ProtocolError("credentials refused")
            return False


def feed_client(machine: ClientHandshake, pieces: Iterable[bytes] | bytes) -> Fed:
    """Feed the client's side of a protocol what the hop sends, until it is done or fails. Bytes alone are one piece."""
    fed = Fed(sent=machine.data_to_send())
    for piece in _pieces(pieces):
        if machine.done or fed.error is not None:
            fed.trailing += piece
            continue
        try:
            machine.receive_data(piece)
        except DialError as error:
            fed.error = error
        fed.sent += machine.data_to_send()
    if machine.done:
        fed.trailing = machine.trailing_data() + fed.trailing
    return fed


Answer = SocketAddress | Reason
"""How the request of a pair is answered: granted with our address towards the target, or refused."""

_BOUND: SocketAddress = ("192.0.2.1", 1025)


def pair(
    frontend: Handshake,
    dialer: ClientHandshake,
    *,
    answer: Answer = _BOUND,
    judge: Callable[[Authenticate], bool] | None = None,
    delivery: Callable[[bytes], Iterable[bytes]] = lambda data: (data,),
) -> Connect | None:
    """Let a frontend's machine and a dialer's talk until both are done; returns the request that the frontend saw.

    Each message goes through *delivery*.

    :raises DialError: as the dialer's machine does.
    :raises ProtocolError: as the frontend's machine does, once the dialer has seen the reply to it.
    """
    fed = Fed()
    failure: ProtocolError | None = None
    while True:
        to_frontend = dialer.data_to_send()
        for piece in delivery(to_frontend) if to_frontend else ():
            frontend.receive_data(piece)
            asked = failure is None and _take_events(frontend, fed, judge)
            if isinstance(fed.error, ProtocolError):
                failure = fed.error
            if asked and isinstance(answer, Reason):
                frontend.reject(answer)
            elif asked and not isinstance(answer, Reason):
                frontend.grant(answer)
        to_dialer, fed.sent = fed.sent + frontend.data_to_send(), b""
        for piece in delivery(to_dialer) if to_dialer else ():
            dialer.receive_data(piece)
        if not to_frontend and not to_dialer:
            break
    if failure is not None and not dialer.done:
        raise failure
    request = fed.events[-1] if fed.events else None
    return request if isinstance(request, Connect) else None


def _pieces(pieces: Iterable[bytes] | bytes) -> Iterable[bytes]:
    return (pieces,) if isinstance(pieces, bytes) else pieces
