"""The callbacks resolve, route and route6 through a listening server: what each answer does, and `await.forward`."""

import pytest

from neosocksd_core.testing.peers import EchoServer, closed_address
from neosocksd_lua_ruleset.testing import Rule, Serve

pytestmark = pytest.mark.usefixtures("backend")

SUCCESS, REFUSED, NOT_ALLOWED, TIMED_OUT = 0, 5, 2, 6

TO_ECHO = "local r = {} function r.resolve() return %s end r.route, r.route6 = r.resolve, r.resolve return r"


def quoted(peer: EchoServer) -> str:
    return f'"127.0.0.1:{peer.port}"'


def test_the_address_replaces_the_request(rule: Rule, echo: EchoServer) -> None:
    assert rule(TO_ECHO % quoted(echo)).reply("nowhere.invalid", 1) == SUCCESS


def test_the_same_address_goes_where_the_client_wanted(rule: Rule, echo: EchoServer) -> None:
    server = rule("return { route = function(addr) return addr end }")
    assert server.reply("127.0.0.1", echo.port) == SUCCESS


def test_a_proxy_forwards_the_request(rule: Rule, serve: Serve, echo: EchoServer) -> None:
    hop = rule(f"return {{ resolve = function(a) _G.seen = a return {quoted(echo)} end }}")
    port = hop.running.address[1]
    server = rule(f'return {{ resolve = function(a) return a, "socks5://127.0.0.1:{port}" end }}')
    assert server.reply("far.test", 7) == SUCCESS
    assert hop.call("return seen") == '"far.test:7"'


def test_the_last_proxy_of_a_chain_is_dialled_first(rule: Rule, echo: EchoServer) -> None:
    first = rule("return { route = function(a) _G.seen = a return a end }")
    second = rule(f"return {{ resolve = function(a) _G.seen = a return {quoted(echo)} end }}")
    far, near = second.running.address[1], first.running.address[1]
    server = rule(
        "return { resolve = function(a) return a, "
        f'"socks5://127.0.0.1:{far}", "socks4a://127.0.0.1:{near}" end }}'
    )
    assert server.reply("far.test", 7) == SUCCESS
    assert first.call("return seen") == f'"127.0.0.1:{far}"'
    assert second.call("return seen") == '"far.test:7"'


def test_an_http_proxy_is_a_hop_too(rule: Rule, echo: EchoServer) -> None:
    hop = rule(
        f"return {{ resolve = function(a) return {quoted(echo)} end }}", http_listen="127.0.0.1:0"
    )
    port = hop.running.call(lambda: hop.running.server.addresses_of("http"))[0][1]
    server = rule(f'return {{ resolve = function(a) return a, "http://127.0.0.1:{port}" end }}')
    assert server.reply("far.test", 7) == SUCCESS


def test_a_chain_may_mix_the_schemes_and_name_its_proxies_by_address_or_name(
    rule: Rule, echo: EchoServer
) -> None:
    target = f"return {{ resolve = function(a) _G.seen = a return {quoted(echo)} end }}"
    pass_on = """
        local function f(a) _G.seen = a return a end
        return { resolve = f, route = f, route6 = f }"""
    http = rule(target, http_listen="127.0.0.1:0")
    port = http.running.call(lambda: http.running.server.addresses_of("http"))[0][1]
    socks5 = rule(pass_on)
    socks4a = rule(pass_on, listen="[::1]:0")
    server = rule(f"""
        local ruleset = {{}}
        function ruleset.resolve(domain)
            return "www.example.org:80",
                "http://127.0.0.1:{port}", "socks5://localhost:{socks5.running.address[1]}", "socks4a://[::1]:{socks4a.running.address[1]}"
        end
        return ruleset""")
    assert server.reply("x.test", 1) == SUCCESS
    assert socks4a.call("return seen") == f'"localhost:{socks5.running.address[1]}"'
    assert socks5.call("return seen") == f'"127.0.0.1:{port}"'
    assert http.call("return seen") == '"www.example.org:80"'


def test_the_chain_of_the_settings_comes_first(rule: Rule, echo: EchoServer) -> None:
    hop = rule("return { route = function(a) _G.seen = a return a end }")
    server = rule(TO_ECHO % quoted(echo), proxy=f"socks5://127.0.0.1:{hop.running.address[1]}")
    assert server.reply("x.test", 1) == SUCCESS
    assert hop.call("return seen") == quoted(echo)


