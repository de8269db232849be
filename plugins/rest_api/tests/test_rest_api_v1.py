"""The JSON interface, with a real HTTP client: statistics, sessions, log, reload, events."""

import gc
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import anyio.lowlevel
import httpx
import pytest

from neosocksd_core import ConfigurationError, ServerContext, SessionInfo, hookimpl
from neosocksd_core.addresses import Address
from neosocksd_core.server import Server
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
    run_async,
)
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.feed import MOST_WAITING, Meter, Reader, write_rows
from neosocksd_rest_api.models import LogEvents, Session, SessionList
from neosocksd_rest_api.queries import select

SETTINGS: Mapping[str, Any] = {"listen": "127.0.0.1:0", "restapi": "127.0.0.1:0"}


class Sick:
    """Is not well, and has a metric of a script engine."""

    @hookimpl
    def check_health(self, server: ServerContext) -> str:
        return "the moon is full"

    @hookimpl
    def report_metrics(self, server: ServerContext) -> str:
        return "# TYPE neosocksd_lua_memory_bytes gauge\nneosocksd_lua_memory_bytes 4096\n"

    @hookimpl
    def report_stats(self, server: ServerContext, interval: float, query: str) -> str:
        return f"asked for {query}"


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    return serve(SETTINGS, plugins=[PlainPlugin, RestApi])


def base_of(server: RunningServer) -> str:
    return "http://{}:{}".format(*server.addresses[1][:2])


@pytest.fixture
def api(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_of(server)) as client:
        yield client


@pytest.fixture
def connect(server: RunningServer, echo: EchoServer) -> Iterator[Callable[..., Client]]:
    with ExitStack() as clients:

        def connect(username: str = "") -> Client:
            client = clients.enter_context(Client(server.address))
            client.send(plain_request(echo.address, username) + b"hello")
            client.expect(b"ok\nhello")
            return client

        yield connect


def test_statistics_are_those_of_the_server(
    backend: str, server: RunningServer, api: httpx.Client, connect: Callable[..., Client]
) -> None:
    connect()
    server.wait_until(lambda s: s.byt_down >= 5)
    stats = api.get("/v1/stats").json()
    assert (stats["num_sessions"], stats["num_success"], stats["byt_down"]) == (1, 1, 5)
    assert stats["connect_latency"]["count"] == 1
    assert 0 < stats["connect_latency"]["p50"] <= stats["connect_latency"]["max"]


def test_sessions_are_listed_filtered_and_closed(
    backend: str,
    server: RunningServer,
    api: httpx.Client,
    connect: Callable[..., Client],
    echo: EchoServer,
) -> None:
    alice, bob, carol = connect("alice"), connect("bob"), connect("carol")
    answer = api.get("/v1/sessions").json()
    assert (answer["total"], answer["matched"]) == (3, 3)
    SessionList.model_validate(answer, strict=True)
    row = answer["sessions"][0]
    assert row.keys() == Session.model_fields.keys()
    assert (row["user"], row["client"]) == ("alice", "{}:{}".format(*alice.local[:2]))
    assert row["target"] == "{}:{}".format(*echo.address[:2])
    assert (row["frontend"], row["protocol"], row["outcome"]) == ("plain", "plain", "relaying")
    assert (row["chain"], row["bytes_up"]) == ([], 5)
    assert [s["user"] for s in api.get("/v1/sessions?limit=1").json()["sessions"]] == ["carol"]
    found = api.get("/v1/sessions", params={"q": "BOB", "target": "127"}).json()
    assert (found["matched"], found["sessions"][0]["user"]) == (1, "bob")
    for name, text, matched in (("outcome", "RELAY", 3), ("q", "relay", 0), ("chain", "socks", 0)):
        assert api.get("/v1/sessions", params={name: text}).json()["matched"] == matched

    assert api.get(f"/v1/sessions/{row['id']}").json()["user"] == "alice"
    assert api.delete(f"/v1/sessions/{row['id']}").json() == {"closed": 1}
    alice.expect_reset()
    assert api.delete(f"/v1/sessions/{row['id']}").status_code == 404
    assert api.delete("/v1/sessions", params={"user": "nobody"}).json() == {"closed": 0}
    assert api.delete("/v1/sessions", params={"user": "bo"}).json() == {"closed": 1}
    bob.expect_reset()
    (last,) = api.get("/v1/sessions").json()["sessions"]
    assert api.post("/v1/sessions/close", json={"ids": [last["id"], 999]}).json() == {"closed": 1}
    carol.expect_reset()
    server.wait_idle()


def test_the_list_is_read_page_by_page(api: httpx.Client, connect: Callable[..., Client]) -> None:
    for user in ("a1", "b", "a2", "a3"):
        connect(user)
    pages: list[list[str]] = []
    query: dict[str, str | int] = {"user": "a", "limit": 2}
    while rows := api.get("/v1/sessions", params=query).json()["sessions"]:
        pages.append([row["user"] for row in rows])
        query["before"] = rows[0]["id"]
    assert pages == [["a2", "a3"], ["a1"]]


