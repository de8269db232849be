"""Which frontend listens where: the plan that the settings and the frontends make together, and the sockets it is bound to."""

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from neosocksd_core.addresses import UNIX_PREFIX, Address, SocketAddress, parse_listen_address
from neosocksd_core.errors import ConfigurationError, ListenError
from neosocksd_core.listener import bind, bind_unix, set_transparent
from neosocksd_core.protocols import Claim, Frontend
from neosocksd_core.services import ControlListener
from neosocksd_core.settings import Settings
from neosocksd_core.shared_port import SharedPort
from neosocksd_core.sockets import ListeningSocket

DEFAULT_LISTEN = "127.0.0.1:1080"


@dataclass(frozen=True, slots=True)
class Place:
    """An address as it is written in the settings, and who serves the clients that come there."""

    address: str
    frontend: Frontend | ControlListener
    number: int = 0
    """Tells several places on ports of the system's choice (``127.0.0.1:0`` twice) apart."""
    transparent: bool = False
    """Connections to other addresses are taken, too, that the system diverts here."""


def plan(
    settings: Settings,
    frontends: Sequence[Frontend],
    controls: Sequence[ControlListener] = (),
) -> list[Place]:
    """Who listens where.

    :raises ConfigurationError: where two frontends want the core's listeners, none does, or an address stands twice.
    """
    places = [Place(address, f) for f in frontends for address in f.listen]
    if settings.shared_listen:
        shared = SharedPort(frontends)
        places += [Place(address, shared) for address in settings.shared_listen]
    if settings.listen or not places:
        claimant = _claimant(frontends)
        addresses = settings.listen or (DEFAULT_LISTEN,)
        transparent = settings.transparent
        places = [Place(a, claimant, transparent=transparent) for a in addresses] + places
    places += [Place(address, control) for control in controls for address in control.listen]
    seen: dict[str, Place] = {}
    places = [replace(place, number=number) for number, place in _numbered(places)]
    for place in places:
        other = seen.setdefault(place.address, place)
        if other is not place and not place.address.endswith(":0"):
            names = dict.fromkeys(repr(p.frontend.name) for p in (other, place))
            twice = (
                "stands there twice" if len(names) == 1 else f"is wanted by {' and '.join(names)}"
            )
            raise ConfigurationError(f"listen: {place.address} {twice}")
    return places


def _numbered(places: Sequence[Place]) -> Iterator[tuple[int, Place]]:
    """*places*, each with how many before it look the same."""
    counts: Counter[str] = Counter()
    for place in places:
        yield counts[_key(place)], place
        counts[_key(place)] += 1


def _claimant(frontends: Sequence[Frontend]) -> Frontend:
    for claim in (Claim.EXPLICIT, Claim.DEFAULT):
        found = [f for f in frontends if f.claim is claim]
        if len(found) > 1:
            names = " and ".join(repr(f.name) for f in found)
            raise ConfigurationError(f"listen: {names} both want it")
        if found:
            return found[0]
    raise ConfigurationError("listen: no plugin serves it (is socks5 disabled?)")


