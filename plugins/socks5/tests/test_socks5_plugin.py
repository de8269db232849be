"""The plugin's hooks, settings and manifest."""

import subprocess
import sys
from typing import cast

import pytest
from pydantic import ValidationError

import neosocksd_socks5
from neosocksd_core import Claim, ClientConnection, Credentials, Frontend, SocketAddress
from neosocksd_core.testing import make_server
from neosocksd_socks5.config import Socks5Settings


class Anybody:
    """Takes everybody's credentials for good."""

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
        return True


def frontend(**settings: object) -> Frontend:
    server = make_server(settings, plugins=[neosocksd_socks5], authenticator=Anybody())
    [found] = neosocksd_socks5.register_frontends(server)
    return found


def test_the_frontend_takes_the_core_s_listeners_unless_another_asks() -> None:
    socks = frontend()
    assert (socks.name, socks.claim, socks.listen) == ("socks", Claim.DEFAULT, ())
    assert set(socks.first_bytes) == {4, 5}


def test_listeners_of_its_own_come_from_the_settings() -> None:
    section = neosocksd_socks5.__name__.removeprefix("neosocksd_")
    assert frontend(**{section: {"listen": "[::1]:1081"}}).listen == ("[::1]:1081",)
    with pytest.raises(ValidationError, match="no port"):
        Socks5Settings.model_validate({"listen": ["nonsense"]})


@pytest.mark.parametrize(("auth_required", "reply"), [(False, b"\x05\x00"), (True, b"\x05\x02")])
def test_auth_required_comes_from_the_core_s_settings(auth_required: bool, reply: bytes) -> None:
    connection = cast(ClientConnection, None)
    machine = frontend(auth_required=auth_required).handshake(connection)
    machine.receive_data(b"\x05\x02\x00\x02")
    assert machine.next_event() is None
    assert machine.data_to_send() == reply


def test_both_dialers_have_socks_port() -> None:
    dialers = neosocksd_socks5.register_dialers()
    assert {scheme: dialer.default_port for scheme, dialer in dialers.items()} == {
        "socks4a": 1080,
        "socks5": 1080,
    }


def test_importing_the_plugin_imports_no_machine() -> None:
    code = "import neosocksd_socks5 as p, sys; print(*(m for m in sys.modules if p.__name__ in m))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["neosocksd_socks5"]


@pytest.mark.parametrize(
    "ports", ["1", "1-", "-1", "0-9", "9-8", "1-65536", "a-b", "1-2-3", "1:2", "\u0661-2"]
)
def test_what_is_no_range_of_ports_is_an_error(ports: str) -> None:
    with pytest.raises(ValidationError, match="not a range of ports"):
        Socks5Settings.model_validate({"ports": ports})


@pytest.mark.parametrize("address", ["example.org", "192.0.2", "[::1]"])
def test_what_is_announced_is_an_ip_address(address: str) -> None:
    with pytest.raises(ValidationError, match="not an IP address"):
        Socks5Settings.model_validate({"announce": address})
