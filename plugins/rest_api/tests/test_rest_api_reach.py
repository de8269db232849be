"""The way to the API through the proxy: barred over every road and in every spelling, but for a ruleset's own choice."""

import socket
from collections.abc import Callable, Mapping, Sequence

import pytest

from neosocksd_core import ConfigurationError
from neosocksd_core.addresses import Address, pack_ip
from neosocksd_core.errors import DialError
from neosocksd_core.protocols import Resolution
from neosocksd_core.reasons import Reason
from neosocksd_core.requests import Decision, Forward, Request
from neosocksd_core.server import Server
from neosocksd_core.testing import Client, PlainPlugin, RunningServer, Serve, plain_request
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.config import RestApiSettings
from neosocksd_rest_api.guard import make_guard

NAMES = {
    "localhost": ("127.0.0.1", "::1"),
    "rebound.example": ("127.0.0.1",),
    "mapped.example": ("::ffff:127.0.0.1",),
    "both.example": ("192.0.2.1", "127.0.0.1"),
}
TOKEN = "correct-horse"
ASK = b"GET /healthy HTTP/1.1\r\nConnection: close\r\n\r\n"


class Book:
    """A resolver that knows a few names."""

    def __init__(self, ttl: float | None = None) -> None:
        self._ttl = ttl

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        if host.lower() not in NAMES:
            raise DialError(Reason.NAME_NOT_RESOLVED, f"{host}: unknown")
        return Resolution(NAMES[host.lower()], self._ttl)


class Router:
    """Sends requests where a table says, the others where they want to go."""

    def __init__(self, table: Mapping[str, Address]) -> None:
        self.table = table

    def route(self, request: Request) -> Decision:
        return Forward(self.table.get(request.target.host.lower(), request.target))


def start(serve: Serve, router: Router | None = None, **settings: object) -> RunningServer:
    values = {
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "rest_api": {"listen": "127.0.0.1:0"},
        **settings,
    }
    plugins = ["socks5", "http_connect", "forward", RestApi]
    return serve(values, plugins=plugins, resolver=Book(), router=router)


def api_port(server: RunningServer) -> int:
    (address,) = server.server.addresses_of("api")
    return address[1]


def socks5(host: str, port: int) -> bytes:
    packed = pack_ip(host)
    if packed is None:
        address = bytes([3, len(host)]) + host.encode()
    else:
        address = bytes([1 if len(packed) == 4 else 4]) + packed
    return b"\x05\x01\x00\x05\x01\x00" + address + port.to_bytes(2, "big")


def socks5_text(host: str, port: int) -> bytes:
    return (
        b"\x05\x01\x00\x05\x01\x00\x03"
        + bytes([len(host)])
        + host.encode()
        + port.to_bytes(2, "big")
    )


def socks4a(host: str, port: int) -> bytes:
    return b"\x04\x01" + port.to_bytes(2, "big") + b"\x00\x00\x00\x01\x00" + host.encode() + b"\x00"


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(host: str, port: int) -> bytes:
    where = authority(host, port)
    return f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()


def get(host: str, port: int) -> bytes:
    where = authority(host, port)
    return f"GET http://{where}/healthy HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode()


ROADS: Sequence[tuple[str, Callable[[str, int], bytes], bytes]] = (
    ("socks", socks5, b"\x05\x00\x05\x02"),
    ("socks", socks5_text, b"\x05\x00\x05\x02"),
    ("socks", socks4a, b"\x00\x5b"),
    ("http", connect, b"HTTP/1.1 403 "),
    ("http", get, b"HTTP/1.1 403 "),
)
SPELLINGS = [
    "127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0",
    "rebound.example", "mapped.example",
]  # fmt: skip


def ask(server: RunningServer, frontend: str, request: bytes) -> bytes:
    (address,) = server.server.addresses_of(frontend)
    with Client(address) as client:
        client.send(request)
        return client.receive_until_closed()


@pytest.mark.parametrize("chained", [False, True], ids=["direct", "chain"])
def test_no_client_reaches_the_api_over_any_road_in_any_spelling(
    serve: Serve, chained: bool
) -> None:
    proxy = serve({"listen": "127.0.0.1:0"}, plugins=["socks5"], resolver=Book())
    chain = f"socks5://127.0.0.1:{proxy.address[1]}" if chained else ""
    server = start(serve, proxy=chain)
    port = api_port(server)
    for frontend, request, refusal in ROADS:
        for host in SPELLINGS:
            answer = ask(server, frontend, request(host, port))
            assert answer.startswith(refusal), (request.__name__, host, answer)
    assert server.statistics().num_api_request == 0
    assert proxy.statistics().num_accept == 0


def test_a_proxy_on_this_machine_would_reach_what_the_guard_bars(serve: Serve) -> None:
    """Or the test above would show nothing."""
    proxy = serve({"listen": "127.0.0.1:0"}, plugins=["socks5"], resolver=Book())
    port = api_port(start(serve))
    for host in ("127.0.0.1", "localhost", "rebound.example"):
        with Client(proxy.address) as client:
            client.send(socks5(host, port))
            assert client.receive(12)[:4] == b"\x05\x00\x05\x00"
            client.send(ASK)
            assert client.receive_all().startswith(b"HTTP/1.1 200 ")