@pytest.mark.parametrize("answer", ["nil", "", "nil, 'socks5://127.0.0.1:1'"])
def test_nil_rejects(rule: Rule, answer: str) -> None:
    server = rule(TO_ECHO % answer)
    assert server.reply("x.test", 1) == NOT_ALLOWED
    assert server.running.statistics().num_reject_ruleset == 1


def test_trailing_nils_are_no_proxies(rule: Rule, echo: EchoServer) -> None:
    assert rule(TO_ECHO % f"{quoted(echo)}, nil, nil").reply("x.test", 1) == SUCCESS


@pytest.mark.logs_error("ruleset:")
@pytest.mark.parametrize(
    "answer",
    [
        "42",
        "{}",
        "true",
        "function() end",
        "''",
        "'no port'",
        "'x.test:99999'",
        "'a b:1'",
        "'x.test:1', 42",
        "'x.test:1', nil, 'socks5://127.0.0.1:1'",
        "'x.test:1', 'gopher://127.0.0.1:1'",
        "'x.test:1', ''",
        "'x.test:1', 'socks5://127.0.0.1:1,socks5://127.0.0.1:1'",
        "'x.test:1', 'socks5://127.0.0.1:99999'",
        "'\\255:1'",
        "'x.test:1', table.unpack((function() local t = {} for i = 1, 65 do t[i] = 'socks5://127.0.0.1:1' end return t end)())",
    ],
)
def test_what_is_no_decision_rejects_that_request_alone(
    rule: Rule, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    server = rule(TO_ECHO % answer)
    assert server.reply("x.test", 1) == NOT_ALLOWED
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


@pytest.mark.logs_error("ruleset:")
@pytest.mark.parametrize(
    "error",
    [
        "'text'",
        "nil",
        "{}",
        "42",
        "setmetatable({}, {__tostring = function() error() end})",
        "print",
        "io.stdout",
    ],
)
def test_an_error_rejects_that_request_alone_whatever_its_object_is(
    rule: Rule, echo: EchoServer, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    server = rule(f"""return {{
        resolve = function(a) if a == "bad.test:1" then error({error}) end return {quoted(echo)} end }}""")
    assert server.reply("bad.test", 1) == NOT_ALLOWED
    assert server.reply("good.test", 1) == SUCCESS
    logged = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(logged) == 1
    assert logged[0].removeprefix("ruleset: ")


@pytest.mark.logs_error("attempt to yield across a C-call boundary")
@pytest.mark.parametrize(
    "wait",
    [
        "table.sort({ 2, 1, 3 }, function() %s end)",
        "string.gsub('x', 'x', function() %s end)",
        "table.concat(setmetatable({}, { __len = function() return 1 end, __index = function() %s end }))",
    ],
)
@pytest.mark.parametrize("what", ["await.idle()", "await.forward('127.0.0.1:1')"])
def test_a_wait_inside_of_a_function_of_c_rejects_that_request_alone(
    rule: Rule, echo: EchoServer, wait: str, what: str
) -> None:
    server = rule(f"""return {{ resolve = function(a)
        if a == "bad.test:1" then {wait.replace("%s", what)} end
        return {quoted(echo)} end }}""")
    assert server.reply("bad.test", 1) == NOT_ALLOWED
    assert server.reply("good.test", 1) == SUCCESS


@pytest.mark.logs_error("attempt to call a nil value")
def test_a_callback_that_is_missing_rejects(rule: Rule) -> None:
    assert rule().reply("x.test", 1) == NOT_ALLOWED


def test_the_ruleset_is_looked_up_at_each_call_and_metatables_are_honoured(
    rule: Rule, echo: EchoServer
) -> None:
    server = rule(f"""
        local base = {{ resolve = function() return {quoted(echo)} end }}
        return setmetatable({{}}, {{ __index = function(_, name) return base[name] end }})""")
    assert server.reply("x.test", 1) == SUCCESS
    server.run("_G.ruleset = { resolve = function() return nil end }")
    assert server.reply("x.test", 1) == NOT_ALLOWED


def test_callbacks_run_in_a_routine(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        await.sleep(0)
        await.idle()
        return {quoted(echo)} end }}""")
    assert server.reply("x.test", 1) == SUCCESS


def test_many_requests_wait_at_once(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""
        local waiting = {{}}
        return {{ resolve = function()
            table.insert(waiting, (coroutine.running()))
            if #waiting < 20 then
                coroutine.yield()
            else
                for i = 1, 19 do assert(coroutine.resume(waiting[i])) end
            end
            await.idle()
            return {quoted(echo)} end }}""")
    clients = [server.connect(f"n{i}.test", 1) for i in range(20)]
    for client in clients:
        assert client.receive(2)[1] == SUCCESS
        client.close()


