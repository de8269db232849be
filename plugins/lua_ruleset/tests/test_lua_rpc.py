"""neosocksd.invoke and await.invoke: the wire, chains, limits, and every way in which a call can fail."""

import zlib

import pytest

from neosocksd_core.testing.connection import Connection
from neosocksd_core.testing.peers import ScriptedPeer, closed_address
from neosocksd_lua_ruleset.testing import RPC, Rule, Ruled, api_of, eventually, http_server

pytestmark = pytest.mark.usefixtures("backend")


def invoke(server: Ruled, code: str, *addresses: str) -> str:
    """What await.invoke gives; where it is a function, what that gives."""
    arguments = "".join(f', "{address}"' for address in addresses)
    return server.call(
        f"local ok, f = await.invoke([==[{code}]==]{arguments})"
        " if not ok then return ok, f end return ok, type(f), f()"
    )


def test_invoke_gives_true_and_a_function_that_gives_the_results(rule: Rule) -> None:
    with api_of(rule()) as (address, _):
        assert (
            invoke(rule(), 'await.idle() return 1, "two", nil', address)
            == 'true,"function",true,1,"two",nil'
        )


def test_the_request_is_as_peers_expect_it(rule: Rule) -> None:
    with api_of(rule()) as (address, seen):
        invoke(rule(), "return 1", address)
    [request] = seen
    assert (request.path, request.version) == ("/ruleset/rpcall", "HTTP/1.1")
    assert request.headers["content-type"] == RPC
    assert "deflate" in request.headers["accept-encoding"]
    assert "host" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert "content-encoding" not in request.headers
    assert request.body == b"return 1"


@pytest.mark.parametrize(("length", "deflated"), [(255, False), (256, True)])
def test_bodies_from_256_bytes_on_are_deflated(rule: Rule, length: int, deflated: bool) -> None:
    code = "return 1".ljust(length)
    with api_of(rule()) as (address, seen):
        assert invoke(rule(), code, address) == 'true,"function",true,1'
    assert ("content-encoding" in seen[0].headers) is deflated
    assert seen[0].body.decode() == code


def test_deflated_answers_are_read(rule: Rule) -> None:
    with api_of(rule()) as (address, _):
        assert invoke(
            rule(), "return #string.rep('x', 5000), string.rep('y', 200)", address
        ).endswith("y" * 200 + '"')


def test_any_bytes_get_through(rule: Rule) -> None:
    server = rule()
    with api_of(rule()) as (address, _):
        code = f"""local all = {{}} for i = 0, 255 do all[#all + 1] = string.char(i) end all = table.concat(all)
            local ok, f = await.invoke("return " .. marshal(all), "{address}")
            local _, back = f() return back == all"""
        assert server.call(code) == "true"


def test_two_servers_invoke_each_other_through_a_chain(rule: Rule) -> None:
    hop_1 = rule("return { route = function(a) _G.count = (count or 0) + 1 return a end }")
    hop_2 = rule(
        "return { route = function(a) _G.count = (count or 0) + 1 return a end }",
        http_listen="127.0.0.1:0",
    )
    near = f"socks5://127.0.0.1:{hop_1.running.address[1]}"
    http = hop_2.running.call(lambda: hop_2.running.server.addresses_of("socks"))[0][1]
    far = f"socks4a://127.0.0.1:{http}"
    left, right = rule("_G.name = 'left' return {}"), rule("_G.name = 'right' return {}")
    with api_of(left) as (at_left, _), api_of(right) as (at_right, _):
        back = f'await.invoke("return name", "{at_left}", "{far}", "{near}")'
        code = f"local ok, f = {back} return name, select(2, f())"
        assert invoke(left, code, at_right, far, near) == 'true,"function",true,"right","left"'
    assert hop_1.call("return count") == "2"
    assert hop_2.call("return count") == "2"


def test_the_chain_of_the_settings_comes_first(rule: Rule) -> None:
    hop = rule("return { route = function(a) _G.seen = a return a end }")
    server = rule(proxy=f"socks5://127.0.0.1:{hop.running.address[1]}")
    with api_of(rule()) as (address, _):
        invoke(server, "return 1", address)
    assert hop.call("return seen") == f'"{address}"'


def test_neosocksd_invoke_returns_at_once_and_runs_the_code(rule: Rule) -> None:
    left, right = rule(), rule()
    with api_of(right) as (address, seen):
        left.run(f'_G.got = select("#", neosocksd.invoke("_G.x = 42", "{address}"))')
        assert left.call("return got") == "0"
        assert right.call("while not x do await.sleep(0.001) end return x") == "42"
        assert seen[0].path == "/ruleset/invoke"
        left.call("while neosocksd.stats().num_thread_active > 1 do await.idle() end")


