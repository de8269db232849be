"""Web pages of others against the API, in a real browser: nothing that they can send is obeyed, and nothing is shown to them."""

import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neosocksd_core import ServerContext, hookimpl
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_core.testing import PlainPlugin, Serve
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.testing import PATIENCE, Browser


class Recorder:
    """Offers a call that takes note."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def register_endpoints(self, server: ServerContext) -> Sequence[Endpoint]:
        async def run(request: EndpointRequest) -> EndpointResponse:
            self.calls += 1
            return EndpointResponse()

        return [Endpoint("/run", frozenset({"GET", "POST"}), run)]


class Page(BaseHTTPRequestHandler):
    """An empty page, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "9")
        self.end_headers()
        self.wfile.write(b"<p>hello\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name is the library's
        """Nothing."""


@contextmanager
def other_site() -> Generator[str]:
    """A web server on another port: its pages are of another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        site.daemon_threads = False
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{site.server_address[1]}/"
        finally:
            site.shutdown()
            thread.join(PATIENCE)


ATTACK = """
const [base] = arguments;
const outcomes = {};
const attempt = async (name, work) => { outcomes[name] = await work().then(() => "passed", () => "failed"); };
const post = { method: "POST", body: "_G.owned = true" };
await attempt("read", () => fetch(base + "/stats").then((response) => response.text()));
await attempt("post", () => fetch(base + "/run", post));
await attempt("put", () => fetch(base + "/run", { ...post, headers: { "Content-Type": "application/json" } }));
await attempt("token", () => fetch(base + "/run", { ...post, headers: { Authorization: "Bearer x" } }));
await attempt("delete", () => fetch(base + "/v1/sessions?all=true", { method: "DELETE" }));
await fetch(base + "/run", { ...post, mode: "no-cors" }).catch(() => {});
await fetch(base + "/run", { ...post, mode: "no-cors", keepalive: true, referrerPolicy: "no-referrer" }).catch(() => {});
navigator.sendBeacon(base + "/run", "x");
const event = (target, good, bad) => () => new Promise((yes, no) => { target[good] = yes; target[bad] = no; });
const stream = new EventSource(base + "/v1/events");
await attempt("events", event(stream, "onopen", "onerror"));
stream.close();
await attempt("websocket", event(new WebSocket(base.replace("http", "ws") + "/run"), "onopen", "onerror"));
const image = new Image();
image.src = base + "/run";
await attempt("image", event(image, "onload", "onerror"));
const load = (element) => new Promise((done) => { element.onload = element.onerror = done; document.body.append(element); });
const script = document.createElement("script");
script.src = base + "/page.js";
await load(script);
for (const sandbox of [null, "allow-forms allow-scripts"]) {
  const frame = document.createElement("iframe");
  frame.name = `frame${sandbox}`;
  if (sandbox) frame.sandbox = sandbox; // its origin is null
  const form = `<form action="${base}/run" method="post"><input name="a"></form><script>document.forms[0].submit()</scr` + "ipt>";
  frame.srcdoc = form;
  await load(frame);
}
const form = document.createElement("form");
Object.assign(form, { action: base + "/run", method: "post", enctype: "text/plain", target: "framenull" });
document.body.append(form);
form.submit();
return outcomes;
"""


@pytest.mark.parametrize("token", ["", "s3cret"])
def test_a_page_of_another_site_cannot_use_the_api(
    serve: Serve, tmp_path: Path, token: str
) -> None:
    recorder = Recorder()
    settings = {"listen": "127.0.0.1:0", "rest_api": {"listen": "127.0.0.1:0", "token": token}}
    server = serve(settings, plugins=[PlainPlugin, recorder, RestApi])
    port = server.addresses[1][1]
    with other_site() as site, Browser(tmp_path) as browser:
        browser.open(site)
        outcomes = browser.run(ATTACK, f"http://127.0.0.1:{port}")
        assert len(outcomes) == 8
        assert set(outcomes.values()) == {"failed"}, outcomes
        # The last form is on its way: a page that is loaded after it shows that it has been answered.
        browser.open(site)
    assert recorder.calls == 0
    statistics = server.statistics()
    assert statistics.num_api_request >= 10
    assert statistics.num_api_success == 0


def test_a_name_that_was_rebound_to_us_is_refused(serve: Serve, tmp_path: Path) -> None:
    recorder = Recorder()
    server = serve(
        {"listen": "127.0.0.1:0", "restapi": "127.0.0.1:0"},
        plugins=[PlainPlugin, recorder, RestApi],
    )
    port = server.addresses[1][1]
    with Browser(tmp_path, "--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        browser.open(f"http://evil.example:{port}/")
        assert "not known by that name" in browser.run("return document.body.innerText")
        call = "return await fetch('/run', {method: 'POST'}).then((response) => response.status)"
        assert browser.run(call) == 403
    assert recorder.calls == 0


def test_no_page_can_frame_ours(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        api = f"127.0.0.1:{probe.getsockname()[1]}"
    server = serve({"listen": "127.0.0.1:0", "restapi": api}, plugins=[PlainPlugin, RestApi])
    frame = """
    const frame = document.createElement("iframe");
    frame.src = arguments[0];
    await new Promise((done) => { frame.onload = frame.onerror = done; document.body.append(frame); });
    """
    with other_site() as site, Browser(tmp_path) as browser:
        browser.open(site)
        browser.run(frame, f"http://{api}/")
    statistics = server.statistics()
    assert (statistics.num_api_request, statistics.num_api_success) == (1, 0)
