"""The authenticator and the plugin's hooks: who is let in, at what cost, and what a reload changes."""

import contextlib
import gc
import subprocess
import sys
import threading
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from pydantic import ValidationError

from neosocksd_core import Authenticator, ConfigurationError, Credentials
from neosocksd_core.server import Server
from neosocksd_core.testing import Client, Serve, make_server, run_async
from neosocksd_core.testing.running import Backend
from neosocksd_static_auth import authenticator as module
from neosocksd_static_auth.authenticator import StaticAuthenticator
from neosocksd_static_auth.config import StaticAuthSettings
from neosocksd_static_auth.hashing import PasswordHash, make_hash

CLIENT = ("192.0.2.1", 50000)
LISTEN = {"listen": "127.0.0.1:0"}

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def cheap(password: bytes) -> PasswordHash:
    """A hash that is checked in no time."""
    return make_hash(password, scrypt=False, cost=(1,))


def alice_and_bob() -> StaticAuthenticator:
    return StaticAuthenticator({b"alice": cheap(b"wonderland"), b"b\xff": cheap(b"\0\xfe\n")})


async def judge(authenticator: Authenticator, username: bytes, password: bytes | None) -> bool:
    verdict = authenticator.authenticate(Credentials(username, password), CLIENT)
    return verdict if isinstance(verdict, bool) else await verdict


@pytest.mark.parametrize(
    ("username", "password", "accepted"),
    [
        (b"alice", b"wonderland", True),
        (b"b\xff", b"\0\xfe\n", True),
        (b"alice", b"Wonderland", False),
        (b"alice", b"wonderland ", False),
        (b"alice", b"", False),
        (b"Alice", b"wonderland", False),
        (b"alicew", b"onderland", False),
        (b"", b"", False),
        (b"nobody", b"wonderland", False),
        (b"alice", None, False),
    ],
)
async def test_a_user_is_known_by_name_and_password(
    username: bytes, password: bytes | None, accepted: bool
) -> None:
    authenticator = alice_and_bob()
    assert await judge(authenticator, b"alice", b"wonderland")
    for _ in range(2):
        assert await judge(authenticator, username, password) is accepted


async def test_a_good_pair_is_accepted_at_once_the_second_time() -> None:
    authenticator = alice_and_bob()
    good = Credentials(b"alice", b"wonderland")
    first = authenticator.authenticate(good, CLIENT)
    assert not isinstance(first, bool)
    assert await first
    assert authenticator.authenticate(good, CLIENT) is True


async def test_a_bad_pair_is_never_remembered() -> None:
    authenticator = alice_and_bob()
    for _ in range(2):
        verdict = authenticator.authenticate(Credentials(b"alice", b"guess"), CLIENT)
        assert not isinstance(verdict, bool)
        assert not await verdict


async def test_a_user_id_without_password_is_refused_at_once() -> None:
    assert alice_and_bob().authenticate(Credentials(b"alice"), CLIENT) is False


async def test_an_unknown_user_costs_a_check_like_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[tuple[str, tuple[int, ...]]] = []
    verify = PasswordHash.verify

    def count(self: PasswordHash, password: bytes) -> bool:
        checked.append((self.scheme, self.cost))
        return verify(self, password)

    monkeypatch.setattr(PasswordHash, "verify", count)
    authenticator = StaticAuthenticator({b"alice": cheap(b"x")})
    for username in (b"alice", b"nobody"):
        assert not await judge(authenticator, username, b"wrong")
    assert checked == [("pbkdf2-sha256", (1,))] * 2


async def test_nobody_passes_an_empty_table() -> None:
    assert not await judge(StaticAuthenticator({}), b"", b"x")


async def test_no_clear_password_is_remembered() -> None:
    authenticator = alice_and_bob()
    assert await judge(authenticator, b"alice", b"wonderland")
    seen: list[Any] = []
    waiting: list[Any] = [authenticator]
    while waiting:
        seen.append(waiting.pop())
        known = {id(one) for one in (*seen, *waiting)}
        referents: list[Any] = gc.get_referents(seen[-1])
        for one in referents:
            ours = type(one).__module__.startswith("neosocksd_static")
            if id(one) not in known and (ours or isinstance(one, (bytes, dict))):
                waiting.append(one)
    texts = [one for one in seen if isinstance(one, bytes)]
    assert b"alice" in texts
    assert not any(b"wonderland" in text for text in texts)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    authenticator = StaticAuthenticator({name: cheap(b"x") for name in (b"a", b"b", b"c")})
    for name in (b"a", b"b", b"a", b"c"):
        assert await judge(authenticator, name, b"x")
    at_once = {
        name: authenticator.authenticate(Credentials(name, b"x"), CLIENT) is True
        for name in (b"a", b"c")
    }
    assert at_once == {b"a": True, b"c": True}
    forgotten = authenticator.authenticate(Credentials(b"b", b"x"), CLIENT)
    assert not isinstance(forgotten, bool)
    assert await forgotten


