"""The control calls of the Lua ruleset over the API, by HTTP clients and by RPC between two servers."""

import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from neosocksd_core.testing import Client, Connection, PlainPlugin, Serve
from neosocksd_rest_api import RestApi

pytest.importorskip("lupa")


RULESET = """
local ruleset = {}
function ruleset.stats(dt, q) return "q is " .. tostring(q) end
function ruleset.metrics() return "# TYPE mine gauge\\nmine 7\\n" end
function ruleset.healthy() return _G.illness end
return ruleset
"""

RPC = "application/x-neosocksd-rpc; version=1"


@pytest.fixture
def start(serve: Serve, tmp_path: Path) -> Callable[..., str]:
    """Starts a server with a ruleset; returns the URL of its API."""
    script = tmp_path / "ruleset.lua"
    script.write_text(RULESET)

    def start(plugins: tuple[object, ...] = ("lua_ruleset",), **settings: object) -> str:
        values = {"listen": "127.0.0.1:0", "rest_api": {"listen": "127.0.0.1:0"}, **settings}
        if "lua_ruleset" in plugins:
            values["ruleset"] = str(script)
        server = serve(values, plugins=[PlainPlugin, RestApi, *plugins])
        return "http://{}:{}".format(*server.addresses[1][:2])

    return start


def call(base: str, code: str, **fields: str) -> httpx.Response:
    headers = {"Content-Type": RPC, **fields}
    return httpx.post(f"{base}/ruleset/rpcall", content=code.encode(), headers=headers)


