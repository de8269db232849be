"""The frontend ``transparent``: each connection goes to where it was made to, which is the address at which it has reached us."""

from neosocksd_core import Address, Claim, ClientConnection
from neosocksd_forward.frontend import ForwardHandshake, request_for


class TransparentFrontend:
    """Takes the core's ``listen`` explicitly."""

    name = "transparent"
    claim = Claim.EXPLICIT
    listen = ()
    first_bytes = ()

    __slots__ = ()

    def handshake(self, connection: ClientConnection) -> ForwardHandshake:
        """A new machine."""
        host, port, *_ = connection.local
        return ForwardHandshake(request_for(Address(host, port), self.name))
