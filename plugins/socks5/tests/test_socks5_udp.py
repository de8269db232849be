"""UDP ASSOCIATE through a running server: what is relayed, what is dropped, and when it ends."""

import select
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import anyio
import pytest

import neosocksd_socks5
from neosocksd_core import ConfigurationError, Resolution, ServerContext, SocketAddress, hookimpl
from neosocksd_core.outside import MAX_HOSTS, MAX_LOOKUPS, MAX_WAITING, MAX_WAITING_BYTES
from neosocksd_core.testing import Client, RunningServer, Serve, make_server
from neosocksd_core.testing.connection import DEADLINE
from neosocksd_socks5.config import Socks5Settings
from neosocksd_socks5.datagrams import SocksDatagrams

SECTION = neosocksd_socks5.__name__.removeprefix("neosocksd_")
HOST = "127.0.0.1"
NOWHERE = b"\x01" + bytes(6)

pytestmark = pytest.mark.usefixtures("backend")


def address_of(host: str) -> bytes:
    """ATYP and ADDR."""
    if ":" in host:
        return b"\x04" + socket.inet_pton(socket.AF_INET6, host)
    return b"\x01" + socket.inet_aton(host)


class Host:
    """Somebody who takes datagrams, and answers them."""

    def __init__(self, host: str = HOST, port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.socket.settimeout(DEADLINE)
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        self.relay: SocketAddress = ("", 0)
        """Where the last one came from."""

    @property
    def name(self) -> bytes:
        """ATYP, ADDR and PORT of this host."""
        return address_of(self.host) + self.port.to_bytes(2, "big")

    def expect(self, payload: bytes) -> None:
        received, self.relay = self.socket.recvfrom(65535)
        assert received == payload

    def answer(self, payload: bytes) -> None:
        self.socket.sendto(payload, self.relay)

    def is_idle(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


class Associated:
    """A client with an association: its connection, and the socket that it sends from."""

    def __init__(self, server: RunningServer, source: bytes = NOWHERE, host: str = HOST) -> None:
        self.control = Client(server.address)
        self.control.send(b"\x05\x01\x00\x05\x03\x00" + source)
        self.control.expect(b"\x05\x00\x05\x00\x00")
        if self.control.receive(1) == b"\x01":
            address = socket.inet_ntop(socket.AF_INET, self.control.receive(4))
        else:
            address = socket.inet_ntop(socket.AF_INET6, self.control.receive(16))
        self.relay = (address, int.from_bytes(self.control.receive(2), "big"))
        self.socket = Host(host).socket

    def send(self, target: bytes, payload: bytes, header: bytes = bytes(3)) -> None:
        self.socket.sendto(header + target + payload, self.relay)

    def expect(self, source: bytes, payload: bytes) -> None:
        received, relay = self.socket.recvfrom(65535)
        assert (received, relay[:2]) == (bytes(3) + source + payload, self.relay)

    def close(self) -> None:
        self.control.close()
        self.socket.close()


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    return served(serve)


def served(serve: Serve, listen: str = f"{HOST}:0", **settings: object) -> RunningServer:
    options = {key: settings.pop(key) for key in ("plugins", "resolver") if key in settings}
    plugins = [neosocksd_socks5, *options.pop("plugins", ())]  # type: ignore[misc]
    return serve({"listen": listen, SECTION: {"udp": True}, **settings}, plugins=plugins, **options)


@contextmanager
def associated(
    server: RunningServer, source: bytes = NOWHERE, host: str = HOST
) -> Generator[Associated]:
    client = Associated(server, source, host)
    try:
        yield client
    finally:
        client.close()
        server.wait_idle()


@contextmanager
def hosts(*addresses: str) -> Generator[Sequence[Host]]:
    made = [Host(address) for address in addresses]
    try:
        yield made
    finally:
        for host in made:
            host.socket.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_datagrams_go_and_come_back(serve: Serve, listen: str, host: str) -> None:
    server = served(serve, listen)
    ours = "::1" if "::1" in listen else HOST
    with hosts(host) as [peer], associated(server, host=ours) as client:
        for payload in (b"hello", b"", b"x" * 9000):
            client.send(peer.name, payload)
            peer.expect(payload)
            peer.answer(payload.upper())
            client.expect(peer.name, payload.upper())
        [session] = server.sessions()
        assert (session.protocol, session.target, session.outcome) == (
            "socks5-udp",
            None,
            "relaying",
        )
        assert (session.bytes_up, session.bytes_down) == (9005, 9005)
    statistics = server.statistics()
    assert (statistics.num_request, statistics.num_success) == (1, 1)
    assert (statistics.byt_up, statistics.byt_down) == (9005, 9005)


def test_one_association_reaches_many_hosts(server: RunningServer) -> None:
    with hosts("127.0.0.1", "::1", "127.0.0.1") as peers, associated(server) as client:
        for peer in peers:
            client.send(peer.name, b"to all")
        for peer in peers:
            peer.expect(b"to all")
            peer.answer(b"from each")
            client.expect(peer.name, b"from each")


def test_a_listener_for_both_families_serves_clients_of_either(serve: Serve) -> None:
    server = served(serve, "[::]:0")
    with hosts(HOST) as [peer]:
        control = Client((HOST, server.address[1]))
        control.send(b"\x05\x01\x00\x05\x03\x00" + NOWHERE)
        control.expect(b"\x05\x00\x05\x00\x00" + address_of(HOST))
        port = int.from_bytes(control.receive(2), "big")
        peer.socket.sendto(bytes(3) + peer.name + b"to myself", (HOST, port))
        peer.expect(b"to myself")
        control.close()
    server.wait_idle()


BAD = {
    "empty": b"",
    "short": bytes(3) + b"\x01\x7f\x00\x00\x01\x00",
    "no address type": bytes(3),
    "RSV": b"\x00\x01\x00" + b"<P>x",
    "FRAG": b"\x00\x00\x01" + b"<P>x",
    "last FRAG": b"\x00\x00\x81" + b"<P>x",
    "unknown address type": bytes(3) + b"\x02\x7f\x00\x00\x01<p>x",
    "port 0": bytes(3) + b"\x01\x7f\x00\x00\x01\x00\x00x",
    "short name": bytes(3) + b"\x03\x09local",
    "empty name": bytes(3) + b"\x03\x00<p>x",
    "bad name": bytes(3) + b"\x03\x05a b\n\xff<p>x",
    "unknown name": bytes(3) + b"\x03\x0fnowhere.invalid<p>x",
    "number": bytes(3) + b"\x03\x05127.1<p>x",
    "multicast": bytes(3) + b"\x01\xe0\x00\x00\x01<p>x",
    "unspecified": bytes(3) + b"\x01\x00\x00\x00\x00<p>x",
    "broadcast": bytes(3) + b"\x01\xff\xff\xff\xff<p>x",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_malformed_or_blocked_is_dropped_and_the_next_one_arrives(
    server: RunningServer, case: str
) -> None:
    with hosts(HOST) as [peer], associated(server) as client:
        port = peer.port.to_bytes(2, "big")
        datagram = BAD[case].replace(b"<P>", peer.name).replace(b"<p>", port)
        client.socket.sendto(datagram, client.relay)
        client.send(peer.name, b"good")
        peer.expect(b"good")
        assert peer.is_idle()
        peer.answer(b"still here")
        client.expect(peer.name, b"still here")


@pytest.mark.parametrize("setting", ["block_loopback", "guard"])
def test_the_block_list_and_the_guard_hold_for_each_datagram(serve: Serve, setting: str) -> None:
    class Guard:
        @hookimpl
        def register_guarded_addresses(self, server: ServerContext) -> Sequence[SocketAddress]:
            return [("127.0.0.1", guarded.port)]

    with hosts("127.0.0.1", "127.0.0.1") as [guarded, other]:
        names = {"one.example": ["127.0.0.1"]}
        blocks = setting == "block_loopback"
        plugins = [] if blocks else [Guard()]
        resolver = Names(names)
        server = served(serve, plugins=plugins, resolver=resolver, block_loopback=blocks)
        with associated(server) as client:
            mapped = b"\x04" + bytes(10) + b"\xff\xff\x7f\x00\x00\x01"
            for host in (address_of(HOST), mapped, b"\x03\x0bone.example"):
                client.send(host + guarded.port.to_bytes(2, "big"), b"must not arrive")
            client.send(other.name, b"last")
            if setting == "guard":
                other.expect(b"last")
            else:
                server.wait_until(lambda s: s.num_dns_query == 1)
            assert guarded.is_idle()


class Names:
    """A resolver that knows some names."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        self.known = known
        self.asked = 0

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        self.asked += 1
        return Resolution(tuple(self.known.get(host, ())))


def test_names_are_looked_up_once_and_what_waits_for_them_is_sent_in_order(serve: Serve) -> None:
    resolver = Names({"one.example": ["224.0.0.1", "127.0.0.1"]})
    server = served(serve, resolver=resolver)
    with hosts(HOST) as [peer], associated(server) as client:
        name = b"\x03\x0bone.example" + peer.port.to_bytes(2, "big")
        for number in range(5):
            client.send(name, b"%d" % number)
        for number in range(5):
            peer.expect(b"%d" % number)
        peer.answer(b"x")
        client.expect(peer.name, b"x")
    assert resolver.asked == 1


def test_a_name_that_is_answered_in_another_order_stays_with_its_host(serve: Serve) -> None:
    class Turning(Names):
        async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
            addresses = self.known[host]
            addresses.append(addresses.pop(0))
            return Resolution(tuple(addresses), ttl=0)

    server = served(serve, resolver=Turning({"one.example": ["127.0.0.2", HOST]}))
    with hosts(HOST) as [peer], associated(server) as client:
        other = Host("127.0.0.2", peer.port)
        for number in range(4):
            client.send(b"\x03\x0bone.example" + peer.port.to_bytes(2, "big"), b"%d" % number)
            peer.expect(b"%d" % number)
        assert server.statistics().num_dns_query == 4
        assert other.is_idle()
        other.socket.close()


class HeldNames(Names):
    """A resolver that answers once it may."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        super().__init__(known)
        self._events: list[anyio.Event] = []

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        event = anyio.Event()
        self._events.append(event)
        await event.wait()
        return await super().resolve(host, family)

    def release(self) -> None:
        for event in self._events:
            event.set()


def test_no_more_than_so_many_names_are_looked_up_at_a_time(serve: Serve) -> None:
    resolver = HeldNames({})
    server = served(serve, resolver=resolver)
    with hosts(HOST) as [peer], associated(server) as client:
        for number in range(MAX_LOOKUPS + 10):
            client.send(b"\x03\x0b%03d.example\x00\x50" % number, b"x")
        client.send(peer.name, b"behind them")
        peer.expect(b"behind them")
        server.wait_until(lambda s: s.num_dns_query == MAX_LOOKUPS)
        server.call(resolver.release)
        server.wait_until(lambda _: resolver.asked == MAX_LOOKUPS)
        client.send(b"\x03\x0bnew.example\x00\x50", b"x")
        server.wait_until(lambda s: s.num_dns_query == MAX_LOOKUPS + 1)


@pytest.mark.parametrize(
    ("size", "kept"), [(1, MAX_WAITING), (30_000, MAX_WAITING_BYTES // 30_000)]
)
def test_no_more_than_so_much_waits_for_a_name(serve: Serve, size: int, kept: int) -> None:
    resolver = HeldNames({"one.example": [HOST]})
    server = served(serve, resolver=resolver)
    with hosts(HOST) as [peer], associated(server) as client:
        name = b"\x03\x0bone.example" + peer.port.to_bytes(2, "big")
        for number in range(kept + 3):
            client.send(name, bytes((number,)) * size)
            client.send(peer.name, b"")  # no more than the socket of the relay takes
            peer.expect(b"")
        server.wait_until(lambda s: s.num_dns_query == 1)
        server.call(resolver.release)
        for number in range(kept):
            peer.expect(bytes((number,)) * size)
        client.send(peer.name, b"last")
        peer.expect(b"last")


def test_a_reload_counts_for_what_an_association_sends_from_then_on(serve: Serve) -> None:
    server = served(serve, resolver=Names({}))
    with hosts(HOST) as [peer], associated(server) as client:
        client.send(peer.name, b"before")
        peer.expect(b"before")
        server.reload({"listen": f"{HOST}:0", SECTION: {"udp": True}, "block_loopback": True})
        client.send(peer.name, b"after")
        client.send(b"\x03\x0bnew.example\x00\x50", b"behind it")
        server.wait_until(lambda s: s.num_dns_query == 1)
        assert peer.is_idle()


def test_only_hosts_that_the_client_has_sent_to_may_answer(server: RunningServer) -> None:
    with hosts("127.0.0.1", "127.0.0.2") as [peer, stranger], associated(server) as client:
        client.send(peer.name, b"hello")
        peer.expect(b"hello")
        stranger.socket.sendto(b"spoofed", peer.relay)
        with hosts(HOST) as [other_port]:  # a host may answer from another port
            other_port.socket.sendto(b"from another port", peer.relay)
            client.expect(other_port.name, b"from another port")


def test_the_hosts_that_may_answer_are_bounded(server: RunningServer) -> None:
    with hosts("127.0.0.1", "127.0.0.2") as [first, last], associated(server) as client:
        client.send(first.name, b"hello")
        first.expect(b"hello")
        for number in range(MAX_HOSTS):
            client.send(b"\x01\x7f\x01" + number.to_bytes(2, "big") + b"\x00\x09", b"")
            if number % 50 == 0:  # no more than the socket of the relay takes
                client.send(last.name, b"")
                last.expect(b"")
        client.send(last.name, b"")
        last.expect(b"")
        first.answer(b"forgotten")
        last.answer(b"behind it")
        client.expect(last.name, b"behind it")
        client.send(first.name, b"again")
        first.expect(b"again")
        first.answer(b"known")
        client.expect(first.name, b"known")


def test_datagrams_of_somebody_else_are_dropped(server: RunningServer) -> None:
    with hosts("127.0.0.1", "127.0.0.1", "127.0.0.2") as [peer, second, other]:
        with associated(server) as client:
            datagram = bytes(3) + peer.name + b"spoofed"
            other.socket.sendto(datagram, client.relay)  # another host, before the client's first
            client.send(peer.name, b"first")
            peer.expect(b"first")
            second.socket.sendto(datagram, client.relay)  # another port, after it
            client.send(peer.name, b"second")
            peer.expect(b"second")
            assert peer.is_idle()


def test_a_port_that_the_client_has_named_is_kept_to(server: RunningServer) -> None:
    with hosts("127.0.0.1", "127.0.0.1", "127.0.0.1") as [peer, named, other]:
        with associated(server, named.name) as client:
            other.socket.sendto(bytes(3) + peer.name + b"spoofed", client.relay)
            named.socket.sendto(bytes(3) + peer.name + b"mine", client.relay)
            peer.expect(b"mine")


@pytest.mark.parametrize(
    "source",
    [
        b"\x01\xc0\x00\x02\x01\x00\x50",
        b"\x01\x00\x00\x00\x00\x00\x50",
        b"\x03\x01a\x00\x50",
        b"\x03\x010\x00\x00",
    ],
)
def test_an_address_that_is_not_the_client_s_is_not_kept_to(
    server: RunningServer, source: bytes
) -> None:
    with hosts(HOST) as [peer], associated(server, source) as client:
        client.send(peer.name, b"behind a translator")
        peer.expect(b"behind a translator")


def test_an_answer_that_is_too_large_with_its_header_is_dropped(server: RunningServer) -> None:
    with hosts(HOST) as [peer], associated(server) as client:
        client.send(peer.name, b"hello")
        peer.expect(b"hello")
        peer.answer(bytes(65507))
        peer.answer(b"small")
        client.expect(peer.name, b"small")


def test_a_host_that_is_not_there_disturbs_nobody(server: RunningServer) -> None:
    with hosts(HOST) as [peer], associated(server) as client:
        with hosts(HOST) as [gone]:
            name = gone.name
        for _ in range(3):
            client.send(name, b"x")
            client.send(peer.name, b"y")
            peer.expect(b"y")


def test_it_lasts_as_long_as_the_client_s_connection(server: RunningServer) -> None:
    with hosts(HOST) as [peer]:
        client = Associated(server)
        client.control.send(b"nothing more is said here")
        client.send(peer.name, b"hello")
        peer.expect(b"hello")
        client.control.finish()
        client.control.expect_eof()
        client.socket.connect(client.relay)
        server.wait_idle()
        client.socket.send(bytes(3) + peer.name + b"too late")
        with pytest.raises(ConnectionRefusedError):
            client.socket.recv(1)
        client.close()


def test_a_reset_ends_it(server: RunningServer) -> None:
    with associated(server) as client:
        client.control.reset()
        server.wait_idle()


def test_it_can_be_closed_from_outside(server: RunningServer) -> None:
    with associated(server) as client:
        [session] = server.sessions()
        assert server.call(server.server.close_session, session.id)
        client.control.expect_reset()


def test_a_stop_ends_it(serve: Serve) -> None:
    server = served(serve, drain=0)
    client = Associated(server)
    server.close()
    client.control.expect_reset()
    client.close()


def test_the_idle_limit_ends_it(serve: Serve) -> None:
    server = served(serve, idle_timeout=0.2)
    with associated(server) as client:
        client.control.expect_reset()


@pytest.mark.parametrize("name", ["bind", "udp"])
def test_neither_goes_past_a_router_or_a_chain(name: str) -> None:
    class Router:
        def route(self, request: object) -> None: ...

    settings = {SECTION: {name: True}}
    with pytest.raises(ConfigurationError, match=rf"{SECTION}_{name}: it would lead past a router"):
        make_server(settings, plugins=[neosocksd_socks5], router=Router())
    with pytest.raises(ConfigurationError, match=rf"{SECTION}_{name}: it would lead past a chain"):
        make_server({"proxy": "socks5://192.0.2.1", **settings}, plugins=[neosocksd_socks5])


def test_a_reload_is_judged_by_the_chain_that_it_brings(serve: Serve) -> None:
    server = served(serve)
    chained = {"listen": f"{HOST}:0", "proxy": "socks5://192.0.2.1"}
    with pytest.raises(ConfigurationError, match="past a chain"):
        server.reload({**chained, SECTION: {"udp": True}})
    with associated(server):  # the old settings are still in force
        pass
    server.reload(chained)
    server.reload({"listen": f"{HOST}:0", SECTION: {"udp": True}})
    with associated(server):
        pass


def test_the_header_says_where_a_datagram_comes_from() -> None:
    codec = SocksDatagrams()
    for source in (("192.0.2.1", 53), ("2001:db8::1", 65535, 0, 0)):
        decoded = codec.decode(codec.encode(source, b"payload"))
        assert decoded is not None
        assert (decoded[0].host, decoded[0].port, decoded[1]) == (*source[:2], b"payload")


def test_a_reload_switches_it_on_and_off(serve: Serve) -> None:
    server = served(serve)
    for is_on in (False, True):
        settings = server.server.settings.model_copy(update={SECTION: Socks5Settings(udp=is_on)})
        server.reload(settings)
        with Client(server.address) as client:
            client.send(b"\x05\x01\x00\x05\x03\x00" + NOWHERE)
            client.expect(b"\x05\x00\x05" + (b"\x00" if is_on else b"\x07"))


def test_the_relay_takes_a_port_of_those_that_it_may_have(serve: Serve) -> None:
    with hosts(HOST, HOST) as [taken, peer]:
        settings = {"udp": True, "ports": f"{taken.port}-{taken.port}"}
        server = serve({"listen": f"{HOST}:0", SECTION: settings}, plugins=[neosocksd_socks5])
        with Client(server.address) as client:
            client.send(b"\x05\x01\x00\x05\x03\x00" + NOWHERE)
            client.expect(b"\x05\x00\x05\x01\x00\x01" + bytes(6))  # none is free
            client.expect_eof()
        taken.socket.close()
        with associated(server) as client:
            assert client.relay == (HOST, taken.port)
            client.send(peer.name, b"hello")
            peer.expect(b"hello")