# await.forward


def test_forward_connects_and_the_session_relays(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        _G.ok = await.forward({quoted(echo)})
    end }}""")
    assert server.reply("x.test", 1) == SUCCESS
    assert server.call("return ok") == "true"


def test_a_forward_that_fails_may_be_tried_again(rule: Rule, echo: EchoServer) -> None:
    with closed_address() as (_, port, *_):
        server = rule(f"""return {{ resolve = function()
            _G.first = table.pack(await.forward("127.0.0.1:{port}"))
            _G.second = table.pack(await.forward({quoted(echo)}))
        end }}""")
        assert server.reply("x.test", 1) == SUCCESS
    assert server.call("return first[1], type(first[2]), first.n") == 'false,"string",2'
    assert server.call("return second[1], second.n") == "true,1"


def test_after_failed_forwards_a_decision_may_be_returned(rule: Rule, echo: EchoServer) -> None:
    with closed_address() as (_, port, *_):
        server = rule(f"""return {{ resolve = function()
            if not await.forward("127.0.0.1:{port}") then return {quoted(echo)} end
        end }}""")
        assert server.reply("x.test", 1) == SUCCESS


def test_forward_through_a_chain(rule: Rule, echo: EchoServer) -> None:
    hop = rule(f"return {{ resolve = function(a) return {quoted(echo)} end }}")
    way = f'a, "socks5://127.0.0.1:{hop.running.address[1]}"'
    server = rule(f"return {{ resolve = function(a) await.forward({way}) end }}")
    assert server.reply("far.test", 7) == SUCCESS


@pytest.mark.parametrize("before", ["", "await.idle()"])
def test_forward_of_nil_gives_nil_and_rejects(rule: Rule, before: str) -> None:
    server = rule(f"""return {{ resolve = function()
        {before}
        _G.got = table.pack(await.forward(nil))
        await.idle()
        _G.over = true
        return "127.0.0.1:1"
    end }}""")
    assert server.reply("x.test", 1) == NOT_ALLOWED
    assert server.call("while not over do await.idle() end return got.n, got[1]") == "1,nil"


@pytest.mark.parametrize("address", ["no port", "x.test:1:2", "", "x.test:0"])
def test_forward_to_what_is_no_address_fails(rule: Rule, address: str) -> None:
    server = rule(
        f"""return {{ resolve = function() _G.got = table.pack(await.forward("{address}")) end }}"""
    )
    assert server.reply("x.test", 1) == NOT_ALLOWED
    assert server.call("return got[1], type(got[2])") == 'false,"string"'


def test_forward_outside_of_a_request_handler_raises(rule: Rule) -> None:
    server = rule()
    message = "(invoke):1: await.forward: not in a request handler"
    assert server.error('await.forward("127.0.0.1:1")') == message
    text = server.call("return pcall(await.forward, '127.0.0.1:1')")
    assert text == 'false,"await.forward: not in a request handler"'


def test_a_second_forward_after_a_success_raises(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        await.forward({quoted(echo)})
        _G.again = select(2, pcall(await.forward, {quoted(echo)}))
    end }}""")
    assert server.reply("x.test", 1) == SUCCESS
    assert server.call("return again") == '"await.forward: the request has been forwarded already"'


def test_forward_checks_its_arguments(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        _G.errors = {{ select(2, pcall(await.forward, {{}})), select(2, pcall(await.forward, "a:1", 7)) }}
        return {quoted(echo)}
    end }}""")
    assert server.reply("x.test", 1) == SUCCESS
    assert "bad argument #1 to 'forward' (string expected, got table)" in server.call(
        "return errors[1]"
    )
    assert "bad argument #2 to 'forward' (string expected, got number)" in server.call(
        "return errors[2]"
    )


def test_what_is_returned_after_a_forward_is_ignored(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"return {{ resolve = function() return await.forward({quoted(echo)}) end }}")
    assert server.reply("x.test", 1) == SUCCESS


@pytest.mark.logs_error("boom")
def test_an_error_after_a_forward_is_logged(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        await.forward({quoted(echo)}) _G.over = true error("boom") end }}""")
    assert server.reply("x.test", 1) == SUCCESS
    server.call("while not over do await.idle() end")


def test_the_routine_goes_on_after_its_request_was_forwarded(rule: Rule, echo: EchoServer) -> None:
    server = rule(f"""return {{ resolve = function()
        await.forward({quoted(echo)})
        await.idle()
        _G.after = true
    end }}""")
    assert server.reply("x.test", 1) == SUCCESS
    assert server.call("while not after do await.idle() end return after") == "true"
