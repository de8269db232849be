"""The page in a browser: sessions come and go, are filtered and closed, and nothing complains."""

import re
import socket
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from neosocksd_core.server import Server
from neosocksd_core.testing import Client, Connection, EchoServer, RunningServer, Serve
from neosocksd_rest_api.testing import Browser

STATIC = Path(__file__).parents[1] / "neosocksd_rest_api" / "static"

DELETE = "\ue017"
DOWN = "\ue015"
"""Keys by their WebDriver names."""

CELL = "[...document.querySelectorAll('#rows td.c-{}')].map((cell) => cell.textContent)"
USERS, TARGETS = CELL.format("user"), CELL.format("target")
NOTICE = "document.getElementById('notice-text').textContent"


def free_address() -> str:
    """An address of this machine where nobody listened just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def open_session(server: RunningServer, target: tuple[str, int], user: bytes) -> Connection:
    """A client whose request was granted."""
    client = Client(server.address)
    client.send(b"\x05\x01\x02")
    client.expect(b"\x05\x02")
    client.send(b"\x01" + bytes([len(user)]) + user + b"\x01x")
    client.expect(b"\x01\x00")
    client.send(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target[1].to_bytes(2, "big"))
    assert client.receive(10)[:2] == b"\x05\x00"
    return client


class Page:
    """A server, and its page in a browser."""

    def __init__(
        self, serve: Serve, browser: Browser, ruleset: Path | None = None, **settings: object
    ) -> None:
        self.api = free_address()
        self.settings: dict[str, object] = {
            "listen": "127.0.0.1:0",
            "rest_api": {"listen": [self.api], **settings},
        }
        self.plugins = ["socks5", "rest_api"]
        if ruleset is not None:
            self.settings["ruleset"] = str(ruleset)
            self.plugins.append("lua_ruleset")
        self.browser = browser
        self.start(serve)
        browser.open(f"http://{self.api}/")

    def start(self, serve: Serve) -> None:
        """Start a server with these settings; a reload reads them again."""
        self.server = serve(self.settings, plugins=self.plugins, reread=self._reread)

    def _reread(self, server: Server) -> None:
        server.reload(self.settings)

    def wait_live(self) -> None:
        self.browser.wait_for("document.getElementById('live').textContent === 'live'")


@pytest.fixture
def browser(tmp_path: Path) -> Generator[Browser]:
    with Browser(tmp_path) as browser:
        yield browser


@pytest.fixture
def stack() -> Generator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_sessions_appear_move_and_are_closed(
    serve: Serve, browser: Browser, echo: EchoServer, stack: ExitStack
) -> None:
    page = Page(serve, browser)
    page.wait_live()
    browser.wait_for("!document.getElementById('empty').hidden")

    alice, bob, mallory = (
        stack.enter_context(open_session(page.server, echo.address, user))
        for user in (b"alice", b"bob", b"<img src=x onerror=alert(1)>")
    )
    browser.wait_for(f"{USERS}.includes('alice') && {USERS}.includes('bob')")
    browser.wait_for(f"{USERS}.includes('<img src=x onerror=alert(1)>')")
    assert browser.run(f"return {TARGETS}")[0] == f"127.0.0.1:{echo.port}"
    alice.send(b"x" * 50_000)
    alice.expect(b"x" * 50_000)
    browser.wait_for(f"{CELL.format('up')}.includes('50.0 kB')")

    # A kill by mouse, by keyboard, and of all that a filter shows.
    browser.write("#filter", "user:ALICE")
    browser.wait_for(f"{USERS}.length === 1")
    browser.run("document.querySelector('#rows td.c-close button').click()")
    alice.expect_closed()
    browser.wait_for("document.getElementById('empty-title').textContent === 'No session matches'")

    browser.run(
        "const f = document.getElementById('filter');"
        "f.value = 'bob'; f.dispatchEvent(new Event('input'))"
    )
    browser.wait_for(f"{USERS}.length === 1")
    browser.run("document.querySelector('#rows tr[tabindex=\"0\"]').focus()")
    browser.press(DOWN)
    browser.press(DELETE)
    bob.expect_closed()

    browser.run(
        "const f = document.getElementById('filter');"
        "f.value = ''; f.dispatchEvent(new Event('input'))"
    )
    browser.wait_for(f"{USERS}.length === 1")
    mallory.send(b"still here")
    mallory.expect(b"still here")
    browser.run("document.getElementById('close-all').click()")
    assert browser.run("return document.getElementById('confirm-dialog').open")
    browser.run("document.querySelector('#confirm-dialog button.danger').click()")
    mallory.expect_closed()
    browser.wait_for(f"{NOTICE} === '1 session closed.'")
    browser.wait_for(f"{USERS}.length === 0")
    assert browser.complaints() == []


def test_a_reload_shows_its_error(serve: Serve, browser: Browser) -> None:
    page = Page(serve, browser)
    page.wait_live()
    usable = page.settings
    page.settings = {**usable, "proxy": "<oops>://192.0.2.1"}
    browser.run("document.getElementById('reload').click()")
    browser.wait_for(f"{NOTICE}.includes('<oops>')")
    assert browser.run("return document.getElementById('notice').className") == "bad"
    page.settings = usable
    browser.run("document.getElementById('reload').click()")
    browser.wait_for(f"{NOTICE} === 'Reloaded.'")
    assert browser.run("return document.getElementById('notice').className") == ""


def test_a_notice_is_seen_wherever_the_page_is_scrolled_to(serve: Serve, browser: Browser) -> None:
    Page(serve, browser).wait_live()
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.run("document.getElementById('reload').click()")
    browser.wait_for("!document.getElementById('notice').hidden")
    assert browser.run("return scrollY") > 0
    place = browser.run("return document.getElementById('notice').getBoundingClientRect().toJSON()")
    assert 0 <= place["top"] < place["bottom"] <= browser.run("return innerHeight")


def test_latencies_of_dials_and_of_names_are_shown(
    serve: Serve, browser: Browser, echo: EchoServer
) -> None:
    page = Page(serve, browser)
    page.wait_live()
    with Client(page.server.address) as client:
        client.send(b"\x05\x01\x00\x05\x01\x00\x03\x09localhost" + echo.port.to_bytes(2, "big"))
        assert client.receive(12)[2:4] == b"\x05\x00"
        for name in ("connect", "dns"):
            browser.wait_for(
                f"/^[0-9.]+(µs|ms|s)$/.test(document.getElementById('f-{name}').textContent)"
            )
    assert "1 name, 0 not found" in browser.run(
        "return document.getElementById('d-dns').textContent"
    )


def test_a_token_is_asked_for_and_kept_for_the_tab(serve: Serve, browser: Browser) -> None:
    page = Page(serve, browser, token="s3cret")
    browser.wait_for("document.getElementById('token-dialog').open")
    browser.write("#token", "gen\u20ac")  # what no header can carry
    browser.run("document.querySelector('#token-dialog form').requestSubmit()")
    assert browser.run("return document.getElementById('token-dialog').open")
    browser.run("document.getElementById('token').value = ''")
    for token, refused in (("wrong", False), ("s3cret", True)):
        browser.wait_for("document.getElementById('token-dialog').open")
        assert browser.run("return !document.getElementById('token-refused').hidden") is refused
        browser.write("#token", token)
        browser.run("document.querySelector('#token-dialog form').requestSubmit()")
    page.wait_live()
    assert browser.run("return [localStorage.length, sessionStorage.length]") == [0, 1]
    assert browser.run("return document.cookie") == ""
    browser.open(f"http://{page.api}/")
    page.wait_live()


def test_the_page_finds_a_server_that_comes_back(
    serve: Serve, browser: Browser, echo: EchoServer, stack: ExitStack
) -> None:
    page = Page(serve, browser)
    page.wait_live()
    page.server.stop()
    browser.wait_for("document.getElementById('live').textContent === 'reconnecting'")
    browser.wait_for("document.getElementById('empty-title').textContent === 'Not connected'")
    assert browser.run("return document.getElementById('health').hidden")
    page.start(serve)
    page.wait_live()
    browser.wait_for("!document.getElementById('health').hidden")
    stack.enter_context(open_session(page.server, echo.address, b"alice"))
    browser.wait_for(f"{USERS}.includes('alice')")


MANY = """
const { Table } = await import("/table.js");
const scroller = document.getElementById("scroller").cloneNode();
document.body.append(scroller);
const rows = document.createElement("tbody");
const grid = document.createElement("table");
grid.append(document.createElement("thead"), rows);
scroller.append(grid);
const table = new Table({ scroller, columns: document.createElement("tr"), rows, close: () => {} });
const sessions = Array.from({ length: 5000 }, (_, id) => ({ id, client: `c${id}`, user: "", target: "t", chain: "",
  frontend: "", state: "", opened: id, up: 0, down: 0, rate: 0 }));
