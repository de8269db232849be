"""Which callback is asked about a request of a real client, with what, and that all three may do the same."""

import socket
from base64 import b64encode

import pytest

from neosocksd_core.testing.connection import Connection
from neosocksd_core.testing.peers import EchoServer
from neosocksd_lua_ruleset.testing import Rule, Ruled

pytestmark = pytest.mark.usefixtures("backend")

SUCCESS, NOT_ALLOWED = 0, 2

ASKED = """
    local r = {}
    for _, name in ipairs({ "resolve", "route", "route6" }) do
        r[name] = function(...) _G.asked = table.pack(name, ...) end
    end
    return r"""
"""Notes what is asked, and rejects."""


def asked(server: Ruled) -> str:
    """The callback and its arguments, marshalled; the note is thrown away."""
    return server.call("local a = asked _G.asked = nil return table.unpack(a, 1, a.n)")


# SOCKS: by the type of the address


@pytest.mark.parametrize(
    ("host", "call"),
    [
        ("www.example.org", '"resolve","www.example.org:80"'),
        ("WWW.Example.org", '"resolve","WWW.Example.org:80"'),
        ("203.0.113.1", '"route","203.0.113.1:80"'),
        ("2001:DB8::1", '"route6","[2001:db8::1]:80"'),
        ("::ffff:203.0.113.1", '"route6","[::ffff:203.0.113.1]:80"'),
    ],
)
def test_socks5_asks_the_callback_of_the_address_type(rule: Rule, host: str, call: str) -> None:
    server = rule(ASKED)
    assert server.reply(host, 80) == NOT_ALLOWED
    assert asked(server) == f"{call},nil,nil"


@pytest.mark.parametrize(("name", "text"), [("192.0.2.7", "192.0.2.7:80"), ("::1", "[::1]:80")])
def test_a_literal_that_comes_as_a_name_asks_resolve(rule: Rule, name: str, text: str) -> None:
    server = rule(ASKED)
    client = Connection(socket.create_connection(server.running.address))
    client.send(b"\x05\x01\x00" + b"\x05\x01\x00\x03%c%b\x00\x50" % (len(name), name.encode()))
    client.expect(b"\x05\x00")
    assert client.receive(2)[1] == NOT_ALLOWED
    client.close()
    assert asked(server) == f'"resolve","{text}",nil,nil'


@pytest.mark.parametrize("user", ["", "me"])
@pytest.mark.parametrize(
    ("address", "name", "call"),
    [
        (b"\x0a\x01\x02\x03", b"", '"route","10.1.2.3:80"'),
        (b"\x00\x00\x00\x01", b"name.test\0", '"resolve","name.test:80"'),
        (b"\x00\x00\x00\x01", b"127.0.0.1\0", '"resolve","127.0.0.1:80"'),
    ],
    ids=["SOCKS4", "SOCKS4A", "SOCKS4A literal"],
)
def test_socks4_gives_its_user_id_and_no_password(
    rule: Rule, address: bytes, name: bytes, call: str, user: str
) -> None:
    server = rule(ASKED)
    client = Connection(socket.create_connection(server.running.address))
    client.send(b"\x04\x01\x00\x50" + address + user.encode() + b"\0" + name)
    assert client.receive(8)[1] == 0x5B
    client.close()
    assert asked(server) == f'{call},"{user}",nil'


def test_credentials_are_bytes(rule: Rule) -> None:
    server = rule(ASKED, auth_required=True)
    client = Connection(socket.create_connection(server.running.address))
    client.send(b"\x05\x01\x02")
    client.expect(b"\x05\x02")
    client.send(b"\x01\x03\xff\x00\n\x01\xfe")
    client.expect(b"\x01\x00")
    client.send(b"\x05\x01\x00\x03\x01x\x00\x50")
    assert client.receive(2)[1] == NOT_ALLOWED
    client.close()
    assert server.call("return asked[3] == '\\xff\\0\\n', asked[4] == '\\xfe'") == "true,true"


# HTTP: always resolve


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("CONNECT Www.Example.org:443", "Www.Example.org:443"),
        ("CONNECT 192.0.2.7:443", "192.0.2.7:443"),
        ("CONNECT [2001:DB8::1]:443", "[2001:DB8::1]:443"),
        ("GET http://Www.Example.org/", "Www.Example.org:80"),
        ("GET http://192.0.2.7:8080/", "192.0.2.7:8080"),
        ("GET http://[2001:DB8::1]/", "[2001:DB8::1]:80"),
    ],
)
@pytest.mark.parametrize("credentials", [False, True])
def test_http_always_asks_resolve_with_the_text_as_sent(
    rule: Rule, line: str, text: str, credentials: bool
) -> None:
    server = rule(ASKED, http_listen="127.0.0.1:0")
    http = server.running.call(lambda: server.running.server.addresses_of("http"))[0]
    client = Connection(socket.create_connection(http[:2]))
    fields = "Host: x\r\n"
    if credentials:
        fields += f"Proxy-Authorization: Basic {b64encode(b'alice:a:b').decode()}\r\n"
    if line.startswith("GET"):
        fields = fields.replace("Host: x", "Host: " + line.split("/")[2])
    client.send(f"{line} HTTP/1.1\r\n{fields}\r\n".encode())
    assert client.receive(12) == b"HTTP/1.1 403"
    client.close()
    assert asked(server) == f'"resolve","{text}",' + ('"alice","a:b"' if credentials else "nil,nil")


