"""The application of one server: Starlette routes to the endpoints, and errors have the form that their callers expect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neosocksd_core import ServerContext
from neosocksd_rest_api import openapi, page
from neosocksd_rest_api.answer import error_answer
from neosocksd_rest_api.compression import SMALLEST, accepts_deflate, encode
from neosocksd_rest_api.feed import Feed
from neosocksd_rest_api.offered import OfferedEndpoints
from neosocksd_rest_api.textual import TextEndpoints
from neosocksd_rest_api.v1 import JsonEndpoints, Operation

Handler = Callable[[Request], Awaitable[Response]]


class AnyMethod:
    """Serves a path whatever the method, as ASGI."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._handle(Request(scope, receive))
        await response(scope, receive, send)


class Deflating:
    """Deflates answers for callers that accept it; streams go through as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        accepted = b",".join(v for name, v in scope["headers"] if name == b"accept-encoding")
        if not accepts_deflate(accepted.decode("latin-1")):
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def send_deflated(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start:
                begin, start = start, {}
                body = message.get("body", b"")
                if len(body) >= SMALLEST and not message.get("more_body", False):
                    message = {**message, "body": await encode(body)}
                    headers = MutableHeaders(raw=list(begin["headers"]))
                    headers["Content-Encoding"] = "deflate"
                    headers["Content-Length"] = str(len(message["body"]))
                    headers.add_vary_header("Accept-Encoding")
                    begin = {**begin, "headers": headers.raw}
                await send(begin)
            await send(message)

        await self._app(scope, receive, send_deflated)


async def _refuse(request: Request, error: Exception) -> Response:
    """The answer to an HTTPException."""
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error.detail, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    """The answer to any other exception, which the connection logs."""
    return _error(request, 500, "internal error")


def _error(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    fields, content = error_answer(status, detail, request.scope["path"])
    response = Response(content, status, headers)
    response.raw_headers += [(name.lower(), value) for name, value in fields]
    return response


async def _serve_page(request: Request) -> Response:
    name = request.scope["path"].removeprefix("/") or page.INDEX
    kind = page.page_files().get(name)
    if kind is None:
        raise HTTPException(404, "there is nothing of that name")
    fields = {
        "Content-Type": kind,
        "Content-Security-Policy": page.POLICY,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(page.read_page(name), headers=fields)


def _routes_of(operations: Sequence[Operation]) -> list[Route]:
    """A route for each path, so that a wrong method is told of all that are right."""
    handlers: dict[str, dict[str, Handler]] = {}
    for operation in operations:
        handlers.setdefault(operation.path, {})[operation.method] = operation.handle
    return [
        Route(path, _by_method(of_path), methods=list(of_path))
        for path, of_path in handlers.items()
    ]


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return handle


class ApiApplication:
    """The application of one server, as ASGI. *limit* gives the bytes that a body may have once it is decompressed."""

    def __init__(self, server: ServerContext, feed: Feed, limit: Callable[[], int]) -> None:
        self._routes = _all_routes(server, feed, limit)
        app = Starlette(
            routes=self._routes,
            middleware=[Middleware(Deflating)],
            exception_handlers={HTTPException: _refuse, Exception: _fail},
        )
        app.router.redirect_slashes = False
        app.router.default = AnyMethod(OfferedEndpoints(server, feed.forget, limit).call)
        self._app: ASGIApp = app

    def has(self, path: str) -> bool:
        """Whether *path* is the API's own, so that nobody else can be called there."""
        scope = {"type": "http", "method": "GET", "path": path}
        return any(route.matches(scope)[0] is not Match.NONE for route in self._routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)


def _all_routes(server: ServerContext, feed: Feed, limit: Callable[[], int]) -> list[Route]:
    text = TextEndpoints(server, feed.health)
    operations = JsonEndpoints(server, feed, limit).operations()
    document = openapi.describe(operations)

    async def describe(request: Request) -> Response:
        return JSONResponse(document)

    return [
        Route("/healthy", AnyMethod(text.healthy)),
        Route("/stats", text.stats, methods=["GET", "POST"]),
        Route("/metrics", text.metrics, methods=["GET"]),
        Route("/openapi.json", describe, methods=["GET"]),
        *_routes_of(operations),
        *(Route(path, _serve_page) for path in ("/", *(f"/{name}" for name in page.page_files()))),
    ]
