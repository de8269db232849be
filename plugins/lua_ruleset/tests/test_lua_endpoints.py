"""/ruleset/invoke, /ruleset/rpcall and /ruleset/gc: posted code, remote calls, garbage; all without HTTP."""

import pytest

from neosocksd_core.endpoints import EndpointRequest
from neosocksd_core.testing.running import Backend, RunningServer
from neosocksd_lua_ruleset import LuaRuleset
from neosocksd_lua_ruleset.testing import Rule, Serve

PATHS = ["/ruleset/invoke", "/ruleset/rpcall", "/ruleset/update", "/ruleset/gc"]


@pytest.mark.parametrize("path", PATHS)
def test_each_endpoint_takes_posts_only(rule: Rule, path: str) -> None:
    server = rule().running.server
    assert server.plugins.endpoints(server)[path].methods == {"POST"}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_ruleset_the_answer_is_500_and_says_so(serve: Serve, path: str) -> None:
    running: RunningServer = serve({"listen": "127.0.0.1:0"}, plugins=["socks5", LuaRuleset])
    endpoint = running.server.plugins.endpoints(running.server)[path]
    response = running.call(endpoint.handle, EndpointRequest("POST"))
    assert response.status == 500
    assert b"no ruleset" in response.body


# invoke


def test_invoke_runs_the_code_and_answers_an_empty_200(rule: Rule) -> None:
    server = rule()
    response = server.post("/ruleset/invoke", "_G.x = 42")
    assert (response.status, response.body) == (200, b"")
    assert server.call("return x") == "42"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nerror('boom')", "(invoke):2: boom"),
        ("x = = 1", "(invoke):1: unexpected symbol near '='"),
        ("error({})", "(error object is a table value)"),
        ("error(nil)", "(error object is a nil value)"),
        ("error(setmetatable({}, {__tostring = function() return 'made' end}))", "made"),
        ("\x1bLua", "attempt to load a binary chunk (mode is 't')"),
    ],
)
def test_an_error_of_posted_code_is_500_with_the_message(
    rule: Rule, code: str, message: str
) -> None:
    response = rule().post("/ruleset/invoke", code)
    assert response.status == 500
    assert message in response.body.decode()


def test_plain_globals_of_posted_code_do_not_leak(rule: Rule) -> None:
    server = rule("_G.known = 'k' return {}")
    server.run("plain = 1 _G.real = known")
    assert server.call("return plain, real") == 'nil,"k"'
    assert server.call("plain = 2 return plain") == "2"
    assert server.call("return plain") == "nil"


# rpcall


def test_rpcall_answers_lua_source_with_the_results(rule: Rule) -> None:
    server = rule()
    response = server.post("/ruleset/rpcall", 'return 1, "two", { three = 3 }, nil')
    assert response.status == 200
    assert response.content_type == "application/x-neosocksd-rpc; version=1"
    assert response.body == b'return true,1,"two",{["three"]=3,},nil'


def test_rpcall_without_results(rule: Rule) -> None:
    assert rule().post("/ruleset/rpcall", "local x = 1").body == b"return true"


def test_rpcall_runs_in_a_routine(rule: Rule, backend: Backend) -> None:
    assert (
        rule().post("/ruleset/rpcall", "await.sleep(0.001) return 'late'").body
        == b'return true,"late"'
    )


def test_rpcall_is_binary_safe(rule: Rule) -> None:
    body = rule().post("/ruleset/rpcall", b'return "a\xff\x00b"').body
    assert body == b'return true,"a\xff\\000b"'


def test_code_that_does_not_compile_is_500_with_the_message(rule: Rule) -> None:
    response = rule().post("/ruleset/rpcall", "return return")
    assert response.status == 500
    assert response.body.startswith(b"(rpc):1: ")


@pytest.mark.parametrize(
    "code", ["error('boom')", "await.idle() error('boom')", "return print", "return io.stdout"]
)
def test_code_that_raises_or_returns_what_cannot_be_marshalled_did_not_return(
    rule: Rule, code: str
) -> None:
    response = rule().post("/ruleset/rpcall", code)
    assert (response.status, response.body) == (500, b"rpcall did not return")


def test_a_call_that_takes_too_long_is_given_up(rule: Rule) -> None:
    server = rule(timeout=5)
    server.set_timeout(0.01)
    response = server.post("/ruleset/rpcall", "await.sleep(1000)")
    assert (response.status, response.body) == (500, b"rpcall did not return")
    assert "Ruleset Threads     : 0 " in server.post("/ruleset/gc").body.decode()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-neosocksd-rpc; version=2"])
def test_a_call_of_another_type_is_a_bad_request(rule: Rule, kind: str) -> None:
    request = EndpointRequest("POST", {}, {"content-type": kind}, b"return 1")
    server = rule()
    endpoint = server.running.server.endpoints()["/ruleset/rpcall"]
    assert server.running.call(endpoint.handle, request).status == 400


# gc


def test_gc_collects_and_reports(rule: Rule) -> None:
    server = rule()
    server.run(
        "for i = 1, 1000 do local t = { i } end _G.finalized = 0 setmetatable({}, { __gc = function() _G.finalized = 1 end })"
    )
    response = server.post("/ruleset/gc")
    assert response.status == 200
    names = [line.partition(":")[0].strip() for line in response.body.decode().splitlines()]
    assert names == [
        "Difference",
        "Ruleset Allocated",
        "Ruleset Threads",
        "Ruleset Events",
        "Time Cost",
    ]
    assert server.call("return finalized") == "1"
