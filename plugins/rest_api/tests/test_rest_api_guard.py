"""Who may call the API: names, origins, tokens, and the way through the proxy itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from neosocksd_core import ConfigurationError, ServerContext, hookimpl
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_core.testing import (
    Client,
    PlainPlugin,
    RunningServer,
    Serve,
    make_server,
    plain_request,
)
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.config import RestApiSettings
from neosocksd_rest_api.guard import make_guard

TOKEN = "correct-horse"


class Recorder:
    """Offers a call that takes note."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def register_endpoints(self, server: ServerContext) -> Sequence[Endpoint]:
        async def run(request: EndpointRequest) -> EndpointResponse:
            self.calls += 1
            return EndpointResponse()

        return [Endpoint("/run", frozenset({"POST"}), run)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def launch(serve: Serve, recorder: Recorder, **settings: object) -> RunningServer:
    return serve(
        {"listen": "127.0.0.1:0", "rest_api": {"listen": "127.0.0.1:0", **settings}},
        plugins=[PlainPlugin, recorder, RestApi],
    )


def ask(server: RunningServer, *fields: str, path: str = "/run", method: str = "POST") -> bytes:
    """The whole answer to one request with exactly these header fields."""
    lines = [f"{method} {path} HTTP/1.1", *fields, "Content-Length: 0", "Connection: close", "", ""]
    with Client(server.addresses[1]) as client:
        client.send("\r\n".join(lines).encode("latin-1"))
        return client.receive_all()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Host: 127.0.0.1:9080",),
        ("Host: 127.0.0.1",),
        ("Host: [::1]:9080",),
        ("Host: [2001:db8::1]",),
        ("Host: localhost:9080",),
        ("Host: LocalHost",),
        ("Host: proxy.internal:80",),
        ("Host: localhost:9080", "Origin: http://localhost:9080", "Sec-Fetch-Site: same-origin"),
        ("Host: proxy.internal", "Origin: https://proxy.internal"),
        ("Host: 127.0.0.1", "Sec-Fetch-Site: none"),
    ],
)
def test_callers_that_know_our_name_are_served(
    serve: Serve, recorder: Recorder, fields: tuple[str, ...]
) -> None:
    server = launch(serve, recorder, hosts=["Proxy.Internal"])
    assert status_of(ask(server, *fields)) == 200
    assert recorder.calls == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Host: evil.example",), 403),
        (("Host:",), 403),
        (("Host: 127.0.0.1.evil.com",), 403),
        (("Host: localhost.evil",), 403),
        (("Host: localhost.",), 403),
        (("Host: 2130706433",), 403),
        (("Host: 127.1",), 403),
        (("Host: 127.0.0.1:9080@evil",), 400),
        (("Host: [::1].x",), 400),
        (("Host: [1]",), 403),
        (("Host: localhost", "Host: localhost"), 400),
        (("Origin: http://evil",), 403),
        (("Origin: null",), 403),
        (("Host: localhost", "Origin: http://evil"), 403),
        (("Host: localhost", "Origin: null"), 403),
        (("Host: localhost", "Origin: http://localhost:81"), 403),
        (("Host: localhost", "Origin: http://localhost", "Origin: http://evil"), 403),
        (("Host: evil", "Origin: http://evil"), 403),
        (("Host: localhost", "Sec-Fetch-Site: cross-site"), 403),
        (("Host: localhost", "Sec-Fetch-Site: same-site"), 403),
    ],
)
def test_requests_that_a_web_page_may_have_made_are_refused(
    serve: Serve, recorder: Recorder, fields: tuple[str, ...], status: int
) -> None:
    answer = ask(launch(serve, recorder), *fields)
    assert status_of(answer) == status
    assert b"access-control" not in answer.lower()
    assert recorder.calls == 0


def test_a_preflight_is_granted_to_nobody(serve: Serve, recorder: Recorder) -> None:
    server = launch(serve, recorder)
    for fields in ((), ("Origin: http://evil", "Access-Control-Request-Method: POST")):
        answer = ask(server, "Host: localhost", *fields, method="OPTIONS")
        assert status_of(answer) in (403, 405)
        assert b"access-control" not in answer.lower()


