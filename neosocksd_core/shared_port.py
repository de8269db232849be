"""Several frontends on one port, told apart by the client's first byte."""

from collections.abc import Collection, Mapping, Sequence

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.errors import ConfigurationError, ProtocolError
from neosocksd_core.filters import Filter
from neosocksd_core.protocols import Claim, ClientConnection, Frontend, Handshake
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import HandshakeEvent


class SharedHandshake:
    """Hands everything to the handshake of the frontend that the first byte belongs to."""

    def __init__(self, frontends: Mapping[int, Frontend], connection: ClientConnection) -> None:
        self._frontends = frontends
        self._connection = connection
        self._chosen: Handshake | None = None
        self._is_unknown = False

    def receive_data(self, data: bytes) -> None:
        if self._chosen is None and data:
            frontend = self._frontends.get(data[0])
            if frontend is None:
                self._is_unknown = True
                return
            self._chosen = frontend.handshake(self._connection)
        if self._chosen is not None:
            self._chosen.receive_data(data)

    def next_event(self) -> HandshakeEvent | None:
        if self._is_unknown:
            raise ProtocolError("the first byte belongs to no protocol that is spoken here")
        return self._chosen.next_event() if self._chosen else None

    def data_to_send(self) -> bytes:
        return self._chosen.data_to_send() if self._chosen else b""

    def trailing_data(self) -> bytes:
        return self._chosen.trailing_data() if self._chosen else b""

    def judge(self, accepted: bool) -> None:
        if self._chosen:
            self._chosen.judge(accepted)

    def grant(self, bound: SocketAddress) -> Filter | None:
        return self._chosen.grant(bound) if self._chosen else None

    def reject(self, reason: Reason) -> None:
        if self._chosen:
            self._chosen.reject(reason)

    def expire(self) -> None:
        if self._chosen:
            self._chosen.expire()


class SharedPort:
    """The frontend of a shared port."""

    name = "shared"
    listen: Sequence[str] = ()
    claim = Claim.NONE
    first_bytes: Collection[int] = ()

    def __init__(self, frontends: Sequence[Frontend]) -> None:
        """Share one port among those of *frontends* that can be told by their first byte.

        :raises ConfigurationError: where there are none, or two want the same byte.
        """
        self._frontends: dict[int, Frontend] = {}
        for frontend in frontends:
            for byte in frontend.first_bytes:
                other = self._frontends.setdefault(byte, frontend)
                if other is not frontend:
                    raise ConfigurationError(
                        f"shared_listen: frontends {other.name!r} and {frontend.name!r} begin alike"
                    )
        if not self._frontends:
            raise ConfigurationError("shared_listen: no frontend can be told by its first byte")

    def handshake(self, connection: ClientConnection) -> Handshake:
        return SharedHandshake(self._frontends, connection)
