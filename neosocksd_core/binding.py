"""Listening for the one connection that a client expects from its peer (BIND of RFC 1928 section 4).

It runs in callbacks and finishes exactly once. How long the peer may take is the session's to say, which cancels it.
"""

import socket
from collections.abc import Callable
from logging import Logger

from neosocksd_core.addresses import Address, SocketAddress, pack_ip
from neosocksd_core.connect import error_of
from neosocksd_core.containment import contained
from neosocksd_core.dial import Dialling
from neosocksd_core.errors import DialError
from neosocksd_core.log import escape
from neosocksd_core.policy import unmap
from neosocksd_core.poller import READ
from neosocksd_core.reactor import Watch
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Upstream
from neosocksd_core.resolver import Lookup, LookupResult
from neosocksd_core.sockets import EXHAUSTED, bind_to_port, family_of

_BACKLOG = 8
_ANY_PORT = 9
"""Which port is meant makes no difference to the way that a packet takes."""


class Binding:
    """One wait for one peer: look it up, listen where it can reach us, take its connection.

    Calls *listening* once with the address, then *finish* with the connection, whose ``bound`` is the peer's address, or with why
    there is none.
    """

    __slots__ = (
        "_expected",
        "_finish",
        "_has_warned",
        "_listening",
        "_local",
        "_log",
        "_lookup",
        "_ports",
        "_shared",
        "_socket",
        "_target",
        "_watch",
    )

    def __init__(
        self,
        shared: Dialling,
        target: Address,
        local: SocketAddress,
        ports: range | None,
        log: Logger,
        listening: Callable[[SocketAddress], None],
        finish: Callable[[Upstream | DialError], None],
    ) -> None:
        """*local* is the address at which the client has reached us: where we listen for a peer that may be anybody; *ports* are those
        that we may listen on.
        """
        self._shared = shared
        self._target = target
        self._local = local
        self._ports = ports
        self._log = log
        self._listening = listening
        self._finish: Callable[[Upstream | DialError], None] | None = finish
        self._expected: tuple[bytes, ...] = ()
        """The addresses that the peer may come from, none where it may be anybody."""
        self._lookup: Lookup | None = None
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        self._has_warned = False

    def start(self) -> None:
        """Begin. *listening* and *finish* may be called before this returns."""
        host, names = self._target.host, self._shared.names
        known = names.known(host)
        if known is not None:
            self._on_resolved(known)
        else:
            self._lookup = names.look_up(host, self._on_resolved)

    def cancel(self) -> None:
        """Give up without a word; nothing stays open."""
        self._finish = None
        self._release()

    def crash(self, error: BaseException) -> None:
        """What ought to raise nothing has raised: a resolver's answer, say."""
        self._shared.report(error, f"waiting for {self._name()}")
        self._end(DialError(Reason.GENERAL_FAILURE, f"{self._target}: internal error"))

    @contained
    def _on_resolved(self, result: LookupResult) -> None:
        self._lookup = None
        if isinstance(result, DialError):
            self._end(result)
            return
        packed = [unmap(ip) for host in result if (ip := pack_ip(host)) is not None]
        self._expected = tuple(ip for ip in packed if any(ip))
        if not all(map(self._shared.policy.permits, self._expected)):
            self._end(DialError(Reason.NOT_ALLOWED, f"{self._target} is blocked"))
            return
        try:
            self._listen()
        except OSError as error:
            self._end(error_of(error.errno or 0, f"waiting for {self._target}"))

    def _listen(self) -> None:
        shared = self._shared
        local = self._local_towards(self._expected[0]) if self._expected else self._local
        sock = self._socket = socket.socket(family_of(local[0]), socket.SOCK_STREAM)
        sock.setblocking(False)
        # A port stays in use for a while by what came to it before.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in shared.options:
            sock.setsockopt(*option)
        bind_to_port(sock, local, self._ports)
        sock.listen(_BACKLOG)
        self._watch = shared.reactor.watch(sock.fileno(), READ, self._on_readable)
        self._listening(sock.getsockname())

    def _local_towards(self, packed: bytes) -> SocketAddress:
        """Our address on the way to another one.

        :raises OSError: if there is no way.
        """
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            for option in self._shared.datagram_options:
                probe.setsockopt(*option)
            probe.connect((socket.inet_ntop(family, packed), _ANY_PORT))
            address: SocketAddress = probe.getsockname()
            return address

    @contained
    def _on_readable(self, events: int) -> None:
        assert self._socket is not None
        try:
            sock, peer = self._socket.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:  # the connection would be reported again and again
                self._end(error_of(error.errno or 0, f"waiting for {self._target}"))
            return  # else it was gone before it was taken
        sock.setblocking(False)
        packed, where = pack_ip(peer[0]) or b"", Address(peer[0], peer[1])
        if not self._shared.policy.permits(packed):
            sock.close()
            if not self._has_warned:  # strangers can come in any number
                self._has_warned = True
                self._log.warning(
                    "%s, which is blocked, has connected, %s is waited for", where, self._name()
                )
            return
        if self._expected and packed not in self._expected:
            self._log.warning("%s has connected where %s was waited for", where, self._name())
        self._end(Upstream(sock, where, (), peer))

    def _name(self) -> str:
        return escape(str(self._target))

    def _end(self, result: Upstream | DialError) -> None:
        finish, self._finish = self._finish, None
        self._release()
        if finish is not None:
            finish(result)
        elif isinstance(result, Upstream):
            result.close()

    def _release(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