def test_a_token_opens_the_api_and_nothing_else_does(
    backend: str, serve: Serve, recorder: Recorder
) -> None:
    server = launch(serve, recorder, token=TOKEN)
    wrong = ["x", TOKEN[:-1], TOKEN + "x", "", "gen\xe4u", TOKEN.upper()]
    refused = [ask(server)]
    refused += [ask(server, f"Authorization: Bearer {text}") for text in wrong]
    refused += [
        ask(server, f"Authorization: Basic {TOKEN}"),
        ask(server, f"Authorization: {TOKEN}"),
        ask(server, f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"),
        ask(server, f"X-Token: {TOKEN}"),
    ]
    assert {status_of(answer) for answer in refused} == {401}
    assert len({answer.partition(b"\r\n\r\n")[2] for answer in refused}) == 1
    assert all(b"\r\nWWW-Authenticate: Bearer\r\n" in answer for answer in refused)
    assert recorder.calls == 0
    assert status_of(ask(server, f"Authorization: Bearer {TOKEN}")) == 200
    assert status_of(ask(server, f"authorization: bearer {TOKEN}")) == 200


def test_wrong_tokens_are_told_in_the_log_but_do_not_fill_it(
    serve: Serve, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    server = launch(serve, recorder, token=TOKEN)
    ask(server)  # a browser comes without one first
    assert "token" not in caplog.text
    for _ in range(5):
        assert status_of(ask(server, "Authorization: Bearer guessed-it")) == 401
    lines = [line for line in caplog.messages if "wrong token from 127.0.0.1:" in line]
    assert len(lines) == 1
    assert "guessed" not in caplog.text


def test_a_token_makes_the_name_unimportant_but_not_the_origin(
    serve: Serve, recorder: Recorder
) -> None:
    server = launch(serve, recorder, token=TOKEN)
    token = f"Authorization: Bearer {TOKEN}"
    assert status_of(ask(server, token, "Host: any.example")) == 200
    assert status_of(ask(server, token, "Host: any.example", "Origin: http://evil")) == 403
    assert status_of(ask(server, "Host: any.example")) == 403


def test_health_needs_neither_name_nor_token(serve: Serve, recorder: Recorder) -> None:
    server = launch(serve, recorder, token=TOKEN)
    assert status_of(ask(server, "Host: any.example", path="/healthy")) == 200


def test_the_page_needs_no_token_but_our_name(serve: Serve, recorder: Recorder) -> None:
    server = launch(serve, recorder, token=TOKEN)
    answer = ask(server, "Host: localhost", path="/", method="GET")
    assert status_of(answer) == 200
    assert b"\r\ncontent-security-policy: default-src 'none';" in answer
    assert status_of(ask(server, "Host: evil", path="/", method="GET")) == 403


def test_refusals_of_the_json_interface_are_problem_documents(
    serve: Serve, recorder: Recorder
) -> None:
    server = launch(serve, recorder, token=TOKEN)
    base = "http://{}:{}".format(*server.addresses[1][:2])
    answer = httpx.get(f"{base}/v1/stats")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "a token is needed: Authorization: Bearer TOKEN",
    }


def test_a_token_of_a_file_is_read_again_at_a_reload(
    serve: Serve, recorder: Recorder, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("first\nnot this\n")
    server = launch(serve, recorder, token_file=str(path))
    with Client(server.addresses[1]) as caller:

        def status(token: str) -> int:
            caller.send(f"POST /run HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            head = caller.receive_until(b"\r\n\r\n")
            caller.receive(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            return status_of(head)

        assert (status("first"), status("second")) == (200, 401)
        path.write_text("second\n")
        server.call(server.server.reload, server.server.settings)
        assert (status("first"), status("second")) == (401, 200)
        path.unlink()
        with pytest.raises(ConfigurationError, match="token_file"):
            server.call(server.server.reload, server.server.settings)
        assert status("second") == 200


def test_who_reads_events_needs_the_new_token_when_it_changes(
    backend: str, serve: Serve, recorder: Recorder
) -> None:
    server = launch(serve, recorder, token="first")
    with Client(server.addresses[1]) as reader:
        reader.send(b"GET /v1/events HTTP/1.1\r\nAuthorization: Bearer first\r\n\r\n")
        reader.receive_until(b"event: tick")
        api = {"listen": "127.0.0.1:0", "token": "second"}
        server.reload({"listen": "127.0.0.1:0", "rest_api": api})
        reader.receive_until(b"\r\n0\r\n\r\n")
        reader.send(b"GET /v1/version HTTP/1.1\r\nAuthorization: Bearer second\r\n\r\n")
        assert status_of(reader.receive_until(b"\r\n\r\n")) == 200


@pytest.mark.parametrize("api", [{}, {"listen": "127.0.0.1:0"}])
def test_who_has_connected_when_a_token_was_needed_needs_it_where_none_is_any_more(
    serve: Serve, recorder: Recorder, api: Mapping[str, str]
) -> None:
    server = launch(serve, recorder, listen="0.0.0.0:0", token=TOKEN)
    with Client(("127.0.0.1", server.addresses[1][1])) as caller:
        for token, status in (("guess", 401), (TOKEN, 200)):
            caller.send(
                f"HEAD /v1/version HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            assert status_of(caller.receive_until(b"\r\n\r\n")) == status
            server.reload({"listen": "127.0.0.1:0", "rest_api": api})
        caller.send(b"HEAD /v1/version HTTP/1.1\r\n\r\n")
        assert status_of(caller.receive_until(b"\r\n\r\n")) == 401


class Stubborn:
    """Refuses a reload that changes the timeout."""

    @hookimpl
    def reload(self, server: ServerContext) -> None:
        if server.settings.timeout == 17:
            raise ConfigurationError("not with me")


def test_a_reload_that_is_refused_leaves_the_token_as_it_was(
    serve: Serve, recorder: Recorder
) -> None:
    plugins = [PlainPlugin, recorder, Stubborn, RestApi]

    def settings(token: str, timeout: int) -> Mapping[str, object]:
        api = {"listen": "127.0.0.1:0", "token": token}
        return {"listen": "127.0.0.1:0", "timeout": timeout, "rest_api": api}

    server = serve(settings("first", 10), plugins=plugins)
    assert status_of(ask(server, "Authorization: Bearer first")) == 200
    with pytest.raises(ConfigurationError, match="not with me"):
        server.reload(settings("second", 17))
    assert status_of(ask(server, "Authorization: Bearer first")) == 200
    assert status_of(ask(server, "Authorization: Bearer second")) == 401
    server.reload(settings("second", 18))
    assert status_of(ask(server, "Authorization: Bearer first")) == 401
    assert status_of(ask(server, "Authorization: Bearer second")) == 200


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:0", ":0", "*:0", "[::]:0", "192.0.2.1:80", "proxy.internal:80"]
)
def test_an_address_that_others_reach_needs_a_token(listen: str) -> None:
    with pytest.raises(ConfigurationError, match="a token is needed"):
        make_guard(RestApiSettings(listen=(listen,)))
    with pytest.raises(ConfigurationError, match="a token is needed"):
        RunningServer({"listen": "127.0.0.1:0", "restapi": listen}, plugins=[PlainPlugin, RestApi])
    make_guard(RestApiSettings.model_validate({"listen": (listen,), "token": TOKEN}))


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "localhost:0", "unix:/run/api"]
)
def test_an_address_of_this_machine_needs_none(listen: str) -> None:
    make_guard(RestApiSettings(listen=(listen,)))


@pytest.mark.parametrize("listen", ["unix:", "unix:\0abstract", "unix:/run/api\0", "127.0.0.1"])
def test_an_address_where_nobody_can_listen_is_an_error(listen: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rest_api\.listen: "):
        make_server({"rest_api": {"listen": listen}}, plugins=[PlainPlugin, RestApi])


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "with blank"},
        {"token": "gen\xe4u"},
        {"token": "x" * 5000},
        {"token": "x", "token_file": "/dev/null"},
        {"token_file": "/dev/null"},
        {"token_file": "/nowhere/token"},
    ],
)
def test_a_token_that_cannot_be_used_is_an_error_that_does_not_show_it(
    settings: Mapping[str, str],
) -> None:
    with pytest.raises(ConfigurationError, match=r"^rest_api\.token(_file)?: ") as caught:
        make_guard(RestApiSettings.model_validate(settings))
    assert settings.get("token", "-" * 9)[:9] not in str(caught.value) or settings["token"] == "x"


@pytest.mark.parametrize("name", ["proxy.internal:9080", "b\xfccher.example", "", "a b"])
def test_a_name_that_no_client_can_send_is_a_faulty_setting(name: str) -> None:
    with pytest.raises(ValidationError, match="without a port"):
        RestApiSettings(hosts=(name,))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1"])
def test_no_client_of_the_proxy_reaches_the_api(
    backend: str, serve: Serve, recorder: Recorder, host: str
) -> None:
    server = launch(serve, recorder)
    with Client(server.address) as client:
        client.send(plain_request((host, server.addresses[1][1])))
        assert not client.receive_until_closed().startswith(b"ok")
    assert server.statistics().num_api_request == 0
