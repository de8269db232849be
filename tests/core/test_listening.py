"""Who listens where, and what a reload keeps of it."""

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest

from neosocksd_core.errors import ConfigurationError, ListenError
from neosocksd_core.listening import DEFAULT_LISTEN, BoundSockets, close_listeners, plan
from neosocksd_core.protocols import Claim, ClientConnection, Handshake
from neosocksd_core.settings import Settings
from neosocksd_core.testing import Peer
from neosocksd_core.testing.plain import PlainHandshake


@dataclass(frozen=True)
class Front:
    """A frontend, as far as a plan looks at it."""

    name: str
    claim: Claim = Claim.NONE
    listen: Sequence[str] = ()
    first_bytes: Collection[int] = ()

    def handshake(self, connection: ClientConnection) -> Handshake:
        return PlainHandshake()


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def planned(values: Settings, *frontends: Front) -> list[tuple[str, str]]:
    return [(place.address, place.frontend.name) for place in plan(values, frontends)]


def test_without_any_listener_the_default_is_taken() -> None:
    assert planned(settings(), Front("a", Claim.DEFAULT)) == [(DEFAULT_LISTEN, "a")]


def test_a_frontends_own_listener_is_enough() -> None:
    own = Front("http", Claim.NONE, ("127.0.0.1:8080",))
    assert planned(settings(), Front("a", Claim.DEFAULT), own) == [("127.0.0.1:8080", "http")]


def test_the_cores_listeners_go_to_who_was_asked_for_before_the_default() -> None:
    listen = settings(listen=("127.0.0.1:1", "127.0.0.1:2"))
    fronts = (Front("a", Claim.DEFAULT), Front("b", Claim.EXPLICIT))
    assert planned(listen, *fronts) == [("127.0.0.1:1", "b"), ("127.0.0.1:2", "b")]


@pytest.mark.parametrize("claim", [Claim.EXPLICIT, Claim.DEFAULT])
def test_two_that_want_the_cores_listeners_are_an_error_that_names_both(claim: Claim) -> None:
    with pytest.raises(ConfigurationError, match="'a' and 'b'"):
        plan(settings(), [Front("a", claim), Front("b", claim)])


def test_nobody_that_wants_them_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no plugin serves it"):
        plan(settings(), [Front("a")])


def test_an_address_that_two_want_is_an_error_that_names_it_and_both() -> None:
    fronts = [Front("a", Claim.DEFAULT), Front("b", Claim.NONE, ("127.0.0.1:1",))]
    with pytest.raises(ConfigurationError, match="127.0.0.1:1 is wanted by 'a' and 'b'"):
        plan(settings(listen="127.0.0.1:1"), fronts)


def test_several_listeners_on_free_ports_are_several() -> None:
    bound = BoundSockets()
    values = settings(listen=("127.0.0.1:0", "127.0.0.1:0"))
    places = plan(values, [Front("a", Claim.DEFAULT, ("127.0.0.1:0",))])
    bound.rebind(places, values)
    assert len({address[1] for address in bound.addresses()}) == 3
    bound.close()
    assert bound.addresses() == []


def test_what_stays_in_the_plan_keeps_its_sockets_even_for_another_frontend() -> None:
    bound = BoundSockets()
    with Peer() as peer:
        address = f"127.0.0.1:{peer.port}"
    values = settings(listen=(address, "127.0.0.1:0"))
    places = plan(values, [Front("a", Claim.DEFAULT)])
    bound.rebind(places, values)
    before = bound.addresses()
    other = plan(settings(listen=address), [Front("b", Claim.DEFAULT)])
    bound.rebind(other, values)
    for sock in bound.release(other):
        sock.close()
    assert bound.addresses() == before[:1]
    bound.close()


def test_where_one_cannot_be_bound_the_new_ones_are_closed_and_the_old_ones_stay() -> None:
    bound = BoundSockets()
    values = settings(listen="127.0.0.1:0")
    bound.rebind(plan(values, [Front("a", Claim.DEFAULT)]), values)
    before = bound.addresses()
    with Peer() as peer:
        more = settings(listen=("127.0.0.1:0", "127.0.0.2:0", f"127.0.0.1:{peer.port}"))
        with pytest.raises(ListenError):
            bound.rebind(plan(more, [Front("a", Claim.DEFAULT)]), more)
    assert bound.addresses() == before
    bound.close()


def listening(*addresses: str) -> tuple[BoundSockets, int]:
    """Sockets bound at *addresses*, in which ``PORT`` stands for a free port."""
    with Peer() as peer:
        port = peer.port
    bound = BoundSockets()
    move(bound, port, *addresses)
    return bound, port


def move(bound: BoundSockets, port: int, *addresses: str) -> None:
    """Bind *addresses* in place of what is bound."""
    values = settings(listen=tuple(a.replace("PORT", str(port)) for a in addresses))
    places = plan(values, [Front("a", Claim.DEFAULT)])
    bound.rebind(places, values)
    close_listeners(bound.release(places))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("127.0.0.1:PORT", "0.0.0.0:PORT"),
        ("0.0.0.0:PORT", "127.0.0.1:PORT"),
        ("127.0.0.1:PORT", "*:PORT"),
        ("*:PORT", "0.0.0.0:PORT"),
        ("127.0.0.1:PORT", "[::]:PORT"),
        ("[::]:PORT", "127.0.0.1:PORT"),
    ],
)
def test_an_address_may_overlap_the_one_that_it_replaces(old: str, new: str) -> None:
    bound, port = listening(old)
    move(bound, port, new)
    assert {address[1] for address in bound.addresses()} == {port}
    with socket.create_connection(("127.0.0.1", port)):
        pass
    bound.close()


def test_where_a_later_one_fails_what_was_to_be_replaced_stays() -> None:
    bound, port = listening("127.0.0.1:PORT")
    before = bound.addresses()
    with Peer() as peer, pytest.raises(ListenError):
        move(bound, port, "0.0.0.0:PORT", f"127.0.0.1:{peer.port}")
    assert bound.addresses() == before
    with socket.create_connection(("127.0.0.1", port)):
        pass
    bound.close()


def test_a_port_that_somebody_else_has_is_not_shared_with_them() -> None:
    bound, port = listening("127.0.0.1:PORT")
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))
        with pytest.raises(ListenError, match="in use"):
            move(bound, port, "0.0.0.0:PORT")
    bound.close()
