"""Names that resolve to nothing, to too much, to what must not be reached, or late: the rows U-5 and U-9 of the specification.

The installed command asks a name server of the test's own. What the answers themselves can be is gone through in the plugin's tests.
"""

from collections.abc import Generator
from contextlib import ExitStack

import dns.message
import pytest

from neosocksd_core.testing import BlackHole, Client, EchoServer, Peer, closed_address
from neosocksd_nameserver.testing import DnsServer, Handler, reply, zone
from tests.command import Command

OK = b"\x05\x00\x05\x00\x00"


@pytest.fixture
def stack() -> Generator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, answers: Handler, *flags: str) -> tuple[Command, DnsServer]:
    """The command, and the name server that it asks."""
    server = stack.enter_context(DnsServer(answers))
    return stack.enter_context(Command("--nameserver", server.address, *flags)), server


def ask(command: Command, name: str, port: int) -> Client:
    """A client that has asked for a name."""
    client = Client(command.address)
    raw = name.encode()
    client.send(
        b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(raw),)) + raw + port.to_bytes(2, "big")
    )
    return client


def expect_failure(command: Command, name: str, port: int, code: int) -> None:
    with ask(command, name, port) as client:
        client.expect(b"\x05\x00\x05" + bytes((code,)))
        client.receive_all()


# U-5: happy eyeballs


def test_u5_a_dead_ipv6_address_is_given_up_for_ipv4_and_its_socket_closed(
    stack: ExitStack, echo: EchoServer
) -> None:
    records = ("dual.test 60 AAAA ::1", "dual.test 60 A 127.0.0.1")
    with BlackHole("::1", port=echo.port):
        command, server = start(stack, zone(*records))
        for _ in range(2):  # the second time from the cache
            with ask(command, "dual.test", echo.port) as client:
                client.expect(OK + b"\x01\x7f\x00\x00\x01")
                client.receive(2)
                # The listener, the client, the one upstream that has won; not the one that hangs.
                assert count_sockets(command, echo.port) == 1
                client.send(b"hi")
                client.expect(b"hi")
        assert len(server.asked) == 2