class BoundSockets:
    """The listening sockets of a server, by the place that each was bound for.

    A place keeps its sockets over a reload even where another frontend serves it from then on; only places on a port
    of the system's choice (``:0``) are told apart by their frontend.
    """

    def __init__(self) -> None:
        self._sockets: dict[str, list[socket.socket]] = {}

    def rebind(self, places: Sequence[Place], settings: Settings) -> None:
        """Bind what is new in *places*; what is no longer there can then be taken by :meth:`release`.

        A new address may overlap one that is no longer there (``0.0.0.0:1080`` after ``127.0.0.1:1080``): both listen until the
        old one is closed, so that no client is turned away meanwhile.

        :raises ListenError: naming the address; what had been newly bound is closed again.
        """
        fresh: dict[str, list[socket.socket]] = {}
        gone = self._gone(places)
        try:
            for place in places:
                if _key(place) not in self._sockets:
                    fresh[_key(place)] = _bind_beside(place, settings, gone)
            # Last, for it changes sockets that stay in use where a new one cannot be bound.
            for place in places:
                _set_transparent(place, self._sockets.get(_key(place), ()))
        except ListenError:
            close_listeners(sock for sockets in fresh.values() for sock in sockets)
            raise
        self._sockets.update(fresh)

    def adopt(self, places: Sequence[Place], ready: Mapping[str, socket.socket]) -> None:
        """Take listening sockets that somebody else has opened, each for the place of its address; they are ours from then on.

        :raises ListenError: naming the address, where there is no such place, or the socket cannot serve it; then none is taken.
        """
        keys = {place.address: _key(place) for place in places}
        for address, sock in ready.items():
            if address not in keys:
                raise ListenError(f"cannot listen on {address}: it is in no setting")
            if keys[address] in self._sockets:
                raise ListenError(f"cannot listen on {address}: it is bound already")
            is_unix = sock.family == socket.AF_UNIX
            if not _listens(sock) or is_unix != address.startswith(UNIX_PREFIX):
                raise ListenError(f"cannot listen on {address}: that is no listening socket for it")
        for address, sock in ready.items():
            taken = ListeningSocket(sock.family, sock.detach())
            taken.setblocking(False)
            self._sockets[keys[address]] = [taken]

    def release(self, places: Sequence[Place]) -> list[socket.socket]:
        """Forget the sockets that *places* no longer names, and return them, still open."""
        gone = self._gone(places)
        self._sockets = {
            key: sockets for key, sockets in self._sockets.items() if sockets[0] not in gone
        }
        return gone

    def _gone(self, places: Sequence[Place]) -> list[socket.socket]:
        kept = {_key(place) for place in places}
        return [
            sock for key, sockets in self._sockets.items() if key not in kept for sock in sockets
        ]

    def at(self, place: Place) -> Sequence[socket.socket]:
        """The sockets of one place."""
        return self._sockets.get(_key(place), ())

    def addresses(self) -> list[SocketAddress]:
        """Where they are bound, but for Unix sockets."""
        sockets = [sock for sockets in self._sockets.values() for sock in sockets]
        return [sock.getsockname() for sock in sockets if sock.family != socket.AF_UNIX]

    def names(self) -> list[str]:
        """Where they are bound, for a person."""
        unix = [key for key in self._sockets if key.startswith(UNIX_PREFIX)]
        return [str(Address(host, port)) for host, port, *_ in self.addresses()] + unix

    def give_to(self, uid: int) -> None:
        """Make *uid* their owner: the system lets addresses overlap at a reload only where one user has both sockets.

        :raises OSError: where the system refuses that.
        """
        for sockets in self._sockets.values():
            for sock in sockets:
                os.fchown(sock.fileno(), uid, -1)

    def close(self) -> None:
        """Close them all."""
        close_listeners(self.release(()))


def close_listeners(sockets: Iterable[socket.socket]) -> None:
    """Close listening sockets; the file of a Unix socket goes with it."""
    for sock in sockets:
        owns_path = not isinstance(sock, ListeningSocket) or sock.owns_path
        if sock.family == socket.AF_UNIX and sock.fileno() >= 0 and owns_path:
            Path(sock.getsockname()).unlink(missing_ok=True)
        sock.close()


def _listens(sock: socket.socket) -> bool:
    if sock.fileno() < 0 or sock.type != socket.SOCK_STREAM:
        return False
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _bind_beside(
    place: Place, settings: Settings, gone: Sequence[socket.socket]
) -> list[socket.socket]:
    """Bind *place*, even where sockets of our own that are about to be closed are in its way."""
    try:
        return _bind(place, settings)
    except ListenError as error:
        cause = error.__cause__
        in_the_way = _on_port_of(place.address, gone)
        if not in_the_way or not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
            raise
    fresh: list[socket.socket] = []
    try:
        _set_reuseport(in_the_way, True)
        fresh = _bind(place, settings.model_copy(update={"reuseport": True}))
    finally:
        _set_reuseport([*in_the_way, *fresh], settings.reuseport)
    return fresh


def _on_port_of(address: str, sockets: Iterable[socket.socket]) -> list[socket.socket]:
    if address.startswith(UNIX_PREFIX):
        return []
    port = parse_listen_address(address).port
    return [s for s in sockets if s.family != socket.AF_UNIX and s.getsockname()[1] == port]


def _set_reuseport(sockets: Iterable[socket.socket], value: bool) -> None:
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, value)


def _set_transparent(place: Place, sockets: Iterable[socket.socket]) -> None:
    """Have sockets that are kept take what the system diverts, or no longer.

    :raises ListenError: if that is not allowed.
    """
    try:
        for sock in sockets:
            set_transparent(sock, place.transparent)
    except OSError as error:
        raise ListenError(f"cannot listen on {place.address}: {error.strerror}") from error


def _bind(place: Place, settings: Settings) -> list[socket.socket]:
    if place.address.startswith(UNIX_PREFIX):
        return [bind_unix(place.address.removeprefix(UNIX_PREFIX))]
    return bind(parse_listen_address(place.address), settings, place.transparent)


def _key(place: Place) -> str:
    is_any_port = place.address.endswith(":0")
    if is_any_port:
        return f"{place.address} {place.frontend.name} {place.number}"
    return place.address