def test_to_close_everything_must_be_said(
    api: httpx.Client, connect: Callable[..., Client]
) -> None:
    first, second = connect(), connect()
    answer = api.delete("/v1/sessions")
    assert (answer.status_code, answer.json()["title"]) == (422, "Unprocessable Content")
    assert api.delete("/v1/sessions?id=99999").json() == {"closed": 0}
    assert api.delete("/v1/sessions?all=true").json() == {"closed": 2}
    first.expect_reset()
    second.expect_reset()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/sessions/x", 404),
        ("GET", "/v1/sessions/99999999999999999999", 404),
        ("DELETE", "/v1/sessions/" + "9" * 5000, 404),
        ("GET", "/v1/sessions/-1", 404),
        ("GET", "/v1/sessions/%D9%A1", 404),
        ("GET", "/v1/sessions?before=" + "9" * 5000, 422),
        ("PUT", "/v1/stats", 405),
        ("GET", "/v1/reload", 405),
        ("GET", "/v1/sessions?limit=x", 422),
        ("GET", "/v1/sessions?limit=-1", 422),
        ("GET", "/v1/sessions?colour=red", 422),
        ("GET", "/v1/log?level=loud", 422),
        ("DELETE", "/v1/sessions?id=x", 422),
        ("POST", "/v1/sessions/close", 422),
    ],
)
def test_errors_are_problem_documents(
    api: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert "Traceback" not in answer.text


def test_a_wrong_method_is_told_the_right_ones(api: httpx.Client) -> None:
    allowed = api.put("/v1/sessions").headers["allow"].split(", ")
    assert sorted(allowed) == ["DELETE", "GET", "HEAD"]


def test_head_of_the_events_ends(api: httpx.Client) -> None:
    answer = api.head("/v1/events")
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )


def test_a_client_that_posts_no_json_is_told(api: httpx.Client) -> None:
    answer = api.post("/v1/sessions/close", content=b"{")
    assert answer.status_code == 422
    assert "Invalid JSON" in answer.json()["detail"]


def test_settings_are_shown_without_secrets(serve: Serve) -> None:
    settings = {
        **SETTINGS,
        "proxy": "plain://user:hidden1@127.0.0.1:1,plain://127.0.0.1:2",
        "api_token": "hidden2",
    }
    server = serve(settings, plugins=[PlainPlugin, RestApi])
    answer = httpx.get(f"{base_of(server)}/v1/config", headers={"Authorization": "Bearer hidden2"})
    assert "hidden" not in answer.text
    found = answer.json()["settings"]
    assert found["proxy"] == "plain://**********@127.0.0.1:1,plain://127.0.0.1:2"
    assert found["rest_api"]["listen"] == ["127.0.0.1:0"]


def test_plugins_and_their_calls_are_listed(api: httpx.Client) -> None:
    plugins = {plugin["name"]: plugin for plugin in api.get("/v1/plugins").json()["plugins"]}
    assert plugins["rest_api"]["enabled"]
    assert "register_control_listeners" in plugins["rest_api"]["hooks"]
    assert api.get("/v1/endpoints").json() == {"endpoints": []}
    assert api.get("/v1/version").json()["name"] == "neosocksd"


def test_health_says_what_is_wrong(backend: str, serve: Serve) -> None:
    server = serve(SETTINGS, plugins=[PlainPlugin, RestApi, Sick])
    with httpx.Client(base_url=base_of(server)) as api:
        answer = api.get("/healthy")
        assert (answer.status_code, answer.text) == (503, "the moon is full\n")
        assert api.get("/v1/health").json() == {
            "healthy": False,
            "problems": ["the moon is full"],
        }


def test_the_last_lines_of_the_log_are_shown(serve: Serve) -> None:
    log = logging.getLogger("test_rest_api_v1")
    log.setLevel(logging.DEBUG)
    server = serve(SETTINGS, plugins=[PlainPlugin, RestApi], log=log)
    with httpx.Client(base_url=base_of(server)) as api:
        api.get("/healthy")
        server.call(log.warning, "one %s", "two")
        server.call(log.debug, "small")
        events = LogEvents.model_validate(api.get("/v1/log").json()).model_dump()["events"]
        assert [(e["level"], e["message"]) for e in events][-1] == ("warning", "one two")
        assert events[0]["message"].startswith("listening on ")
        events = api.get("/v1/log?level=debug&limit=1").json()["events"]
        assert [e["message"] for e in events] == ["small"]
    server.stop()
    assert not log.handlers


def test_a_server_that_never_runs_leaves_the_log_as_it_was() -> None:
    log = logging.getLogger("test_rest_api_v1.never")
    server = Server(SETTINGS, plugins=[PlainPlugin, RestApi], log=log)
    assert len(log.handlers) == 1
    del server
    gc.collect()
    assert not log.handlers


