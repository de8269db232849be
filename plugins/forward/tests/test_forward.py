"""Forwarding: settings, the hooks' errors, and the machine that asks at once."""

import contextlib
import subprocess
import sys
from typing import cast

import pytest
from pydantic import ValidationError

import neosocksd_forward
from neosocksd_core import (
    Address,
    AddressType,
    Claim,
    ClientConnection,
    ConfigurationError,
    Connect,
    Forward,
    Frontend,
    Handshake,
    Reason,
    Request,
    SocketAddress,
)
from neosocksd_core.server import Server
from neosocksd_core.testing import make_server
from neosocksd_forward.config import ForwardSettings
from neosocksd_forward.frontend import ForwardFrontend, ForwardHandshake, parse_target
from neosocksd_forward.transparent import TransparentFrontend

CONNECTION = cast(ClientConnection, None)


class Anywhere:
    """A router that changes nothing."""

    def route(self, request: Request) -> Forward:
        return Forward(request.target)


def server(address: str, **settings: object) -> Server:
    """A server that forwards there, and has a router; it is never bound."""
    values = {"forward": address, **settings}
    return make_server(values, plugins=["forward", "socks5"], router=Anywhere())


def frontend(context: Server) -> Frontend:
    [found] = neosocksd_forward.register_frontends(context)
    return found


TARGETS = [
    ("127.0.0.1:80", Address("127.0.0.1", 80), AddressType.IPV4),
    ("[::1]:80", Address("::1", 80), AddressType.IPV6),
    ("example.org:65535", Address("example.org", 65535), AddressType.DOMAIN),
    (":", Address("", 0), AddressType.DOMAIN),
]


@pytest.mark.parametrize(("text", "target", "address_type"), TARGETS)
def test_the_first_event_is_the_request(
    text: str, target: Address, address_type: AddressType
) -> None:
    machine: Handshake = frontend(server(text)).handshake(CONNECTION)
    assert machine.next_event() == Connect(target, address_type, None, "forward")
    assert machine.next_event() is None
    assert machine.trailing_data() == b""


def test_an_unset_target_reads_as_the_router_expects_it() -> None:
    assert str(parse_target(":").target) == ":0"


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "example.org",
        "::1:80",
        "[::1:80",
        "h:65536",
        "h:-1",
        "h:0",
        "a b:80",
        ":80",
        "::",
    ],
)
def test_a_bad_address_is_an_error_of_the_settings(text: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        ForwardSettings(address=text)


def test_no_address_no_frontend() -> None:
    assert ForwardSettings().address == ""
    assert neosocksd_forward.register_frontends(server("")) == []


def test_the_listeners_are_claimed_explicitly() -> None:
    forward = frontend(server("h:80"))
    assert (forward.name, forward.claim) == ("forward", Claim.EXPLICIT)
    assert not forward.listen
    assert not forward.first_bytes


def test_authentication_cannot_be_required() -> None:
    with pytest.raises(ConfigurationError, match="forward: .*auth_required"):
        server("h:80", auth_required=True)


def test_a_target_that_is_left_to_a_router_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="forward: .*router"):
        make_server({"forward": ":"}, plugins=["forward", "socks5"])
    assert server(":").has_router


def test_a_reload_cannot_ask_for_what_does_not_go_together() -> None:
    context = make_server({"forward": "h:80"}, plugins=["forward", "socks5"])
    for values in ({"forward": ":"}, {"forward": "h:80", "auth_required": True}):
        with pytest.raises(ConfigurationError, match="forward: "):
            context.reload(values)
    assert context.section(ForwardSettings).address == "h:80"


def test_a_reload_changes_the_target_of_new_connections() -> None:
    context = server("old:80")
    forward = frontend(context)
    before = forward.handshake(CONNECTION)
    with contextlib.closing(context):
        context.reload({"listen": "127.0.0.1:0", "forward": "new:81"})
    after = forward.handshake(CONNECTION).next_event()
    assert before.next_event() == parse_target("old:80")
    assert after == parse_target("new:81")
    with contextlib.closing(context):
        context.reload({"listen": "127.0.0.1:0"})
    assert forward.handshake(CONNECTION).next_event() == parse_target("new:81")


def test_connections_share_one_request() -> None:
    forward = ForwardFrontend(server("h:80"))
    events = [forward.handshake(CONNECTION).next_event() for _ in range(2)]
    assert events[0] is events[1]


def test_the_client_is_told_nothing_and_its_bytes_are_kept() -> None:
    machine = ForwardHandshake(parse_target("h:80"))
    machine.receive_data(b"GET ")
    assert machine.next_event() is not None
    machine.receive_data(b"/")
    machine.judge(True)
    machine.reject(Reason.TIMED_OUT)
    machine.expire()
    machine.grant(("127.0.0.1", 1))
    assert machine.data_to_send() == b""
    assert machine.trailing_data() == b"GET /"
    assert machine.trailing_data() == b""


def test_importing_the_plugin_imports_no_machine() -> None:
    code = "import neosocksd_forward, sys; print(*(m for m in sys.modules if m.startswith('neosocksd_f')))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["neosocksd_forward"]


class At:
    """A connection that has reached us at some address."""

    client = ("192.0.2.1", 40000)

    def __init__(self, local: SocketAddress) -> None:
        self.local = local


@pytest.mark.parametrize(
    ("local", "address_type"),
    [(("198.51.100.7", 443), AddressType.IPV4), (("2001:db8::7", 443, 0, 0), AddressType.IPV6)],
)
def test_transparent_asks_for_the_address_that_was_reached(
    local: SocketAddress, address_type: AddressType
) -> None:
    machine = TransparentFrontend().handshake(At(local))
    machine.receive_data(b"early")
    target = Address(*local[:2])
    assert machine.next_event() == Connect(target, address_type, None, "transparent")
    assert machine.next_event() is None
    assert machine.trailing_data() == b"early"


def test_transparent_takes_the_core_s_listeners_alone_and_without_credentials() -> None:
    context = make_server({"transparent": True}, plugins=["forward", "socks5"])
    assert isinstance(frontend(context), TransparentFrontend)
    with pytest.raises(ConfigurationError, match="'forward' and 'transparent' both want it"):
        make_server({"transparent": True, "forward": "a:1"}, plugins=["forward", "socks5"])
    with pytest.raises(ConfigurationError, match="transparent: clients cannot authenticate"):
        settings = {"transparent": True, "auth_required": True}
        make_server(settings, plugins=["forward", "socks5"], router=Anywhere())
