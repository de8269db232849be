"""Name lookup: the cache, one question at a time, and threads that nobody waits for."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from neosocksd_core import resolver as resolver_module
from neosocksd_core.errors import DialError
from neosocksd_core.loops import open_reactor
from neosocksd_core.protocols import Resolution
from neosocksd_core.reactor import Reactor
from neosocksd_core.reasons import Reason
from neosocksd_core.resolver import LookupResult, Names, SystemResolver, interleave
from neosocksd_core.statistics import Counters
from neosocksd_core.testing import run_async
from neosocksd_core.testing.running import Backend


def unexpected(error: BaseException, where: str, culprit: object = None) -> None:
    raise AssertionError(where) from error


class Answers:
    """Answers with what it is told, once it may."""

    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.asked: list[tuple[str, int]] = []
        self.gate = anyio.Event()

    async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
        self.asked.append((host, family))
        await self.gate.wait()
        return self.resolution


Body = Callable[[Names, Answers, Counters], Awaitable[None]]


def run(body: Body, resolution: Resolution, backend: Backend = "auto") -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            counters, answers = Counters(), Answers(resolution)
            names = Names(reactor, answers, socket.AF_UNSPEC, counters, unexpected)
            await body(names, answers, counters)

    run_async(main, backend)


def test_a_name_is_asked_for_once_at_a_time_and_then_remembered(backend: Backend) -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        found: list[object] = []
        async with anyio.create_task_group() as tasks:

            async def look_up() -> None:
                found.append(await names.resolve("h"))

            for _ in range(5):
                tasks.start_soon(look_up)
            answers.gate.set()
        assert found == [("192.0.2.1",)] * 5
        assert names.cached("h") == names.known("h") == ("192.0.2.1",)
        assert names.known("2001:db8::1") == ("2001:db8::1",)
        assert await names.resolve("h") == ("192.0.2.1",)
        assert answers.asked == [("h", socket.AF_UNSPEC)]
        assert (counters.num_dns_query, counters.num_dns_success) == (1, 1)

    run(body, Resolution(("192.0.2.1",)), backend)


def test_an_answer_without_a_time_to_live_left_is_not_remembered() -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        await names.resolve("h")
        assert names.cached("h") is None

    run(body, Resolution(("192.0.2.1",), ttl=0))


def test_an_answer_is_forgotten_when_its_time_is_over() -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        await names.resolve("h")
        with anyio.fail_after(10):
            while names.cached("h") is not None:
                await anyio.lowlevel.checkpoint()
        await names.resolve("h")
        assert len(answers.asked) == 2

    run(body, Resolution(("192.0.2.1",), ttl=0.001))


def test_the_cache_is_bounded_and_so_are_the_addresses_of_a_name() -> None:
    many = tuple(f"192.0.{n // 250}.{n % 250}" for n in range(500))

    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        assert len(await names.resolve("h0")) == resolver_module.MAX_ADDRESSES
        for number in range(1, resolver_module.CACHE_SIZE + 1):
            await names.resolve(f"h{number}")
        assert names.cached("h0") is None
        assert names.cached("h1") is not None

    run(body, Resolution(many))


def test_no_address_is_a_name_that_was_not_resolved() -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        with pytest.raises(DialError) as caught:
            await names.resolve("h")
        assert caught.value.reason is Reason.NAME_NOT_RESOLVED
        assert names.cached("h") is None
        assert counters.num_dns_success == 0

    run(body, Resolution(()))


def test_no_address_is_remembered_for_as_long_as_the_answer_says_but_not_for_long() -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        for _ in range(2):
            with pytest.raises(DialError) as caught:
                await names.resolve("h")
            assert caught.value.reason is Reason.NAME_NOT_RESOLVED
        assert len(answers.asked) == 1
        assert isinstance(names.cached("h"), DialError)
        assert names.cached("h") is not names.cached("h")  # what is raised is changed by that

    assert resolver_module.MAX_NEGATIVE_TTL <= 60
    run(body, Resolution((), ttl=3600))


def test_that_a_name_has_no_address_is_forgotten_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver_module, "MAX_NEGATIVE_TTL", 0.001)

    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        answers.gate.set()
        with pytest.raises(DialError):
            await names.resolve("h")
        answers.resolution = Resolution(("192.0.2.1",))
        with anyio.fail_after(10):
            while names.cached("h") is not None:
                await anyio.lowlevel.checkpoint()
        assert await names.resolve("h") == ("192.0.2.1",)

    run(body, Resolution((), ttl=3600))


def test_a_lookup_that_was_cancelled_calls_nobody_and_the_others_get_theirs() -> None:
    async def body(names: Names, answers: Answers, counters: Counters) -> None:
        got: list[LookupResult] = []
        done = anyio.Event()

        def finish(result: LookupResult) -> None:
            got.append(result)
            done.set()

        names.look_up("h", lambda _: pytest.fail("was cancelled")).cancel()
        names.look_up("h", finish)
        answers.gate.set()
        await done.wait()
        assert got == [("192.0.2.1",)]

    run(body, Resolution(("192.0.2.1",)))


def test_a_question_that_nobody_waits_for_is_given_up(backend: Backend) -> None:
    given_up: list[str] = []

    class Silent:
        async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
            try:
                await anyio.sleep_forever()
            finally:
                given_up.append(f"{host} {family:d}")
            raise AssertionError

    async def main() -> None:
        async with open_reactor() as reactor:
            names = Names(reactor, Silent(), socket.AF_INET, Counters(), unexpected)
            found: list[LookupResult] = []
            first, second = (names.look_up("h", found.append) for _ in range(2))
            await anyio.lowlevel.checkpoint()
            first.cancel()
            await anyio.wait_all_tasks_blocked()
            assert not given_up
            second.cancel()
            await anyio.wait_all_tasks_blocked()
            assert given_up == [f"h {socket.AF_INET:d}"]
            names.look_up("h", found.append).cancel()
            assert not found

    run_async(main, backend)


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()], ids=repr)
def test_a_resolver_that_raises_fails_the_lookup_and_is_reported(error: BaseException) -> None:
    class Broken:
        async def resolve(self, host: str, family: socket.AddressFamily) -> Resolution:
            raise error

    async def main() -> None:
        async with open_reactor() as reactor:
            told: list[object] = []

            def report(error: BaseException, where: str, culprit: object = None) -> None:
                told.append((error, where, culprit))

            broken = Broken()
            names = Names(reactor, broken, socket.AF_UNSPEC, Counters(), report)
            with pytest.raises(DialError):
                await names.resolve("h")
            assert told == [(error, "resolver", broken)]

    run_async(main)


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        ((), ()),
        (("1", "2"), ("1", "2")),
        (("::1", "::2", "1", "2"), ("::1", "1", "::2", "2")),
        (("1", "2", "3", "::1"), ("1", "::1", "2", "3")),
        (("1", "::1", "::2", "::3"), ("1", "::1", "::2", "::3")),
    ],
)
def test_the_families_take_turns(addresses: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert interleave(addresses) == order


def with_system(body: Callable[[SystemResolver, Reactor], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_reactor() as reactor:
            system = SystemResolver(reactor)
            try:
                await body(system, reactor)
            finally:
                system.close()

    run_async(main)


def test_the_system_finds_literals_of_the_family_that_is_asked_for() -> None:
    async def body(system: SystemResolver, reactor: Reactor) -> None:
        found = await system.resolve("127.0.0.1", socket.AF_UNSPEC)
        assert found.addresses == ("127.0.0.1",)
        with pytest.raises(DialError):
            await system.resolve("127.0.0.1", socket.AF_INET6)

    with_system(body)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "127.0.0.1\0.x", "\udcff"])
def test_what_no_resolver_takes_is_a_name_that_was_not_resolved(host: str) -> None:
    async def body(system: SystemResolver, reactor: Reactor) -> None:
        with pytest.raises(DialError) as caught:
            await system.resolve(host, socket.AF_UNSPEC)
        assert caught.value.reason is Reason.NAME_NOT_RESOLVED

    with_system(body)


def test_a_stuck_name_holds_up_neither_the_others_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck, gate = threading.Event(), threading.Event()
    original = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: object) -> object:
        if host == "stuck":
            stuck.set()
            gate.wait(10)
        return original("127.0.0.1", None)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def body(system: SystemResolver, reactor: Reactor) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.resolve, "stuck", socket.AF_UNSPEC)
            for _ in range(10):
                found = await system.resolve("free", socket.AF_UNSPEC)
                assert found.addresses == ("127.0.0.1",)
            assert stuck.wait(10)
            tasks.cancel_scope.cancel()

    with_system(body)
    gate.set()