def test_a_reload_reads_the_settings_again(serve: Serve) -> None:
    wanted: dict[str, Any] = {**SETTINGS}

    def reread(server: Server) -> None:
        if wanted["listen"] == "nowhere":
            raise ConfigurationError("socks.toml: listen: no port")
        server.reload(wanted)

    log = logging.getLogger("test_rest_api_v1")
    log.setLevel(logging.INFO)
    server = serve(SETTINGS, plugins=[PlainPlugin, RestApi], reread=reread, log=log)
    with httpx.Client(base_url=base_of(server)) as api:
        wanted["timeout"] = 17
        assert api.post("/v1/reload").json() == {"reloaded": True}
        assert api.get("/v1/config").json()["settings"]["timeout"] == 17
        wanted["listen"] = "nowhere"
        answer = api.post("/v1/reload")
        assert answer.status_code == 422
        assert answer.json()["detail"] == "socks.toml: listen: no port"
        events = api.get("/v1/log?limit=2").json()["events"]
        assert [event["message"] for event in events] == [
            "rest_api: reloaded",
            "rest_api: not reloaded: socks.toml: listen: no port",
        ]
        assert api.get("/v1/stats").status_code == 200


def test_a_reload_may_open_the_first_address(serve: Serve) -> None:
    server = serve({"listen": "127.0.0.1:0"}, plugins=[PlainPlugin, RestApi])
    server.reload(SETTINGS)
    (address,) = [a for a in server.call(lambda: server.server.addresses) if a != server.address]
    base = "http://{}:{}".format(*address[:2])
    assert httpx.get(f"{base}/v1/health").json()["healthy"]


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Names and data of server-sent events."""
    for line in lines:
        if line.startswith("event: "):
            yield line.removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))


def next_of(events: Iterator[tuple[str, Any]], name: str) -> Any:
    return next(data for found, data in events if found == name)


def test_events_tell_what_happens(
    backend: str, server: RunningServer, api: httpx.Client, connect: Callable[..., Client]
) -> None:
    connect("alice")
    with api.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = read_events(answer.iter_lines())
        name, hello = next(events)
        assert (name, hello["total"], hello["sessions"][0]["user"]) == ("hello", 1, "alice")
        tick = next_of(events, "tick")
        assert (tick["stats"]["num_sessions"], tick["health"]) == (1, [])
        assert tick["active"] == [[hello["sessions"][0]["id"], 5, 5]]
        bob = connect("bob")
        opened = next_of(events, "opened")
        assert (opened["user"], opened["outcome"]) == ("bob", "relaying")
        server.call(server.server.log.warning, "look here")
        assert httpx.delete(f"{base_of(server)}/v1/sessions/{opened['id']}").status_code == 200
        bob.expect_reset()
        closed = next_of(events, "closed")
        assert (closed["id"], closed["outcome"]) == (opened["id"], "closed by request")
        assert next_of(events, "log")["message"] == "look here"


def test_the_values_of_a_script_engine_are_in_the_ticks(serve: Serve) -> None:
    server = serve(SETTINGS, plugins=[PlainPlugin, RestApi, Sick])
    with httpx.stream("GET", f"{base_of(server)}/v1/events") as answer:
        tick = next_of(read_events(answer.iter_lines()), "tick")
        assert tick["metrics"] == {"lua_memory_bytes": 4096.0}
        assert tick["health"] == ["the moon is full"]


def test_a_reader_that_is_too_slow_is_told_what_it_lost() -> None:
    async def read() -> bytes:
        reader = Reader()
        for _ in range(MOST_WAITING + 3):
            reader.put(b".")
        return await reader.take()

    assert run_async(read) == b"." * MOST_WAITING + b'event: lost\ndata: {"count": 3}\n\n'


def session(number: int) -> SessionInfo:
    return SessionInfo(
        id=number,
        client=("127.0.0.1", number),
        frontend="plain",
        protocol="plain",
        user=None,
        target=Address("a.example", 80),
        chain=(),
        age=1.0,
        bytes_up=1,
        bytes_down=2,
        outcome="relaying",
    )


def test_who_goes_through_many_sessions_lets_others_have_their_turn() -> None:
    sessions = [session(number) for number in range(1000)]

    async def look() -> tuple[int, Sequence[SessionInfo]]:
        turns, found = 0, list[SessionInfo]()

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(count)
            found = list(await select(sessions, {"client": ":99"}))
            group.cancel_scope.cancel()
        return turns, found

    turns, found = run_async(look)
    assert [info.id for info in found] == [99, *range(990, 1000)]
    assert turns >= 3
    pieces = list(write_rows(sessions, Meter()))
    assert len(pieces) >= 3
    rows = json.loads(b"[" + b"".join(pieces) + b"]")
    assert [Session.model_validate(row).id for row in rows] == list(range(1000))
