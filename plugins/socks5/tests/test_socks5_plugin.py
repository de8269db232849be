"""The plugin's hooks, settings and manifest, without a server."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

import neosocksd_socks5
from neosocksd_core import Claim, ClientConnection, Frontend, ServerContext, Settings
from neosocksd_socks5.config import Socks5Settings


def server(settings: Settings, section: Socks5Settings) -> ServerContext:
    """As much of a server as the hooks of this plugin look at."""

    def find(model: type[Any]) -> Any:
        assert model is Socks5Settings
        return section

    return cast(ServerContext, SimpleNamespace(settings=settings, section=find))


def frontend(settings: Settings | None = None, section: Socks5Settings | None = None) -> Frontend:
    context = server(settings or Settings.model_validate({}), section or Socks5Settings())
    [found] = neosocksd_socks5.register_frontends(context)
    return found


def test_the_frontend_takes_the_core_s_listeners_unless_another_asks() -> None:
    socks = frontend()
    assert (socks.name, socks.claim, socks.listen) == ("socks", Claim.DEFAULT, ())
    assert set(socks.first_bytes) == {4, 5}


def test_listeners_of_its_own_come_from_the_settings() -> None:
    section = Socks5Settings.model_validate({"listen": "[::1]:1081"})
    assert frontend(section=section).listen == ("[::1]:1081",)
    with pytest.raises(ValidationError, match="no port"):
        Socks5Settings.model_validate({"listen": ["nonsense"]})


@pytest.mark.parametrize(("auth_required", "reply"), [(False, b"\x05\x00"), (True, b"\x05\x02")])
def test_auth_required_comes_from_the_core_s_settings(auth_required: bool, reply: bytes) -> None:
    connection = cast(ClientConnection, None)
    machine = frontend(Settings.model_validate({"auth_required": auth_required})).handshake(
        connection
    )
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
    code = "import neosocksd_socks5, sys; print(*sorted(m for m in sys.modules if 'socks5' in m))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["neosocksd_socks5"]