class Gate:
    """Holds checks until it is opened, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.started = 0
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        verify = PasswordHash.verify

        def wait(hashed: PasswordHash, password: bytes) -> bool:
            with self._lock:
                self.started += 1
                self._running += 1
                self.most = max(self.most, self._running)
            assert self.open.wait(20)
            with self._lock:
                self._running -= 1
            return verify(hashed, password)

        monkeypatch.setattr(PasswordHash, "verify", wait)

    async def reached(self, count: int) -> None:
        with anyio.fail_after(20):
            while self.started < count:
                await anyio.lowlevel.checkpoint()


async def test_the_event_loop_runs_on_while_few_checks_run_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    gate = Gate(monkeypatch)
    authenticator = alice_and_bob()
    verdicts: list[bool] = []

    async def one(password: bytes) -> None:
        verdicts.append(await judge(authenticator, b"alice", password))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(one, b"%d" % number)
        await gate.reached(2)
        gate.open.set()
    assert verdicts == [False] * 6
    assert gate.most <= 2


async def test_one_check_serves_all_who_wait_with_the_same_good_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    gate = Gate(monkeypatch)
    authenticator = alice_and_bob()
    verdicts: list[bool] = []

    async def one() -> None:
        verdicts.append(await judge(authenticator, b"alice", b"wonderland"))

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(one)
        await gate.reached(1)
        gate.open.set()
    assert verdicts == [True] * 6
    assert gate.started == 1


async def test_beyond_a_bound_of_waiting_checks_clients_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING", 1)
    gate = Gate(monkeypatch)
    authenticator = alice_and_bob()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(judge, authenticator, b"alice", b"guess")
        await gate.reached(1)
        assert authenticator.authenticate(Credentials(b"alice", b"x"), CLIENT) is False
        gate.open.set()
    assert await judge(authenticator, b"alice", b"wonderland")


async def test_clients_that_leave_have_no_more_checks_run_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    gate = Gate(monkeypatch)
    authenticator = alice_and_bob()
    left = anyio.CancelScope()

    async def leave() -> None:
        with left:
            await judge(authenticator, b"alice", b"guess")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        await gate.reached(1)
        left.cancel()
        tasks.start_soon(judge, authenticator, b"alice", b"wonderland")
        await anyio.wait_all_tasks_blocked()
        assert gate.started == 1
        gate.open.set()
    assert (gate.started, gate.most) == (2, 1)


def test_a_stop_does_not_wait_for_a_check_that_runs(
    serve: Serve, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    server = serve(
        {**LISTEN, "auth_required": True, "static_auth": {"users": {"a": str(cheap(b"x"))}}},
        plugins=["socks5", "static_auth"],
    )
    with Client(server.address) as client:
        client.send(b"\x05\x01\x02\x01\x01a\x01x")
        client.expect(b"\x05\x02")
        run_async(partial(gate.reached, 1))
        [check] = [t for t in threading.enumerate() if t.name == "neosocksd password check"]
        assert check.daemon  # the end of the process does not wait for it either
        server.stop()
        assert check.is_alive()
    gate.open.set()


async def test_new_users_count_for_a_check_that_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(monkeypatch)
    authenticator = alice_and_bob()
    verdicts: list[bool] = []

    async def one() -> None:
        verdicts.append(await judge(authenticator, b"alice", b"wonderland"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        await gate.reached(1)
        authenticator.replace_users({b"alice": cheap(b"changed")})
        gate.open.set()
    assert verdicts == [False]


# The hooks.


def make(**values: object) -> Server:
    return make_server({**LISTEN, "static_auth": values}, plugins=["static_auth", "socks5"])


def create(server: Server) -> Authenticator | None:
    return server.plugins.create_authenticator(server)


def reload(server: Server, **values: object) -> None:
    with contextlib.closing(server):
        server.reload({**LISTEN, "static_auth": values})


def test_without_users_there_is_no_authenticator_until_a_reload_brings_some() -> None:
    server = make()
    assert create(server) is None
    reload(server)
    assert create(server) is None
    reload(server, users={"a": str(cheap(b"x"))})
    assert create(server) is not None


async def test_users_come_from_the_settings_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(
        b"# comment\r\n\r\n  b\xff:" + str(cheap(b"2")).encode() + b"  \n" + b"#c:no hash\n"
    )
    authenticator = create(make(users={"\xe4": str(cheap(b"1"))}, users_file=str(file)))
    assert authenticator is not None
    assert await judge(authenticator, "\xe4".encode(), b"1")
    assert await judge(authenticator, b"b\xff", b"2")
    assert not await judge(authenticator, b"#c", b"2")


async def test_a_byte_order_mark_before_the_first_user_is_none_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"alice:{cheap(b'1')}\n", encoding="utf-8-sig")
    authenticator = create(make(users_file=str(file)))
    assert authenticator is not None
    assert await judge(authenticator, b"alice", b"1")


async def test_a_reload_reads_the_file_again_and_forgets_who_was_good(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"a:{cheap(b'old')}\n")
    server, other = make(users_file=str(file)), make(users={"a": str(cheap(b"old"))})
    authenticator, untouched = create(server), create(other)
    assert authenticator is not None
    assert untouched is not None
    assert await judge(authenticator, b"a", b"old")
    file.write_text(f"a:{cheap(b'new')}\n")
    reload(server, users_file=str(file))
    assert not await judge(authenticator, b"a", b"old")
    assert await judge(authenticator, b"a", b"new")
    assert await judge(untouched, b"a", b"old")
    file.write_text("a:broken\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        reload(server, users_file=str(file))
    assert await judge(authenticator, b"a", b"new")


def test_errors_of_the_file_name_file_and_line_and_never_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "users"
    good = str(cheap(b"x"))
    for content, expected in (
        (f"a:{good}\nb:{good}x$\n", "line 2: user 'b': not a password hash"),
        (f"a:{good}\n\na:{good}\n", "line 3: user 'a' stands here for the second time"),
        (f"{good}\n", "line 1: expected NAME:HASH"),
        (f":{good}\n", "line 1: expected NAME:HASH"),
    ):
        file.write_text(content)
        with pytest.raises(ConfigurationError) as caught:
            create(make(users_file=str(file)))
        assert f"{file}, {expected}" in str(caught.value)
        assert good.rpartition("$")[2] not in str(caught.value)
        assert "\n" not in str(caught.value)
    file.write_text(f"a:{good}\n")
    with pytest.raises(ConfigurationError, match=r"^static_auth\.users: user 'a' stands in .* too"):
        create(make(users_file=str(file), users={"a": good}))
    for path in (tmp_path / "missing", tmp_path, "a\0b", "a" * 5000):
        with pytest.raises(ConfigurationError, match="users_file"):
            create(make(users_file=str(path)))


def test_errors_of_the_settings_name_the_user_and_never_the_hash() -> None:
    with pytest.raises(ValidationError) as caught:
        StaticAuthSettings.model_validate({"users": {"alice": "secret-hash"}})
    assert "user 'alice': not a password hash" in str(caught.value)
    assert "secret-hash" not in str(caught.value)
    good = str(cheap(b"x"))
    assert good not in repr(StaticAuthSettings.model_validate({"users": {"a": good}}))


def test_the_authenticator_protocol_is_kept() -> None:
    authenticator: Authenticator = alice_and_bob()
    verdict = authenticator.authenticate(Credentials(b"a", b"b"), CLIENT)
    assert isinstance(verdict, Awaitable)
    cast(Any, verdict).close()


def test_importing_the_plugin_imports_nothing_else_of_it() -> None:
    code = "import neosocksd_static_auth as p, sys; print(*[m for m in sys.modules if p.__name__ in m])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["neosocksd_static_auth"]


async def test_one_clients_guesses_lock_nobody_else_out() -> None:
    authenticator = alice_and_bob()
    verdicts: list[bool] = []
    async with anyio.create_task_group() as tasks:

        async def guess(number: int) -> None:
            pair = Credentials(b"alice", b"%d" % number)
            verdict = authenticator.authenticate(pair, CLIENT)
            verdicts.append(verdict if isinstance(verdict, bool) else await verdict)

        for number in range(300):
            tasks.start_soon(guess, number)
        await anyio.lowlevel.checkpoint()
        good = Credentials(b"alice", b"wonderland")
        verdict = authenticator.authenticate(good, ("192.0.2.99", 1))
        assert not isinstance(verdict, bool)
        assert await verdict
    assert verdicts == [False] * 300