def count_sockets(command: Command, port: int) -> int:
    """The connections of the command to a port, those that hang among them."""
    inodes = command.socket_inodes()
    count = 0
    for table in ("tcp", "tcp6"):
        for line in (command.proc / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            count += fields[9] in inodes and int(fields[2].rpartition(":")[2], 16) == port
    return count


def test_u5_where_all_of_twenty_addresses_refuse_the_client_is_told(stack: ExitStack) -> None:
    records = [f"dead.test 60 A 127.0.1.{number}" for number in range(20)]
    with closed_address() as closed:
        command, _ = start(stack, zone(*records))
        expect_failure(command, "dead.test", closed[1], 5)


def test_u5_where_all_addresses_hang_the_attempt_has_one_time_limit(stack: ExitStack) -> None:
    records = ("dead.test 60 A 127.0.0.1", "dead.test 60 AAAA ::1")
    with BlackHole() as hole, BlackHole("::1", port=hole.port):
        command, _ = start(stack, zone(*records), "--dial-timeout", "0.3")
        expect_failure(command, "dead.test", hole.port, 6)
        assert count_sockets(command, hole.port) == 0


# U-9: names


def refusal(rcode: int) -> Handler:
    """Answers every question with an error."""
    return lambda query, tcp: [reply(query, rcode=rcode)]


def silent(query: dns.message.Message, tcp: bool) -> list[bytes]:
    return []


def loop(query: dns.message.Message, tcp: bool) -> list[bytes]:
    return [reply(query, "a.test 60 CNAME b.test", "b.test 60 CNAME a.test")]


def garbage(query: dns.message.Message, tcp: bool) -> list[bytes]:
    return [b"\xff" * 40, b""]


@pytest.mark.parametrize(
    "answers",
    [
        refusal(3),
        refusal(2),
        silent,
        loop,
        garbage,
        zone(),
    ],
    ids=["NXDOMAIN", "SERVFAIL", "silence", "CNAME loop", "garbage", "no addresses"],
)
def test_u9_a_name_without_an_answer_is_host_unreachable(
    stack: ExitStack, answers: Handler
) -> None:
    command, _ = start(stack, answers, "--nameserver-timeout", "0.3")
    expect_failure(command, "a.test", 80, 4)


def test_u9_a_lookup_that_takes_too_long_is_a_timeout_of_the_dial(stack: ExitStack) -> None:
    command, _ = start(stack, silent, "--dial-timeout", "0.3")
    expect_failure(command, "a.test", 80, 6)


def test_u9_of_hundreds_of_addresses_only_some_are_tried(
    stack: ExitStack, echo: EchoServer
) -> None:
    def many(query: dns.message.Message, tcp: bool) -> list[bytes]:
        if not tcp:
            return [reply(query, flags=0x0200)]  # truncated
        refusing = [f"many.test 60 A 127.0.1.{number % 250}" for number in range(499)]
        return [reply(query, "many.test 60 A 127.0.0.1", *refusing)]

    command, server = start(stack, many, "-4")
    with ask(command, "many.test", echo.port) as client:
        client.expect(OK)
    assert [tcp for _, _, tcp in server.asked] == [False, True]


def test_u9_an_answer_to_another_question_is_not_believed(
    stack: ExitStack, echo: EchoServer
) -> None:
    def forged(query: dns.message.Message, tcp: bool) -> list[bytes]:
        good = reply(query, "a.test 60 A 127.0.0.1")
        bad = reply(query, "a.test 60 A 127.0.0.9")
        return [bytes((bad[0] ^ 0xFF,)) + bad[1:], good]

    command, _ = start(stack, forged, "-4")
    with ask(command, "a.test", echo.port) as client:
        client.expect(OK + b"\x01\x7f\x00\x00\x01")
        client.receive(2)
        client.send(b"hi")
        client.expect(b"hi")


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        ("A 127.0.0.1", "loopback"),
        ("A 169.254.169.254", "local"),
        ("A 10.0.0.1", "local"),
        ("AAAA ::1", "loopback"),
        ("AAAA ::ffff:127.0.0.1", "loopback"),
        ("AAAA ::ffff:10.0.0.1", "local"),
        ("AAAA fd00::1", "local"),
        ("A 0.0.0.0", "multicast"),
        ("AAAA ::", "multicast"),
    ],
)
def test_u9_a_public_name_with_a_private_address_obeys_the_block_list(
    stack: ExitStack, record: str, flags: str
) -> None:
    command, _ = start(stack, zone(f"a.test 60 {record}"), "--block-outbound", flags)
    with Peer() as peer:
        expect_failure(command, "a.test", peer.port, 2)
        peer.expect_no_connection()


def test_u9_a_name_that_changes_its_address_is_connected_to_where_it_was_judged(
    stack: ExitStack, echo: EchoServer
) -> None:
    """With a time to live of 0 nothing is remembered; each request asks once, and is judged by what it then connects to."""
    addresses = iter(["127.0.0.1", "10.0.0.1"])

    def rebind(query: dns.message.Message, tcp: bool) -> list[bytes]:
        return [reply(query, f"a.test 0 A {next(addresses)}")]

    command, server = start(stack, rebind, "-4", "--block-outbound", "local")
    with ask(command, "a.test", echo.port) as client:
        client.expect(OK + b"\x01\x7f\x00\x00\x01")
    assert len(server.asked) == 1
    expect_failure(command, "a.test", echo.port, 2)
    assert len(server.asked) == 2


def test_u9_our_own_listener_by_a_name_is_refused(stack: ExitStack) -> None:
    command, _ = start(stack, zone("self.test 60 A 127.0.0.1"))
    expect_failure(command, "self.test", command.address[1], 2)
