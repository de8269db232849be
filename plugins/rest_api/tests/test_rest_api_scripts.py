"""Posted scripts that misbehave, end to end: endless ones, ones that fail half-way, and updates in the midst of requests."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from neosocksd_core.testing import DEADLINE, Client, EchoServer, PlainPlugin, Serve
from neosocksd_rest_api import RestApi

pytest.importorskip("lupa")


RPC = {"Content-Type": "application/x-neosocksd-rpc; version=1"}
NAME = "echo.example"


class World:
    """A server whose ruleset sends one name to an echo server, and a client of its API."""

    def __init__(self, serve: Serve, directory: Path, ruleset: str) -> None:
        self.script = directory / "ruleset.lua"
        self.script.write_text(ruleset)
        self.settings = {
            "listen": "127.0.0.1:0",
            "restapi": "127.0.0.1:0",
            "lua_ruleset": {"ruleset": str(self.script), "time_limit": 0.2, "load_time_limit": 0.2},
        }
        self.server = serve(self.settings, plugins=[PlainPlugin, RestApi, "lua_ruleset"])
        base = "http://{}:{}".format(*self.server.addresses[1][:2])
        self.api = httpx.Client(base_url=base, timeout=DEADLINE)

    def post(self, path: str, code: str, **query: str) -> httpx.Response:
        headers = RPC if path == "rpcall" else {}
        return self.api.post(
            f"/ruleset/{path}", content=code.encode(), params=query, headers=headers
        )

    def ask(self, code: str) -> str:
        """What an expression is worth in the running machine."""
        answer = self.post("rpcall", f"return {code}")
        assert answer.status_code == 200, answer.text
        return answer.text.removeprefix("return true,")

    def client(self, request: str = NAME) -> Client:
        client = Client(self.server.address)
        client.send(f"{request}:80\n".encode())
        return client


@pytest.fixture
def world(serve: Serve, tmp_path: Path, echo: EchoServer) -> Generator[Callable[..., World]]:
    def world(ruleset: str = RULESET) -> World:
        made = World(serve, tmp_path, ruleset.replace("TARGET", f"127.0.0.1:{echo.port}"))
        stack.enter_context(made.api)
        return made

    with ExitStack() as stack:
        yield world


RULESET = """
_G.generation = (_G.generation or 0) + 1
local ruleset = {}
function ruleset.resolve(domain) return "TARGET" end
return ruleset
"""

ENDLESS = [
    ("invoke", "while true do end"),
    ("invoke", "while true do pcall(function() while true do end end) end"),
    ("update", "while true do end"),
    ("rpcall", "while true do end"),
    (
        "rpcall",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    ),
]


@pytest.mark.parametrize(("path", "code"), ENDLESS)
def test_an_endless_script_is_ended_and_all_else_goes_on(
    backend: str, world: Callable[[], World], path: str, code: str
) -> None:
    made = world()
    with made.client() as session:
        session.expect(b"ok\n")
        answer = made.post(path, code)
        assert answer.status_code == 500
        assert made.api.get("/healthy").status_code == 200
        session.send(b"still relayed")
        session.expect(b"still relayed")
        with made.client() as another:
            another.expect(b"ok\n")
        assert made.ask("1 + 1") == "2"


ILL = """
_G.asked = 0
local ruleset = {}
function ruleset.healthy() _G.asked = _G.asked + 1; while not _G.well do end end
return ruleset
"""


def test_a_health_check_that_never_ends_is_not_run_for_each_who_asks(
    world: Callable[[str], World],
) -> None:
    made = world(ILL)
    health = [made.api.get("/healthy") for _ in range(5)]
    health.append(made.api.get("/v1/health"))
    assert [answer.status_code for answer in health] == [503] * 5 + [200]
    assert "time limit" in health[-1].json()["problems"][0]
    assert made.ask("_G.asked") == "1"
    # A call that a peer may make each second is no reason to run it again, another ruleset is.
    assert made.api.get("/healthy").status_code == 503
    assert made.ask("_G.asked") == "1"
    assert made.post("update", "return {}").status_code == 200
    assert made.api.get("/healthy").status_code == 200


def test_a_reload_asks_anew_how_the_server_is(world: Callable[[str], World]) -> None:
    made = world(ILL)
    assert made.api.get("/healthy").status_code == 503
    assert made.api.get("/healthy").status_code == 503
    made.script.write_text("return {}")
    made.server.reload(made.settings)
    assert made.api.get("/healthy").status_code == 200


FAILING = [
    "this is no Lua",
    "error('while it loads')",
    "_G.generation = 'changed'; _G.fresh = 1; error('half-way')",
    "package.loaded.extra = {}; package.loaded.string = {}; error('half-way')",
    "_G.ruleset = {}; error('half-way')",
    "_G.generation = 'changed'; return nil",
    "_G.generation = 'changed'; return 'no table'",
    "_G.generation = 'changed'",
    "_G.generation = 'changed'; while true do end",
]


@pytest.mark.parametrize("code", FAILING)
def test_an_update_that_fails_changes_nothing(world: Callable[[], World], code: str) -> None:
    made = world()
    state = "generation, fresh, package.loaded.extra, package.loaded.string == string, ruleset.resolve ~= nil"
    before = made.ask(state)
    answer = made.post("update", code)
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert made.ask(state) == before
    with made.client() as client:
        client.expect(b"ok\n")


def test_a_module_that_fails_to_load_leaves_the_one_that_was_there(
    world: Callable[[], World],
) -> None:
    made = world()
    assert made.post("update", "return {version = 1}", module="mine").status_code == 200
    for code in ("no Lua", "error('boot')", "package.loaded.mine = {version = 9}; error('boot')"):
        assert made.post("update", code, module="mine").status_code == 500
        assert made.ask("require('mine').version") == "1"
    assert made.post("update", "return {version = 2}", module="mine").status_code == 200
    assert made.ask("require('mine').version") == "2"


@pytest.mark.parametrize("module", ["../../etc/passwd", "a/b", "", "a b", ".", "a\nb"])
def test_what_is_no_name_of_a_module_is_refused(world: Callable[[], World], module: str) -> None:
    answer = world().post("update", "return {}", module=module)
    assert answer.status_code == 400


def test_a_chunk_name_cannot_forge_a_line_of_the_log(
    world: Callable[[], World], caplog: pytest.LogCaptureFixture
) -> None:
    answer = world().post("update", "error('boot')", chunkname="@x\nFAKE line")
    assert answer.status_code == 500
    assert not any("\n" in record.getMessage() for record in caplog.records)


WAITING = """
local ruleset = {}
function ruleset.resolve(domain)
    _G.waiting = (_G.waiting or 0) + 1
    while not _G.go do await.sleep(0.01) end
    return "TARGET"
end
return ruleset
"""


def test_requests_that_wait_during_an_update_end_as_they_began(
    backend: str, world: Callable[[str], World]
) -> None:
    made = world(WAITING)
    with ExitStack() as stack:
        clients = [stack.enter_context(made.client()) for _ in range(200)]
        made.server.wait_until(lambda statistics: statistics.num_request == 200)
        assert made.ask("waiting") == "200"
        refusing = "return {resolve = function() return nil end}"
        assert made.post("update", refusing).status_code == 200
        with made.client() as late:
            assert late.receive_until(b"\n").startswith(b"no ")
        assert made.post("invoke", "_G.go = true").status_code == 200
        for client in clients:
            client.expect(b"ok\n")
            client.send(b"hello")
            client.expect(b"hello")
    statistics = made.server.wait_idle()
    assert (statistics.num_success, statistics.num_reject_ruleset) == (200, 1)