def test_posted_code_runs_and_answers(backend: str, start: Callable[..., str]) -> None:
    base = start()
    answer = httpx.post(f"{base}/ruleset/invoke", content="_G.illness = 'flu'")
    assert (answer.status_code, answer.content) == (200, b"")
    assert httpx.get(f"{base}/healthy").status_code == 503
    assert "flu" in httpx.get(f"{base}/healthy").text
    answer = call(base, "return illness, 1 + 1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, RPC)
    assert answer.text == 'return true,"flu",2'


def test_code_may_come_compressed(start: Callable[..., str]) -> None:
    base = start()
    code = b"return ('x'):rep(1000)"
    headers = {"Content-Type": RPC, "Content-Encoding": "deflate", "Accept-Encoding": "deflate"}
    url = f"{base}/ruleset/rpcall"
    answer = httpx.post(url, content=zlib.compress(code), headers=headers)
    assert answer.headers["content-encoding"] == "deflate"
    assert int(answer.headers["content-length"]) < 1000
    assert "x" * 1000 in answer.text


@pytest.mark.parametrize(
    "code",
    [
        "this is no Lua",
        "error('boom')",
        "error({})",
        "error(nil)",
        "error(('x'):rep(5 << 20))",
        "error('\\xff')",
        "\x1bLua",
    ],
)
def test_an_error_of_a_script_is_a_short_text(start: Callable[..., str], code: str) -> None:
    answer = httpx.post(f"{start()}/ruleset/invoke", content=code.encode())
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 0 < len(answer.content) <= 8192 + 1
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text


def test_the_ruleset_is_replaced_and_collected(start: Callable[..., str]) -> None:
    base = start()
    answer = httpx.post(f"{base}/ruleset/update", content=RULESET.replace("mine 7", "mine 8"))
    assert answer.text.startswith("Time Cost           : ")
    assert "mine 8\n" in httpx.get(f"{base}/metrics").text
    answer = httpx.post(f"{base}/ruleset/update", content="return nothing at all")
    assert answer.status_code == 500
    assert "mine 8\n" in httpx.get(f"{base}/metrics").text
    answer = httpx.post(f"{base}/ruleset/gc")
    assert answer.text.startswith("Difference          : ")


def test_statistics_and_metrics_have_those_of_the_ruleset(start: Callable[..., str]) -> None:
    base = start()
    assert "q is x\n" in httpx.post(f"{base}/stats?q=x").text
    assert "q is" not in httpx.get(f"{base}/stats?q=x").text
    assert "neosocksd_lua_memory_bytes" in httpx.get(f"{base}/metrics").text


def test_two_servers_call_each_other(backend: str, start: Callable[..., str]) -> None:
    first, second = start(), start()
    address = second.removeprefix("http://")
    code = f"""
        local ok, f = await.invoke([[_G.called = 'yes' return 6 * 7]], "{address}")
        return ok, f()
    """
    answer = call(first, code)
    assert answer.status_code == 200
    assert answer.text == "return true,true,true,42"
    assert call(second, "return called").text == 'return true,"yes"'
    ours, theirs = (httpx.get(f"{base}/v1/stats").json() for base in (first, second))
    assert (ours["num_api_client_request"], ours["num_api_client_success"]) == (1, 1)
    assert ours["byt_api_client_tx"] > 0
    assert ours["byt_api_client_rx"] > 0
    assert (theirs["num_api_client_request"], theirs["byt_api_client_tx"]) == (0, 0)


def test_a_call_that_is_refused_is_counted_and_fails_by_its_status(
    start: Callable[..., str],
) -> None:
    first, second = start(), start(rest_api={"listen": "127.0.0.1:0", "token": "s3cret"})
    address = second.removeprefix("http://")
    answer = call(first, f"return await.invoke([[return 1]], '{address}')")
    assert answer.text == 'return true,false,"HTTP/1.1 401 Unauthorized"'
    ours = httpx.get(f"{first}/v1/stats").json()
    assert (ours["num_api_client_request"], ours["num_api_client_success"]) == (1, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [("invoke", b"_G.x = 1"), ("rpcall", b"return 1"), ("update", b"return {}"), ("gc", b"")],
)
def test_a_token_opens_the_calls_to_peers_that_send_no_host(
    start: Callable[..., str], path: str, body: bytes
) -> None:
    base = start(rest_api={"listen": "127.0.0.1:0", "token": "s3cret"})
    host, _, port = base.removeprefix("http://").partition(":")
    for token, status in ((b"wrong", b"401"), (b"s3cret", b"200")):
        request = (
            b"POST /ruleset/%s HTTP/1.1\r\nContent-Type: %s\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
        ) % (path.encode(), RPC.encode(), token, len(body), body)
        with Client((host, int(port))) as client:
            client.send(request)
            assert client.receive_all().split()[1] == status


@pytest.mark.parametrize("leave", [Connection.finish, Connection.reset])
def test_a_caller_that_leaves_ends_its_call(
    backend: str, start: Callable[..., str], leave: Callable[[Connection], None]
) -> None:
    """What the routine waits for goes, its variables are closed, and other calls do not notice."""
    base = start()
    code = b"""
        local closed <close> = setmetatable({}, { __close = function() _G.ended = true end })
        _G.begun = true
        await.sleep(1e6)"""
    with Client(("127.0.0.1", httpx.URL(base).port or 0)) as caller:
        head = (
            f"POST /ruleset/rpcall HTTP/1.1\r\nContent-Type: {RPC}\r\nContent-Length: {len(code)}"
        )
        caller.send(head.encode() + b"\r\n\r\n" + code)
        while call(base, "return begun").text != "return true,true":
            pass
        leave(caller)
        while call(base, "return ended").text != "return true,true":
            pass


def test_without_the_plugin_it_is_said_that_there_is_no_ruleset(start: Callable[..., str]) -> None:
    base = start(plugins=())
    for path in ("invoke", "rpcall", "update", "gc"):
        answer = httpx.post(f"{base}/ruleset/{path}", content=b"")
        assert (answer.status_code, answer.headers["content-type"][:10]) == (500, "text/plain")
        assert "no ruleset" in answer.text
    assert httpx.post(f"{base}/ruleset/other", content=b"").status_code == 404