# forwarding


@pytest.mark.parametrize(
    ("forward", "call"),
    [
        (":", '"resolve",":0"'),
        ("name.test:7", '"resolve","name.test:7"'),
        ("192.0.2.1:7", '"route","192.0.2.1:7"'),
        ("[2001:db8::1]:7", '"route6","[2001:db8::1]:7"'),
    ],
)
def test_forwarding_asks_by_type_and_without_a_target_for_port_0(
    rule: Rule, forward: str, call: str
) -> None:
    server = rule(ASKED, plugins=("forward",), forward=forward)
    client = Connection(socket.create_connection(server.running.address))
    client.expect_closed()
    client.close()
    assert asked(server) == f"{call},nil,nil"


def test_a_ruleset_gives_forwarding_its_target(rule: Rule, echo: EchoServer) -> None:
    server = rule(
        f'return {{ resolve = function() return "127.0.0.1:{echo.port}" end }}',
        plugins=("forward",),
        forward=":",
    )
    client = Connection(socket.create_connection(server.running.address))
    client.send(b"hello")
    client.expect(b"hello")
    client.close()


# What one callback may, each may.


CALLBACKS = {"resolve": "far.test", "route": "192.0.2.1", "route6": "2001:db8::1"}


@pytest.fixture(params=CALLBACKS)
def callback(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def only(callback: str, body: str) -> str:
    """A ruleset with that callback alone."""
    return f"return {{ {callback} = function(addr, username, password) {body} end }}"


def test_each_callback_may_replace_the_request(rule: Rule, echo: EchoServer, callback: str) -> None:
    server = rule(only(callback, f'return "127.0.0.1:{echo.port}"'))
    assert server.reply(CALLBACKS[callback], 7) == SUCCESS


def test_each_callback_may_reject(rule: Rule, callback: str) -> None:
    assert rule(only(callback, "return nil")).reply(CALLBACKS[callback], 7) == NOT_ALLOWED


def test_each_callback_may_forward_through_a_chain(
    rule: Rule, echo: EchoServer, callback: str
) -> None:
    any_way = f'local function f(a) _G.seen = a return "127.0.0.1:{echo.port}" end '
    far = rule(any_way + "return { resolve = f, route = f, route6 = f }")
    near = rule("return { route = function(a) _G.seen = a return a end }")
    way = f'"socks5://127.0.0.1:{far.running.address[1]}", "socks5://127.0.0.1:{near.running.address[1]}"'
    server = rule(only(callback, f"return addr, {way}"))
    assert server.reply(CALLBACKS[callback], 7) == SUCCESS
    assert near.call("return seen") == f'"127.0.0.1:{far.running.address[1]}"'
    host = CALLBACKS[callback]
    assert far.call("return seen") == (f'"[{host}]:7"' if ":" in host else f'"{host}:7"')


def test_each_callback_is_given_the_credentials(
    rule: Rule, echo: EchoServer, callback: str
) -> None:
    body = f"""if username == "alice" and password == "secret" then return "127.0.0.1:{echo.port}" end"""
    server = rule(only(callback, body), auth_required=True)
    assert server.reply(CALLBACKS[callback], 7, "alice", "secret") == SUCCESS
    assert server.reply(CALLBACKS[callback], 7, "alice", "wrong") == NOT_ALLOWED
    assert server.reply(CALLBACKS[callback], 7, "eve", "secret") == NOT_ALLOWED


def test_each_callback_runs_in_a_routine(rule: Rule, echo: EchoServer, callback: str) -> None:
    body = f'assert(coroutine.isyieldable()) await.sleep(0.001) return "127.0.0.1:{echo.port}"'
    assert rule(only(callback, body)).reply(CALLBACKS[callback], 7) == SUCCESS


def test_each_callback_may_dial_itself(rule: Rule, echo: EchoServer, callback: str) -> None:
    body = f'if not await.forward("127.0.0.1:0") then await.forward("127.0.0.1:{echo.port}") end'
    assert rule(only(callback, body)).reply(CALLBACKS[callback], 7) == SUCCESS


@pytest.mark.logs_error("boom")
@pytest.mark.parametrize("before", ["", "await.idle()"])
def test_an_error_rejects_the_request_of_each_callback_alone(
    rule: Rule, echo: EchoServer, callback: str, before: str
) -> None:
    body = f'{before} if addr:find(":7$") then error("boom") end return "127.0.0.1:{echo.port}"'
    server = rule(only(callback, body))
    assert server.reply(CALLBACKS[callback], 7) == NOT_ALLOWED
    assert server.reply(CALLBACKS[callback], 8) == SUCCESS


def test_each_callback_is_looked_up_at_each_call(rule: Rule, callback: str) -> None:
    server = rule(f"""
        local now
        _G.turn = function(f) now = f end
        return setmetatable({{}}, {{ __index = function(_, name) assert(name == "{callback}") return now end }})""")
    for number in ("1", "2"):
        server.run(f"turn(function() _G.turned = {number} end)")
        assert server.reply(CALLBACKS[callback], 7) == NOT_ALLOWED
        assert server.call("return turned") == number