table.update(sessions);
const start = performance.now();
for (let turn = 0; turn < 10; turn += 1) {
  for (const session of sessions) session.down += 1000;
  table.update(sessions);
}
return [rows.childElementCount, (performance.now() - start) / 10, rows.children[1].cells[1].textContent];
"""


def test_five_thousand_sessions_are_light(serve: Serve, browser: Browser) -> None:
    Page(serve, browser).wait_live()
    rows, milliseconds, newest = browser.run(MANY)
    assert newest == "c4999"
    assert 10 < rows < 60
    assert milliseconds < 100


def test_the_figures_tell_of_the_ruleset(serve: Serve, browser: Browser, tmp_path: Path) -> None:
    script = tmp_path / "ruleset.lua"
    script.write_text("return {}")
    Page(serve, browser, script).wait_live()
    detail = "document.getElementById('d-ruleset').textContent"
    browser.wait_for(f"/^[0-9,]{{3,}} objects, 0 routines$/.test({detail})")


def test_of_many_sessions_only_those_in_sight_are_drawn(
    serve: Serve, browser: Browser, stack: ExitStack
) -> None:
    page = Page(serve, browser)
    page.wait_live()
    # What is connected to it waits in its queue, which is enough of an upstream.
    upstream = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=250))
    address: tuple[str, int] = upstream.getsockname()
    for number in range(200):
        stack.enter_context(open_session(page.server, address, b"user%d" % number))
    browser.wait_for("document.getElementById('count').textContent === '200'")
    browser.wait_for(f"{USERS}[0] === 'user199'")
    assert browser.run("return document.querySelectorAll('#rows tr').length") < 60
    browser.run("const s = document.getElementById('scroller'); s.scrollTop = s.scrollHeight")
    browser.wait_for(f"{USERS}.at(-1) === 'user0'")
    assert browser.run("return document.querySelectorAll('#rows tr').length") < 60
    browser.write("#filter", "user:user19")
    browser.wait_for("document.getElementById('count').textContent === '11 of 200'")


def test_the_order_rests_while_the_pointer_moves_over_the_rows(
    serve: Serve, browser: Browser, echo: EchoServer, stack: ExitStack
) -> None:
    page = Page(serve, browser)
    page.wait_live()
    stack.enter_context(open_session(page.server, echo.address, b"alice"))
    browser.wait_for(f"{USERS}.length === 1")
    browser.run(
        "window.moving = setInterval(() => document.getElementById('rows').dispatchEvent("
        "new PointerEvent('pointermove')), 100)"
    )
    browser.wait_for("window.moving")
    stack.enter_context(open_session(page.server, echo.address, b"bob"))
    browser.wait_for("document.getElementById('count').textContent === '2'")
    assert browser.run(f"return {USERS}") == ["alice"]
    browser.run(
        "clearInterval(window.moving);"
        "document.getElementById('rows').dispatchEvent(new PointerEvent('pointerleave'))"
    )
    browser.wait_for(f"{USERS}.join() === 'bob,alice'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone_in_light_and_dark(
    serve: Serve, browser: Browser, scheme: str, echo: EchoServer, stack: ExitStack
) -> None:
    browser.emulate(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=740,
        deviceScaleFactor=1,
        mobile=True,
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.emulate("Emulation.setEmulatedMedia", features=[feature])
    page = Page(serve, browser)
    page.wait_live()
    stack.enter_context(open_session(page.server, echo.address, b"alice"))
    browser.wait_for(f"{USERS}.length === 1")
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    ground = browser.run("return getComputedStyle(document.documentElement).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", ground)[:3])) > 384
    assert bright is (scheme == "light")
    unnamed = "[...document.querySelectorAll('button, input')].filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))"
    assert browser.run(f"return {unnamed}.length") == 0


def test_nothing_is_fetched_from_elsewhere_and_no_data_becomes_markup() -> None:
    texts = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}
    assert {"index.html", "page.css", "page.js"} <= set(texts)
    for name, text in texts.items():
        found = re.findall(r"https?://[^\s\"']+", text)
        assert found in ([], ["http://www.w3.org/2000/svg"]), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert "<style" not in text
        assert " style=" not in text
        assert not re.search(r"<script(?![^>]* src=)", text)
        assert not re.search(r"\son[a-z]+=", text)
