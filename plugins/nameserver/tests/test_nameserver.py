"""The resolver against a small real DNS server on loopback, over UDP and TCP, under each event loop."""

import contextlib
import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNSPEC, AddressFamily
from typing import Any

import anyio
import anyio.lowlevel
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from pydantic import ValidationError

import neosocksd_nameserver
from neosocksd_core import Address, DialError, Reason, Resolution
from neosocksd_core.testing import make_server
from neosocksd_nameserver import resolver as resolver_module
from neosocksd_nameserver.config import NameserverSettings, parse_nameserver
from neosocksd_nameserver.resolver import ADDRESS_LIMIT, DnsResolver
from neosocksd_nameserver.testing import DnsServer, Handler, reply, zone

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower family is waited for, however slow this machine is."""
    monkeypatch.setattr(resolver_module, "RESOLUTION_DELAY", 30.0)


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], DnsServer]]:
    with ExitStack() as stack:
        yield lambda handle: stack.enter_context(DnsServer(handle))


Serve = Callable[[Handler], DnsServer]


def resolver(server: DnsServer, timeout: float = 20) -> DnsResolver:
    section = NameserverSettings(address=server.address, timeout=timeout)
    return DnsResolver(lambda: section)


BOTH = ("h.test 300 A 192.0.2.1", "h.test 60 AAAA 2001:db8::1")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("family", "addresses", "ttl", "asked"),
    [
        (AF_INET, ("192.0.2.1",), 300.0, {"A"}),
        (AF_INET6, ("2001:db8::1",), 60.0, {"AAAA"}),
        (AF_UNSPEC, ("2001:db8::1", "192.0.2.1"), 60.0, {"A", "AAAA"}),
    ],
)
async def test_the_families_asked_for_are_looked_up(
    serve: Serve, family: AddressFamily, addresses: tuple[str, ...], ttl: float, asked: set[str]
) -> None:
    server = serve(zone(*BOTH))
    assert await resolver(server).resolve("h.test", family) == Resolution(addresses, ttl)
    assert {kind for _, kind, _ in server.asked} == asked
    assert len(server.asked) == len(asked)


async def test_names_are_asked_as_they_are(serve: Serve) -> None:
    server = serve(zone("single 5 A 192.0.2.1", "_x.h.test 5 A 192.0.2.2"))
    for host in ("single", "single.", "SINGLE", "_x.h.test"):
        assert (await resolver(server).resolve(host, AF_INET)).ttl == 5
    assert [name for name, _, _ in server.asked] == ["single", "single", "SINGLE", "_x.h.test"]


@pytest.mark.usefixtures("patient")
async def test_addresses_of_both_families_take_turns_and_are_bounded(serve: Serve) -> None:
    many = [f"h.test 9 A 10.0.{i // 256}.{i % 256}" for i in range(500)]
    server = serve(
        lambda query, tcp: [
            reply(query, *(many if tcp else many[:5]), *BOTH[1:], flags=0 if tcp else dns.flags.TC)
        ]
    )
    found = await resolver(server).resolve("h.test", AF_UNSPEC)
    assert found.addresses[:3] == ("2001:db8::1", "10.0.0.0", "10.0.0.1")
    assert len(found.addresses) == 1 + ADDRESS_LIMIT


async def test_one_family_is_enough(serve: Serve) -> None:
    for rcode in (0, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED):

        def handle(query: dns.message.Message, tcp: bool, rcode: int = rcode) -> list[bytes]:
            if query.question[0].rdtype == dns.rdatatype.AAAA:
                return [reply(query, rcode=rcode)]
            return [reply(query, *BOTH)]

        found = await resolver(serve(handle)).resolve("h.test", AF_UNSPEC)
        assert found == Resolution(("192.0.2.1",), 300.0)


async def test_a_silent_family_holds_the_other_up_only_a_moment(serve: Serve) -> None:
    def handle(query: dns.message.Message, tcp: bool) -> list[bytes]:
        return [] if query.question[0].rdtype == dns.rdatatype.AAAA else [reply(query, *BOTH)]

    with anyio.fail_after(2):
        found = await resolver(serve(handle), timeout=20).resolve("h.test", AF_UNSPEC)
    assert found.addresses == ("192.0.2.1",)


async def test_a_chain_of_names_has_the_smallest_time_to_live(serve: Serve) -> None:
    chain = ("h.test 300 CNAME i.test", "i.test 7 CNAME j.test", "j.test 100 A 192.0.2.1")
    found = await resolver(serve(zone(*chain))).resolve("h.test", AF_INET)
    assert found == Resolution(("192.0.2.1",), 7.0)
    found = await resolver(serve(zone("h.test 0 A 192.0.2.1"))).resolve("h.test", AF_INET)
    assert found.ttl == 0


def wrong_id(query: dns.message.Message) -> bytes:
    answer = reply(query, "h.test 1 A 192.0.2.66", "h.test 1 AAAA 2001:db8::66")
    return bytes((answer[0] ^ 0xFF,)) + answer[1:]


async def test_forged_and_damaged_datagrams_are_passed_over(serve: Serve) -> None:
    def handle(query: dns.message.Message, tcp: bool) -> list[bytes]:
        other = dns.message.make_query("other.test", query.question[0].rdtype, id=query.id)
        forged = reply(other, "other.test 1 A 192.0.2.66", "other.test 1 AAAA 2001:db8::66")
        return [b"", b"junk", wrong_id(query), forged, reply(query, *BOTH)]

    found = await resolver(serve(handle)).resolve("h.test", AF_UNSPEC)
    assert found.addresses == ("2001:db8::1", "192.0.2.1")


async def test_a_truncated_answer_is_asked_for_again_over_tcp(serve: Serve) -> None:
    server = serve(
        lambda query, tcp: [reply(query, *BOTH) if tcp else reply(query, flags=dns.flags.TC)]
    )
    found = await resolver(server).resolve("h.test", AF_INET)
    assert found.addresses == ("192.0.2.1",)
    assert [tcp for _, _, tcp in server.asked] == [False, True]


async def test_what_is_empty_and_truncated_over_tcp_too_is_not_believed(serve: Serve) -> None:
    lookup = resolver(serve(lambda query, tcp: [reply(query, flags=dns.flags.TC)]))
    assert await lookup.resolve("h.test", AF_INET) == Resolution((), 0)


# fmt: off
FAILURES: dict[str, Handler] = {
    "server failure": lambda query, tcp: [reply(query, rcode=dns.rcode.SERVFAIL)],
    "refused": lambda query, tcp: [reply(query, rcode=dns.rcode.REFUSED)],
    "a loop of names": zone("h.test 1 CNAME i.test", "i.test 1 CNAME h.test"),
    "a name for itself": zone("h.test 1 CNAME h.test"),
    "nothing over TCP": lambda query, tcp: [] if tcp else [reply(query, flags=dns.flags.TC)],
    "junk over TCP": lambda query, tcp: [b"junk" if tcp else reply(query, flags=dns.flags.TC)],
}
SILENT: dict[str, Handler] = {
    "silence": lambda query, tcp: [],
    "junk": lambda query, tcp: [b"\0" * 40],
    "a wrong id": lambda query, tcp: [wrong_id(query)],
}
# fmt: on


@pytest.mark.parametrize("family", [AF_INET, AF_UNSPEC])
@pytest.mark.parametrize("handle", FAILURES.values(), ids=FAILURES)
async def test_a_failure_is_a_name_not_resolved(
    serve: Serve, handle: Handler, family: AddressFamily
) -> None:
    with anyio.fail_after(10), pytest.raises(DialError, match=r"h\.test") as caught:
        await resolver(serve(handle)).resolve("h.test", family)
    assert caught.value.reason is Reason.NAME_NOT_RESOLVED
    assert "\n" not in str(caught.value)


AUTHORITY = "test {} SOA ns.test. root.test. 1 3600 600 86400 {}"
NOTHING: dict[str, tuple[list[str], float]] = {
    "the time to live of the SOA": ([AUTHORITY.format(20, 900)], 20),
    "the minimum of the SOA": ([AUTHORITY.format(900, 25)], 25),
    "that of a chain of names": (["h.test 7 CNAME i.test", AUTHORITY.format(20, 25)], 7),
    "none without a SOA": ([], 0),
}


@pytest.mark.parametrize("rcode", [0, dns.rcode.NXDOMAIN])
@pytest.mark.parametrize("family", [AF_INET, AF_UNSPEC])
@pytest.mark.parametrize(("records", "ttl"), NOTHING.values(), ids=NOTHING)
async def test_that_a_name_has_no_addresses_may_be_believed_as_long_as_the_answer_says(
    serve: Serve, records: list[str], ttl: float, family: AddressFamily, rcode: int
) -> None:
    lookup = resolver(serve(lambda query, tcp: [reply(query, *records, rcode=rcode)]))
    assert await lookup.resolve("h.test", family) == Resolution((), ttl)


@pytest.mark.parametrize("rcode", [None, dns.rcode.SERVFAIL])
async def test_a_name_is_not_known_to_have_no_addresses_while_one_family_is_not_known(
    serve: Serve, rcode: int | None
) -> None:
    def handle(query: dns.message.Message, tcp: bool) -> list[bytes]:
        if query.question[0].rdtype == dns.rdatatype.AAAA:
            return [reply(query, AUTHORITY.format(20, 20))]
        return [] if rcode is None else [reply(query, rcode=rcode)]

    with pytest.raises(DialError):
        await resolver(serve(handle), timeout=0.5).resolve("h.test", AF_UNSPEC)


@pytest.mark.parametrize("handle", SILENT.values(), ids=SILENT)
async def test_a_lookup_ends_in_time(serve: Serve, handle: Handler) -> None:
    with anyio.fail_after(5), pytest.raises(DialError, match=r"h\.test") as caught:
        await resolver(serve(handle), timeout=0.2).resolve("h.test", AF_UNSPEC)
    assert caught.value.reason is Reason.NAME_NOT_RESOLVED


@pytest.mark.parametrize("host", [".".join(["a" * 63] * 4), "a" * 64, "a..b"])
async def test_a_name_that_dns_cannot_hold_is_not_resolved(serve: Serve, host: str) -> None:
    server = serve(zone())
    with pytest.raises(DialError) as caught:
        await resolver(server).resolve(host, AF_UNSPEC)
    assert caught.value.reason is Reason.NAME_NOT_RESOLVED
    assert not server.asked


async def test_localhost_is_never_asked_for(serve: Serve) -> None:
    server = serve(zone("localhost 1 A 192.0.2.66"))
    for host in ("localhost", "LocalHost.", "a.b.localhost"):
        for family, addresses in (
            (AF_UNSPEC, ("::1", "127.0.0.1")),
            (AF_INET, ("127.0.0.1",)),
            (AF_INET6, ("::1",)),
        ):
            assert await resolver(server).resolve(host, family) == Resolution(addresses)
    assert not server.asked
    assert not (await resolver(server).resolve("notlocalhost", AF_UNSPEC)).addresses


async def test_a_cancelled_lookup_leaves_nothing_open(serve: Serve) -> None:
    arrived = threading.Event()

    def handle(query: dns.message.Message, tcp: bool) -> list[bytes]:
        arrived.set()
        return []

    lookup = resolver(serve(handle))
    before = open_descriptors()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lookup.resolve, "h.test", AF_INET)
        with anyio.fail_after(10):
            while not arrived.is_set():
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        while open_descriptors() > before:
            await anyio.lowlevel.checkpoint()


async def test_a_lookup_may_be_cancelled_at_any_step(serve: Serve) -> None:
    lookup = resolver(serve(lambda query, tcp: []))
    before = open_descriptors()
    for steps in range(12):
        for _ in range(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lookup.resolve, "h.test", AF_UNSPEC)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        while open_descriptors() > before:
            await anyio.lowlevel.checkpoint()


async def test_no_descriptors_left_is_no_fault_of_the_name(serve: Serve) -> None:
    lookup = resolver(serve(zone(*BOTH)))
    assert (await lookup.resolve("h.test", AF_INET)).addresses
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(DialError) as caught:
            await lookup.resolve("h.test", AF_UNSPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.reason is Reason.GENERAL_FAILURE
    assert os.strerror(errno.EMFILE) in str(caught.value)


async def test_a_reload_changes_the_server_that_is_asked(serve: Serve) -> None:
    first, second = serve(zone("h.test 1 A 192.0.2.1")), serve(zone("h.test 1 A 192.0.2.2"))
    listen = {"listen": "127.0.0.1:0"}
    context = make_server(listen | {"nameserver": first.address}, plugins=["nameserver", "socks5"])
    lookup = neosocksd_nameserver.create_resolver(context)
    assert lookup is not None
    assert (await lookup.resolve("h.test", AF_INET)).addresses == ("192.0.2.1",)
    with contextlib.closing(context):
        context.reload(listen | {"nameserver": second.address})
        assert (await lookup.resolve("h.test", AF_INET)).addresses == ("192.0.2.2",)
        context.reload(listen)
        assert (await lookup.resolve("h.test", AF_INET)).addresses == ("192.0.2.2",)
    assert neosocksd_nameserver.create_resolver(context) is None


NO_QUESTION = dns.message.Message(id=1).to_wire()


@pytest.mark.parametrize(
    "part",
    [b"", b"\0", b"\0\x20half", b"\0\0", b"\0\x04junk", b"\0" + bytes((12,)) + NO_QUESTION],
)
async def test_the_server_for_tests_outlives_a_client_that_asks_nothing(
    serve: Serve, part: bytes
) -> None:
    server = serve(zone(*BOTH))
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(part)
    with socket.socket(AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(part, (host, int(port)))
    assert (await resolver(server).resolve("h.test", AF_INET)).addresses == ("192.0.2.1",)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", Address("192.0.2.53", 53)),
        ("192.0.2.53:5353", Address("192.0.2.53", 5353)),
        ("2001:db8::53", Address("2001:db8::53", 53)),
        ("[2001:db8::53]", Address("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", Address("2001:db8::53", 5353)),
    ],
)
def test_the_port_may_be_left_out(text: str, address: Address) -> None:
    assert parse_nameserver(text) == address
    assert NameserverSettings(address=text).address == text


@pytest.mark.parametrize(
    "text", ["dns.example", "192.0.2.53:0", "192.0.2.53:70000", "1.2.3", ":53"]
)
def test_a_bad_address_is_an_error_of_the_settings(text: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        NameserverSettings(address=text)


def test_importing_the_plugin_does_not_import_dnspython() -> None:
    code = (
        "import neosocksd_nameserver as p, sys; p.config_model();"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in ('dns', p.__name__)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["neosocksd_nameserver", "neosocksd_nameserver.config"]
