"""The application of one server: Starlette leads each path to its endpoint, and errors have the form that their callers expect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from neosocksd_core import ServerContext
from neosocksd_rest_api import openapi, page
from neosocksd_rest_api.answer import error_answer
from neosocksd_rest_api.compression import SMALLEST, accepts_deflate, encode
from neosocksd_rest_api.feed import Feed
from neosocksd_rest_api.offered import OfferedEndpoints
from neosocksd_rest_api.textual import TextEndpoints
from neosocksd_rest_api.v1 import JsonEndpoints, Operation

Handler = Callable[[Request], Awaitable[Response]]


async def deflate(response: Response, accept_encoding: str) -> None:
    """Deflate what a caller is to get, if it is worth while and the caller accepts it; a stream stays as it is."""
    if len(response.body) < SMALLEST or not accepts_deflate(accept_encoding):
        return
    response.body = await encode(bytes(response.body))
    response.headers["Content-Encoding"] = "deflate"
    response.headers["Content-Length"] = str(len(response.body))
    response.headers.add_vary_header("Accept-Encoding")


class AsgiEndpoint:
    """A handler as an ASGI application. What it raises, but for an HTTPException, is left to the connection to tell."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._handle(Request(scope, receive))
        except HTTPException as error:
            response = _refuse(error, scope["path"])
        accepted = b",".join(
            [value for name, value in scope["headers"] if name == b"accept-encoding"]
        )
        await deflate(response, accepted.decode("latin-1"))
        await response(scope, receive, send)


def _refuse(error: HTTPException, path: str) -> Response:
    fields, content = error_answer(error.status_code, error.detail, path)
    response = Response(content, error.status_code, error.headers)
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


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    """A handler for all methods of a path. HEAD is a GET whose content stays here."""
    if "GET" in handlers:
        handlers = {**handlers, "HEAD": handlers["GET"]}

    def handle(request: Request) -> Awaitable[Response]:
        wanted = handlers.get(request.method)
        if wanted is None:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(handlers))})
        return wanted(request)

    return handle


def _handlers_of(operations: Sequence[Operation]) -> Mapping[str, Handler]:
    """A handler for each path, so that a wrong method is told of all that are right."""
    methods: dict[str, dict[str, Handler]] = {}
    for operation in operations:
        methods.setdefault(operation.path, {})[operation.method] = operation.handle
    return {path: _by_method(of_path) for path, of_path in methods.items()}


class ApiApplication:
    """The application of one server, as ASGI. *limit* gives the bytes that a body may have once it is decompressed.

    It is Starlette's router without the layers of a Starlette application around it: they are a good part of what a small answer costs.
    """

    def __init__(self, server: ServerContext, feed: Feed, limit: Callable[[], int]) -> None:
        handlers = _all_handlers(server, feed, limit)
        offered = OfferedEndpoints(server, feed.forget, limit)
        self._router = Router(
            [Route(path, AsgiEndpoint(handle)) for path, handle in handlers.items()],
            redirect_slashes=False,
            default=AsgiEndpoint(offered.call),
        )

    def has(self, path: str) -> bool:
        """Whether *path* is the API's own, so that nobody else can be called there."""
        scope = {"type": "http", "method": "GET", "path": path}
        return any(route.matches(scope)[0] is not Match.NONE for route in self._router.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._router(scope, receive, send)


def _all_handlers(
    server: ServerContext, feed: Feed, limit: Callable[[], int]
) -> Mapping[str, Handler]:
    text = TextEndpoints(server, feed.health)
    operations = JsonEndpoints(server, feed, limit).operations()
    document = openapi.describe(operations)

    async def describe(request: Request) -> Response:
        return JSONResponse(document)

    pages = ("/", *(f"/{name}" for name in page.page_files()))
    return {
        "/healthy": text.healthy,  # whatever the method
        "/stats": _by_method({"GET": text.stats, "POST": text.stats}),
        "/metrics": _by_method({"GET": text.metrics}),
        "/openapi.json": _by_method({"GET": describe}),
        **_handlers_of(operations),
        **dict.fromkeys(pages, _by_method({"GET": _serve_page})),
    }
