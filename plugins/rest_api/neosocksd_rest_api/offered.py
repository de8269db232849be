"""The control calls that other plugins offer, served under their own paths."""

from collections.abc import Callable

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from neosocksd_core import ServerContext
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_rest_api.compression import IN_THREAD, CodingError, decode
from neosocksd_rest_api.textual import parse_query

UPDATE_PATH = "/ruleset/update"
RULESET_PATHS = frozenset({"/ruleset/invoke", "/ruleset/rpcall", UPDATE_PATH, "/ruleset/gc"})
"""Calls of the original: where nobody offers them, that is said."""

LONGEST_ERROR = 8192
"""Bytes of an error's text that are sent."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body without its content coding, *limit* bytes at most.

    :raises HTTPException: if it cannot be decoded, or is too large.
    """
    body = await request.body()
    coding = ",".join(request.headers.getlist("content-encoding"))
    try:
        if len(body) < IN_THREAD:
            return decode(body, coding, limit)
        return await anyio.to_thread.run_sync(decode, body, coding, limit)
    except CodingError as error:
        raise HTTPException(error.status, str(error)) from None


class OfferedEndpoints:
    """The calls of one server.

    *updated* is called after the ruleset was posted anew; *limit* gives the bytes that a body may have once it is decompressed.
    """

    def __init__(
        self, server: ServerContext, updated: Callable[[], None], limit: Callable[[], int]
    ) -> None:
        self._server = server
        self._updated = updated
        self._limit = limit

    async def call(self, request: Request) -> Response:
        """Serve a path that the API has no answer for by itself."""
        path = request.scope["path"]
        endpoint = self._server.endpoints().get(path)
        if endpoint is None:
            if path in RULESET_PATHS:
                raise HTTPException(
                    500, "no ruleset is loaded: start the server with --ruleset FILE"
                )
            raise HTTPException(404, "there is nothing of that name")
        methods = endpoint.methods
        if "GET" in methods:  # HEAD is a GET whose content stays here
            methods |= {"HEAD"}
        if request.method not in methods:
            allowed = ", ".join(sorted(methods))
            raise HTTPException(405, "that method is not allowed here", {"Allow": allowed})
        if endpoint.needs_body and "content-length" not in request.headers:
            raise HTTPException(411, "a body with a Content-Length is needed")
        return await self._run(endpoint, request)

    async def _run(self, endpoint: Endpoint, request: Request) -> Response:
        is_implied = request.method not in endpoint.methods
        call = EndpointRequest(
            method="GET" if is_implied else request.method,
            query=parse_query(request.scope["query_string"]),
            headers=dict(request.headers),
            body=await read_body(request, self._limit()),
        )
        answer = await _while_waited_for(request, endpoint, call)
        if request.scope["path"] == UPDATE_PATH:
            self._updated()
        content = answer.body if answer.status < 400 else answer.body[:LONGEST_ERROR]
        # Not as a media type: Starlette would add a charset to `text/…`.
        return Response(content, answer.status, {"Content-Type": answer.content_type})


async def _while_waited_for(
    request: Request, endpoint: Endpoint, call: EndpointRequest
) -> EndpointResponse:
    """What the endpoint answers. It is cancelled if the caller leaves before that."""
    outcome: EndpointResponse | Exception = HTTPException(500, "the caller has left")
    async with anyio.create_task_group() as tasks:

        async def cancel_if_left() -> None:
            await request.receive()  # the body has come: what comes now is that nobody waits
            tasks.cancel_scope.cancel()

        tasks.start_soon(cancel_if_left)
        try:
            outcome = await endpoint.handle(call)
        except Exception as error:  # or it would come in a group
            outcome = error
        tasks.cancel_scope.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
