"""What the tests of the whole server share: a server with an echo behind it and a control session through it."""

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from neosocksd_core.errors import DialError
from neosocksd_core.protocols import Resolution
from neosocksd_core.reasons import Reason
from neosocksd_core.testing import DEADLINE, Client, EchoServer, RunningServer
from tests.command import socks5_request


@dataclass
class Names:
    """A resolver that knows the names it is given, and remembers which it was asked for."""

    known: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    asked: list[str] = field(default_factory=list[str])

    async def resolve(self, host: str, family: int) -> Resolution:
        self.asked.append(host)
        if host not in self.known:
            raise DialError(Reason.NAME_NOT_RESOLVED, f"{host}: unknown")
        return Resolution(self.known[host])


@dataclass
class World:
    """A SOCKS server, an echo server, a session between them that must stay alive, and what was there at the start."""

    server: RunningServer
    echo: EchoServer
    control: Client
    names: Names
    lines: list[str]
    _sockets: int = 0
    _tasks: int = 0

    def connect(self, **options: Any) -> Client:
        """A client of the server."""
        return Client(self.server.address, **options)

    def ping(self) -> None:
        """The control session still echoes; what the server was sent before that, it has seen."""
        self.control.send(b"ping")
        self.control.expect(b"ping")

    def remember(self) -> None:
        """Take what is there now for the base."""
        self.ping()
        self._sockets, self._tasks = count_sockets(), self.server.count_tasks()

    def expect_no_growth(self) -> None:
        """Nothing but the control session is left, and it still echoes."""
        statistics = self.server.wait_until(lambda s: (s.num_sessions, s.num_halfopen) == (1, 0))
        assert statistics.num_sessions_peak >= 1
        deadline = time.monotonic() + DEADLINE
        while count_sockets() > self._sockets or self.server.count_tasks() > self._tasks:
            assert time.monotonic() < deadline, "sockets or tasks are left"
            self.ping()


def count_sockets() -> int:
    """The open sockets of this process, which is the server's too."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            count += os.readlink(Path("/proc/self/fd") / name).startswith("socket:")
    return count


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(
    serve: Callable[..., RunningServer], echo: EchoServer, request: pytest.FixtureRequest
) -> Generator[MakeWorld]:
    """Build a :class:`World`: ``make_world(settings, router=…, credentials=b"…")``."""
    with ExitStack() as stack:

        def make(
            settings: dict[str, Any] | None = None, *, login: bytes = b"", **options: Any
        ) -> World:
            handler = Lines()
            log = logging.Logger(f"test.{request.function.__name__}", logging.INFO)
            log.addHandler(handler)
            log.parent = logging.getLogger()
            names = options.setdefault("resolver", Names())
            server = serve(
                {"listen": "127.0.0.1:0", **(settings or {})},
                plugins=["socks5"],
                log=log,
                **options,
            )
            control = stack.enter_context(Client(server.address))
            opening = socks5_request(echo.address)
            if login:
                control.send(b"\x05\x01\x02" + login)
                control.expect(b"\x05\x02\x01\x00")
            else:
                control.send(opening[:3])
                control.expect(b"\x05\x00")
            control.send(opening[3:])
            assert control.receive(10)[:2] == b"\x05\x00"
            world = World(server, echo, control, names, handler.lines)
            world.remember()
            return world

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with the settings as they are."""
    return make_world()


@pytest.fixture
def names_of() -> Callable[[dict[str, tuple[str, ...]]], Names]:
    """Make a resolver of the names it knows."""
    return Names
