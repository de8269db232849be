"""The application of one server: each path leads to its endpoint, and errors have the form that their callers expect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path
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


class Routes:
    """Which handler has a path. In braces stands what may be any one segment: the handler finds it among the path parameters."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._fixed = {path: handle for path, handle in handlers.items() if "{" not in path}
        self._patterns = [
            (compile_path(path)[0], handle) for path, handle in handlers.items() if "{" in path
        ]

    def find(self, path: str) -> tuple[Handler, Mapping[str, str]] | None:
        """The handler of *path* and the path parameters, None if nobody has it."""
        handle = self._fixed.get(path)
        if handle is not None:
            return handle, {}
        for pattern, handle in self._patterns:
            match = pattern.match(path)
            if match is not None:
                return handle, match.groupdict()
        return None


async def deflate(response: Response, accept_encoding: str) -> None:
    """Deflate what a caller is to get, if it is worth while and the caller accepts it; a stream stays as it is."""
    if len(response.body) < SMALLEST or not accepts_deflate(accept_encoding):
        return
    response.body = await encode(bytes(response.body))
    response.headers["Content-Encoding"] = "deflate"
    response.headers["Content-Length"] = str(len(response.body))
    response.headers.add_vary_header("Accept-Encoding")


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
    """The application of one server, as ASGI. *limit* gives the bytes that a body may have once it is decompressed."""

    def __init__(self, server: ServerContext, feed: Feed, limit: Callable[[], int]) -> None:
        self._routes = _all_routes(server, feed, limit)
        self._offered = OfferedEndpoints(server, feed.forget, limit)

    def has(self, path: str) -> bool:
        """Whether *path* is the API's own, so that nobody else can be called there."""
        return self._routes.find(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What an endpoint raises, but for an HTTPException, is left to the connection to tell."""
        path = scope["path"]
        handle, scope["path_params"] = self._routes.find(path) or (self._offered.call, {})
        try:
            response = await handle(Request(scope, receive))
        except HTTPException as error:
            response = _refuse(error, path)
        accepted = b",".join(
            [value for name, value in scope["headers"] if name == b"accept-encoding"]
        )
        await deflate(response, accepted.decode("latin-1"))
        await response(scope, receive, send)


def _all_routes(server: ServerContext, feed: Feed, limit: Callable[[], int]) -> Routes:
    text = TextEndpoints(server, feed.health)
    operations = JsonEndpoints(server, feed, limit).operations()
    document = openapi.describe(operations)

    async def describe(request: Request) -> Response:
        return JSONResponse(document)

    pages = ("/", *(f"/{name}" for name in page.page_files()))
    return Routes(
        {
            "/healthy": text.healthy,  # whatever the method
            "/stats": _by_method({"GET": text.stats, "POST": text.stats}),
            "/metrics": _by_method({"GET": text.metrics}),
            "/openapi.json": _by_method({"GET": describe}),
            **_handlers_of(operations),
            **dict.fromkeys(pages, _by_method({"GET": _serve_page})),
        }
    )