def test_a_failing_invoke_is_dropped(rule: Rule) -> None:
    server = rule()
    with closed_address() as (_, port, *_):
        server.run(f'neosocksd.invoke("x", "127.0.0.1:{port}")')
        eventually(lambda: b"Ruleset Events      : 0\n" in server.post("/ruleset/gc").body)
    assert server.running.statistics().num_api_client_success == 0


@pytest.mark.parametrize("address", ["no port", "x:y", "", "x.test:1:1"])
def test_invoke_of_no_address(rule: Rule, address: str) -> None:
    server = rule()
    assert server.error(f'\nneosocksd.invoke("x", "{address}")').startswith("(invoke):2: ")
    assert (
        server.call(f'local ok, message = await.invoke("x", "{address}") return ok, type(message)')
        == 'false,"string"'
    )


@pytest.mark.parametrize("proxy", ["gopher://x:1", "x", "", "socks5://x:99999"])
def test_invoke_through_no_proxy(rule: Rule, proxy: str) -> None:
    assert invoke(rule(), "return 1", "127.0.0.1:1", proxy).startswith("false,")


def test_nobody_listens(rule: Rule) -> None:
    with closed_address() as (_, port, *_):
        assert invoke(rule(), "return 1", f"127.0.0.1:{port}") == 'false,"connection failed"'


def test_the_time_limit_is_the_setting_timeout(rule: Rule) -> None:
    server = rule()
    with ScriptedPeer(_drain) as peer:
        server.set_timeout(0.05)
        call = f"_G.r = table.pack(await.invoke('return 1', '127.0.0.1:{peer.port}'))"
        server.run(f"neosocksd.async(print, function() {call} end) _G.begun = true")
        server.call("while not r do await.sleep(0.001) end", timeout=10)
        assert server.call("return r[1], r[2]") == 'false,"timeout"'


def _drain(connection: Connection) -> None:
    while connection.socket.recv(4096):
        pass


@pytest.mark.parametrize("code", ["return return", "error('x')"])
def test_a_call_that_fails_over_there_gives_the_status_line(rule: Rule, code: str) -> None:
    with api_of(rule()) as (address, _):
        assert invoke(rule(), code, address) == 'false,"HTTP/1.1 500 Internal Server Error"'


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "malformed response"),
        (b"nonsense\r\n\r\n", "malformed response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "malformed response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", "malformed response"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"HTTP/1.1 403 Why Not\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 403 Why Not"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 3\r\n\r\nabc",
            "malformed content encoding",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
            "unknown content encoding",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nreturn =", "unexpected symbol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x1bLua", "binary chunk"),
    ],
)
def test_bad_answers_are_a_message(rule: Rule, answer: bytes, message: str) -> None:
    def script(connection: Connection) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.receive(1)
        connection.send(answer)
        connection.close()

    with ScriptedPeer(script) as peer:
        text = invoke(rule(), "", f"127.0.0.1:{peer.port}")
    assert text.startswith("false,")
    assert message in text


def test_an_answer_that_grows_beyond_4_mib_is_refused(rule: Rule) -> None:
    bomb = zlib.compress(b"x" * (5 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(bomb)

    def script(connection: Connection) -> None:
        while connection.receive(1) != b"\n":
            pass
        connection.send(head + bomb)
        _drain(connection)

    with ScriptedPeer(script) as peer:
        assert invoke(rule(), "", f"127.0.0.1:{peer.port}") == 'false,"the answer is too long"'


def test_code_beyond_4_mib_is_refused(rule: Rule) -> None:
    code = "return await.invoke(string.rep(' ', (4 << 20) + 1), '127.0.0.1:1')"
    assert rule().call(code) == 'false,"the code is too long"'


def test_the_function_of_an_answer_sees_no_globals(rule: Rule) -> None:
    with http_server(lambda _: (200, b"return true, os")) as (address, _):
        assert invoke(rule(), "", address) == 'true,"function",true,nil'


def test_an_answer_in_chunks_is_read(rule: Rule) -> None:
    def script(connection: Connection) -> None:
        while connection.receive(1) != b"\n":
            pass
        connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nreturn \r\n4\r\ntrue\r\n0\r\n\r\n"
        )
        _drain(connection)

    with ScriptedPeer(script) as peer:
        assert invoke(rule(), "", f"127.0.0.1:{peer.port}") == 'true,"function",true'
