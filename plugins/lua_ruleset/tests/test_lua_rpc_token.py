"""RPC targets with a token: two servers, of which one lets only callers in who have it, and that nobody else gets to see it."""

import logging
import re

import pytest

from neosocksd_core.testing import RunningServer
from neosocksd_lua_ruleset.testing import Rule, Ruled, Serve, WriteScript

pytest.importorskip("neosocksd_rest_api")

TOKEN = "s3cret@with:signs"


@pytest.fixture
def peer(serve: Serve, script: WriteScript) -> RunningServer:
    """A server whose API asks for the token."""
    path = script(
        'local r = require("libruleset") function msgh.note(text) _G.noted = text end return r',
        "peer.lua",
    )
    settings = {
        "listen": "127.0.0.1:0",
        "restapi": "127.0.0.1:0",
        "api_token": TOKEN,
        "ruleset": str(path),
    }
    return serve(settings, plugins=["socks5", "lua_ruleset", "rest_api"])


@pytest.fixture
def address(peer: RunningServer) -> str:
    """Of its API."""
    host, port = peer.addresses[1][:2]
    return f"{host}:{port}"


@pytest.fixture
def caller(rule: Rule) -> Ruled:
    return rule('return require("libruleset")')


def test_a_call_with_the_token_is_served(backend: str, caller: Ruled, address: str) -> None:
    code = f'local ok, f = await.invoke("return 6 * 7", "{TOKEN}@{address}") return ok, f()'
    assert caller.call(code) == "true,true,42"


@pytest.mark.parametrize("token", ["", "wrong@", "s3cret@"])
def test_a_call_without_the_token_is_refused(caller: Ruled, address: str, token: str) -> None:
    code = f'return await.invoke("return 1", "{token}{address}")'
    assert caller.call(code) == 'false,"HTTP/1.1 401 Unauthorized"'


def test_functions_and_messages_by_name_carry_it(caller: Ruled, address: str) -> None:
    target = f'{{ "{TOKEN}@{address}" }}'
    caller.run(f'neosocksd.sendmsg({target}, "note", "hello")')
    code = f"""
        local ok, f
        repeat
            ok, f = await.invoke("return noted", "{TOKEN}@{address}")
            local _, text = f()
        until text
        return await.rpcall({target}, "echo", select(2, f()))"""
    assert caller.call(code) == 'true,"hello"'


def test_a_call_with_the_token_goes_through_a_chain(
    rule: Rule, caller: Ruled, address: str
) -> None:
    hop = rule("return { route = function(a) return a end }")
    proxy = f"socks5://127.0.0.1:{hop.running.address[1]}"
    code = f'local ok, f = await.invoke("return 1", "{TOKEN}@{address}", "{proxy}") return f()'
    assert caller.call(code) == "true,1"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("@127.0.0.1:1", "what stands before the @ of a target is no token"),
        ("s3 cret@127.0.0.1:1", "what stands before the @ of a target is no token"),
        ("s3cr\\ret@127.0.0.1:1", "what stands before the @ of a target is no token"),
        ("s3\\xfccret@127.0.0.1:1", "what stands before the @ of a target is no token"),
        ("x@s3cret", "what stands behind the @ of a target is no address"),
        ("x@\\xff:1", "what stands behind the @ of a target is no address"),
    ],
)
def test_a_malformed_target_is_refused_without_its_text(
    caller: Ruled, target: str, message: str
) -> None:
    assert caller.error(f'neosocksd.invoke("x", "{target}")').endswith(message)
    answer = caller.call(f'return await.invoke("x", "{target}")')
    assert re.fullmatch(f'false,"{re.escape(message)}"', answer)


@pytest.mark.logs_error("not a host name")
def test_a_destination_of_a_request_carries_none(caller: Ruled) -> None:
    caller.run('_G.ruleset = { resolve = function() return "x@127.0.0.1:1" end }')
    assert caller.reply("x.test", 1) == 2


def test_the_token_is_never_logged(
    caller: Ruled, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG - 5)
    for target in (f"{TOKEN}@{address}", f"{TOKEN}@127.0.0.1:1"):
        caller.run(f'neosocksd.invoke("error(1)", "{target}")')
        caller.call(f'await.invoke("error(1)", "{target}")')
        caller.post("/ruleset/rpcall", f'error(select(2, await.invoke("x", "{target}")))')
    caller.call("while neosocksd.stats().num_thread_active > 1 do await.idle() end")
    assert any("invoke" in record.getMessage() for record in caplog.records)
    assert "s3cret" not in caplog.text