def test_of_several_addresses_of_a_name_only_the_others_are_dialled(serve: Serve) -> None:
    server = start(serve)
    with Client(server.server.addresses_of("socks")[0]) as client:
        client.send(socks5("both.example", api_port(server)))
        client.reset()
    server.wait_idle()
    assert server.statistics().num_api_request == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_an_api_on_all_addresses_is_reached_at_none_of_them(serve: Serve, listen: str) -> None:
    server = start(serve, rest_api={"listen": listen, "token": TOKEN})
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for host in {"127.0.0.1", "127.8.9.10", "localhost", "::1", "::ffff:127.0.0.1", *map(str, own)}:
        answer = ask(server, "socks", socks5(host, api_port(server)))
        assert answer[:4] == b"\x05\x00\x05\x02", (host, answer)


def test_forwarding_to_the_api_is_refused(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {"listen": "127.0.0.1:0", "forward": address, "rest_api": {"listen": address}}
    server = serve(settings, plugins=["forward", RestApi])
    assert ask(server, "forward", ASK) == b""
    assert server.statistics().num_api_request == 0


def test_a_ruleset_may_send_another_requested_address_there(backend: str, serve: Serve) -> None:
    router = Router({})
    server = start(serve, router)
    port = api_port(server)
    router.table = {
        "api.agent.internal": Address("127.0.0.1", port),
        "192.0.2.7": Address("localhost", port),
    }
    for host, asked in (
        ("api.agent.internal", 80),
        ("api.agent.internal", port),
        ("192.0.2.7", 80),
    ):
        with Client(server.server.addresses_of("socks")[0]) as client:
            client.send(socks5(host, asked))
            assert client.receive(12)[:4] == b"\x05\x00\x05\x00", host
            client.send(ASK)
            assert client.receive_all().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "rebound.example", "127.0.0.1", "::ffff:127.0.0.1"]
)
def test_a_ruleset_that_spells_the_requested_api_anew_does_not_open_it(
    backend: str, serve: Serve, host: str
) -> None:
    """As one does that looks each name up, or writes it in lower case."""
    router = Router({})
    server = start(serve, router)
    port = api_port(server)
    for other in ("127.0.0.1", "localhost"):
        router.table = {host.lower(): Address(other, port)}
        answer = ask(server, "socks", socks5(host, port))
        assert answer[:4] == b"\x05\x00\x05\x02", (host, other, answer)
    assert server.statistics().num_api_request == 0


class Fickle:
    """A resolver that answers with the API's address at first, and then never again: not at all, in the end."""

    def __init__(self, ttl: float | None) -> None:
        self.asked = 0
        self._ttl = ttl

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        self.asked += 1
        if self.asked > 2:
            raise DialError(Reason.NAME_NOT_RESOLVED, f"{host}: unknown")
        return Resolution(("127.0.0.1" if self.asked == 1 else "192.0.2.1",), self._ttl)


class Resolving:
    """Sends each request to the address that its name has at first, written as a ruleset may."""

    def __init__(self, lookups: int) -> None:
        self.server: Server | None = None
        self._lookups = lookups

    async def route(self, request: Request) -> Decision:
        assert self.server is not None
        name = request.target.host.lower()
        found = [await self.server.lookup(name) for _ in range(self._lookups)]
        return Forward(Address(found[0][0], request.target.port))


@pytest.mark.parametrize("host", ["a.example", "A.Example", "a.example."])
@pytest.mark.parametrize(
    ("ttl", "lookups"), [(None, 1), (0, 1), (0, 2)], ids=["kept", "another", "no longer"]
)
def test_a_name_that_changes_its_address_does_not_open_the_api_to_a_ruleset(
    backend: str, serve: Serve, host: str, ttl: float | None, lookups: int
) -> None:
    resolver, router = Fickle(ttl), Resolving(lookups)
    server = serve(
        {"listen": "127.0.0.1:0", "restapi": "127.0.0.1:0"},
        plugins=["socks5", RestApi],
        resolver=resolver,
        router=router,
    )
    router.server = server.server
    assert ask(server, "socks", socks5(host, api_port(server)))[:4] == b"\x05\x00\x05\x02"
    assert server.statistics().num_api_request == 0


def test_the_guard_can_be_dropped_where_there_is_a_token(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match=r"^rest_api\.via_proxy: .* a token is needed"):
        make_guard(RestApiSettings(listen=("127.0.0.1:0",), via_proxy=True))
    server = start(serve, rest_api={"listen": "127.0.0.1:0", "token": TOKEN, "via_proxy": True})
    with Client(server.server.addresses_of("socks")[0]) as client:
        client.send(socks5("localhost", api_port(server)))
        assert client.receive(12)[:4] == b"\x05\x00\x05\x00"
        client.send(ASK.replace(b"/healthy", b"/stats"))
        assert client.receive_all().startswith(b"HTTP/1.1 401 ")
    own = server.server.addresses_of("socks")[0]
    assert ask(server, "socks", socks5("127.0.0.1", own[1]))[:4] == b"\x05\x00\x05\x02"


def test_its_flag_is_part_of_a_reload(serve: Serve) -> None:
    def settings(via_proxy: bool) -> Mapping[str, object]:
        api = {"listen": "127.0.0.1:0", "token": TOKEN, "via_proxy": via_proxy}
        return {"listen": "127.0.0.1:0", "rest_api": api}

    server = serve(settings(False), plugins=[PlainPlugin, RestApi])
    for via_proxy, answer in (
        (False, b"no not allowed"),
        (True, b"ok"),
        (False, b"no not allowed"),
    ):
        server.reload(settings(via_proxy))
        with Client(server.address) as client:
            client.send(plain_request(("127.0.0.1", api_port(server))))
            assert client.receive_until(b"\n").startswith(answer)
