"""The plugin as it is loaded: its hooks, its settings, its frontend."""

from typing import cast

import pytest
from pydantic import ValidationError

import neosocksd_http_connect
from neosocksd_core import Claim, ClientConnection, Credentials, Option, SocketAddress
from neosocksd_core.testing import make_server
from neosocksd_http_connect.config import HttpSettings
from neosocksd_http_connect.frontend import HttpFrontend
from neosocksd_http_connect.handshake import HttpHandshake


class Anybody:
    """Takes everybody's credentials for good."""

    def authenticate(self, credentials: Credentials, client: SocketAddress) -> bool:
        return True


def find_frontend(**settings: object) -> HttpFrontend:
    server = make_server(
        {"listen": "127.0.0.1:0", **settings},
        plugins=["http_connect", "socks5"],
        authenticator=Anybody(),
    )
    (frontend,) = neosocksd_http_connect.register_frontends(server)
    assert isinstance(frontend, HttpFrontend)
    return frontend


def test_the_hooks_offer_settings_a_frontend_and_a_dialer() -> None:
    assert neosocksd_http_connect.config_model() is HttpSettings
    dialers = neosocksd_http_connect.register_dialers()
    assert list(dialers) == ["http"]
    assert dialers["http"].default_port == 80
    frontend = find_frontend()
    assert frontend.name == "http"
    assert set(b"CGPDHOT") <= set(frontend.first_bytes)
    assert not {0x04, 0x05, 0x16} & set(frontend.first_bytes)


@pytest.mark.parametrize(
    ("listen", "own", "claim"),
    [
        ((), (), Claim.NONE),
        (("127.0.0.1:8080",), ("127.0.0.1:8080",), Claim.NONE),
        (("",), (), Claim.EXPLICIT),
        (("[::1]:1", ""), ("[::1]:1",), Claim.EXPLICIT),
    ],
)
def test_a_flag_without_an_address_takes_over_listen(
    listen: tuple[str, ...], own: tuple[str, ...], claim: Claim
) -> None:
    frontend = find_frontend(http_listen=listen)
    assert tuple(frontend.listen) == own
    assert frontend.claim is claim


@pytest.mark.parametrize("auth_required", [True, False])
def test_each_client_gets_a_machine_of_its_own(auth_required: bool) -> None:
    frontend = find_frontend(auth_required=auth_required)
    connection = cast(ClientConnection, None)
    first, second = frontend.handshake(connection), frontend.handshake(connection)
    assert isinstance(first, HttpHandshake)
    assert first is not second
    first.receive_data(b"CONNECT h:1 HTTP/1.1\r\n\r\n")
    if auth_required:
        with pytest.raises(Exception, match="credentials"):
            first.next_event()
    else:
        assert first.next_event() is not None
    assert second.next_event() is None


def test_the_settings_are_checked() -> None:
    assert HttpSettings(listen=cast("tuple[str, ...]", "127.0.0.1:1")).listen == ("127.0.0.1:1",)
    for listen in ("127.0.0.1", "h:70000", ":x"):
        with pytest.raises(ValidationError):
            HttpSettings(listen=(listen,))
    (option,) = (m for m in HttpSettings.model_fields["listen"].metadata if isinstance(m, Option))
    assert option.flags == ("--http",)
    assert option.flat == "http_listen"
