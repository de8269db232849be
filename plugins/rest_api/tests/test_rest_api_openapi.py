"""The OpenAPI document: a valid one, of all calls under ``/v1``, and true of what they answer."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from neosocksd_core import ConfigurationError
from neosocksd_core.server import Server
from neosocksd_core.testing import (
    Client,
    EchoServer,
    PlainPlugin,
    RunningServer,
    Serve,
    plain_request,
)
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.feed import Feed
from neosocksd_rest_api.v1 import JsonEndpoints

Document = Mapping[str, Any]

SETTINGS: Mapping[str, Any] = {"listen": "127.0.0.1:0", "restapi": "127.0.0.1:0"}


@pytest.fixture
def server(serve: Serve) -> RunningServer:
    def reread(server: Server) -> None:
        server.reload(SETTINGS)

    return serve(SETTINGS, plugins=[PlainPlugin, RestApi, "lua_ruleset"], reread=reread)


@pytest.fixture
def api(server: RunningServer) -> Iterator[httpx.Client]:
    base = "http://{}:{}".format(*server.addresses[1][:2])
    with httpx.Client(base_url=base) as client:
        yield client


@pytest.fixture
def document(api: httpx.Client) -> Document:
    found: Document = api.get("/openapi.json").json()
    return found


@pytest.fixture
def connect(server: RunningServer, echo: EchoServer) -> Iterator[Callable[[], int]]:
    """Opens a session and returns its number."""
    with ExitStack() as clients:

        def connect() -> int:
            client = clients.enter_context(Client(server.address))
            client.send(plain_request(echo.address, "alice") + b"hello")
            client.expect(b"ok\nhello")
            return server.sessions()[-1].id

        yield connect


def require(document: Document, answer: httpx.Response, operation: Document) -> None:
    """*answer* must be one that *operation* is said to give."""
    responses = operation["responses"]
    described = responses.get(str(answer.status_code), responses["default"])["content"]
    (kind,) = described
    assert answer.headers["content-type"].partition(";")[0] == kind
    # Nothing more than what is described, either.
    schema = {**described[kind]["schema"], "unevaluatedProperties": False}
    validator = OAS31Validator({**schema, "components": document["components"]})
    assert [error.message for error in validator.iter_errors(answer.json())] == []


def test_it_is_a_valid_document_of_every_operation(document: Document) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    server = Server(SETTINGS, plugins=[PlainPlugin, RestApi])
    operations = JsonEndpoints(server, Feed(server), lambda: 0).operations()
    described = {(method.upper(), path) for path, of in document["paths"].items() for method in of}
    assert described == {(operation.method, operation.path) for operation in operations}
    assert document["info"]["title"] == "neosocksd"


CALLS: list[tuple[str, str, Mapping[str, Any]]] = [
    ("GET", "/v1/stats", {}),
    ("GET", "/v1/health", {}),
    ("GET", "/v1/version", {}),
    ("GET", "/v1/config", {}),
    ("GET", "/v1/plugins", {}),
    ("GET", "/v1/endpoints", {}),
    ("GET", "/v1/sessions", {"params": {"q": "alice", "limit": 5}}),
    ("GET", "/v1/sessions/{id}", {}),
    ("GET", "/v1/log", {"params": {"level": "debug"}}),
    ("POST", "/v1/reload", {}),
    ("POST", "/v1/sessions/close", {"json": {"ids": [1, 2]}}),
    ("DELETE", "/v1/sessions/{id}", {}),
    ("DELETE", "/v1/sessions", {"params": {"all": "true"}}),
]


@pytest.mark.parametrize(("method", "path", "arguments"), CALLS)
def test_each_answer_is_as_described(
    api: httpx.Client,
    document: Document,
    connect: Callable[[], int],
    method: str,
    path: str,
    arguments: Mapping[str, Any],
) -> None:
    number = connect()
    answer = api.request(method, path.replace("{id}", str(number)), **arguments)
    assert answer.status_code == 200
    require(document, answer, document["paths"][path][method.lower()])


def test_no_call_is_left_out_here(document: Document) -> None:
    described = {(method.upper(), path) for path, of in document["paths"].items() for method in of}
    assert described - {(method, path) for method, path, _ in CALLS} == {("GET", "/v1/events")}


def test_each_event_is_as_described(
    server: RunningServer, api: httpx.Client, document: Document, connect: Callable[[], int]
) -> None:
    content = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    described = content["text/event-stream"]["x-events"]
    missing = set(described) - {"lost"}  # which takes a slow reader
    with api.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        while missing:
            name = next(lines).removeprefix("event: ")
            if name == "hello":
                server.call(server.server.close_session, connect())
                server.call(server.server.log.warning, "look here")
            schema = {**described[name], "unevaluatedProperties": False}
            validator = OAS31Validator({**schema, "components": document["components"]})
            data = json.loads(next(lines).removeprefix("data: "))
            assert [error.message for error in validator.iter_errors(data)] == [], name
            next(lines)
            missing.discard(name)


def test_each_parameter_is_taken_as_described(
    api: httpx.Client, document: Document, connect: Callable[[], int]
) -> None:
    connect()
    for path, method in (("/v1/sessions", "get"), ("/v1/sessions", "delete"), ("/v1/log", "get")):
        operation = document["paths"][path][method]
        for parameter in operation["parameters"]:
            name, schema = parameter["name"], parameter["schema"]
            kind = schema.get("type") or schema["anyOf"][0]["type"]
            good = {"string": schema.get("default") or "x", "boolean": "true"}.get(kind, "7")
            answer = api.request(method, path, params={name: good})
            assert answer.status_code == 200, (path, method, name, good)
            require(document, answer, operation)
            if kind != "string" or "enum" in schema:
                answer = api.request(method, path, params={name: "nonsense"})
                assert answer.status_code == 422, (path, method, name)
                require(document, answer, operation)


@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("GET", "/v1/sessions/{id}", {}),
        ("DELETE", "/v1/sessions/{id}", {}),
        ("POST", "/v1/sessions/close", {"json": {"ids": "all"}}),
        ("POST", "/v1/reload", {}),
    ],
)
def test_each_error_is_as_described(
    serve: Serve, method: str, path: str, arguments: Mapping[str, Any]
) -> None:
    def reread(server: Server) -> None:
        raise ConfigurationError("it cannot be used")

    server = serve(SETTINGS, plugins=[PlainPlugin, RestApi], reread=reread)
    with httpx.Client(base_url="http://{}:{}".format(*server.addresses[1][:2])) as api:
        document = api.get("/openapi.json").json()
        answer = api.request(method, path.replace("{id}", "99"), **arguments)
    assert answer.status_code in (404, 422)
    require(document, answer, document["paths"][path][method.lower()])
