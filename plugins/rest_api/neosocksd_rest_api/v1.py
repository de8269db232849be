"""The JSON interface, ``/v1/…``: one table of operations, from which the routes and the OpenAPI document are made."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import anyio
import anyio.lowlevel
from pydantic import BaseModel, JsonValue, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from neosocksd_core import NeosocksdError, ServerContext
from neosocksd_core.log import LEVELS, NOTICE, level_name
from neosocksd_rest_api import models
from neosocksd_rest_api.feed import Feed, Meter, Reader, write_rows
from neosocksd_rest_api.offered import read_body
from neosocksd_rest_api.queries import explain, mask, parse, select, slices
from neosocksd_rest_api.report import program_version

_NUMBER = re.compile(r"[0-9]{1,18}")
_LEVELS = {level_name(level).lower(): level for level in LEVELS[1:]}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: what it takes and gives. ``result`` is None for a stream of events."""

    method: str
    path: str
    summary: str
    handle: Callable[[Request], Awaitable[Response]]
    result: type[BaseModel] | None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None


class JsonResponse(Response):
    """A model, or what one describes, as JSON."""

    media_type = "application/json"

    def __init__(self, content: BaseModel | Mapping[str, JsonValue]) -> None:
        if isinstance(content, BaseModel):
            super().__init__(content.model_dump_json())
        else:
            super().__init__(json.dumps(content))


class EventStream(Response):
    """A stream of events that lasts until the reader leaves or is dismissed, or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what happens; ends with an error of *send*, or by being cancelled, too."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )

        async def tell(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        reader, hello = self._feed.join()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_dismiss_when_gone, reader, receive)
                for piece in hello:
                    await tell(piece)
                    await anyio.lowlevel.checkpoint()
                while data := await reader.take():
                    await tell(data)
                tasks.cancel_scope.cancel()
        finally:
            self._feed.leave(reader)
        await send({"type": "http.response.body"})


async def _dismiss_when_gone(reader: Reader, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.dismiss()


class JsonEndpoints:
    """The operations of one server."""

    def __init__(self, server: ServerContext, feed: Feed, limit: Callable[[], int]) -> None:
        self._server = server
        self._feed = feed
        self._limit = limit
        self._meter = Meter()

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        m = models
        return (
            Operation("GET", "/v1/stats", "the counters", self.stats, m.Stats),
            Operation("GET", "/v1/health", "what is wrong, if anything", self.health, m.Health),
            Operation("GET", "/v1/version", "name and version", self.version, m.Version),
            Operation("GET", "/v1/config", "the settings in force", self.config, m.Configuration),
            Operation("GET", "/v1/plugins", "all known plugins", self.plugins, m.PluginList),
            Operation(
                "GET", "/v1/endpoints", "the calls of plugins", self.endpoints, m.EndpointList
            ),
            Operation(
                "GET", "/v1/sessions", "list sessions", self.sessions, m.SessionList, m.SessionQuery
            ),
            Operation(
                "DELETE", "/v1/sessions", "close sessions", self.close, m.Closed, m.CloseQuery
            ),
            Operation(
                "POST", "/v1/sessions/close", "close sessions by their ids", self.close_ids,
                m.Closed, body=m.SessionIds,
            ),
            Operation("GET", "/v1/sessions/{id}", "one session", self.session, m.Session),
            Operation(
                "DELETE", "/v1/sessions/{id}", "close one session", self.close_one, m.Closed
            ),
            Operation("GET", "/v1/log", "the last lines of the log", self.log, m.LogEvents, m.LogQuery),
            Operation(
                "POST", "/v1/reload", "read the configuration again", self.reload, m.Reloaded
            ),
            Operation("GET", "/v1/events", "what happens, as it happens", self.events, None),
        )  # fmt: skip

    async def stats(self, request: Request) -> Response:
        return JsonResponse(models.stats_of(self._server.statistics()))

    async def health(self, request: Request) -> Response:
        problems = list(self._feed.health.ask())
        return JsonResponse(models.Health(healthy=not problems, problems=problems))

    async def version(self, request: Request) -> Response:
        return JsonResponse(models.Version(name="neosocksd", version=program_version()))

    async def config(self, request: Request) -> Response:
        settings = self._server.settings.model_dump(mode="json")
        masked = cast("dict[str, JsonValue]", mask(settings))
        return JsonResponse(models.Configuration(settings=masked))

    async def plugins(self, request: Request) -> Response:
        found = [
            models.Plugin(
                name=info.name,
                version=info.version,
                origin=info.origin,
                enabled=info.enabled,
                hooks=list(info.hooks),
            )
            for info in self._server.plugin_list()
        ]
        return JsonResponse(models.PluginList(plugins=found))

    async def endpoints(self, request: Request) -> Response:
        found = [
            models.OfferedEndpoint(
                path=endpoint.path, methods=sorted(endpoint.methods), summary=endpoint.summary
            )
            for endpoint in self._server.endpoints().values()
        ]
        return JsonResponse(models.EndpointList(endpoints=found))

    async def sessions(self, request: Request) -> Response:
        query = parse(models.SessionQuery, request)
        infos = self._server.sessions()
        self._meter.look(self._server.session_counts(), anyio.current_time())
        found = await select(infos, query.texts())
        upto = found if query.before is None else [i for i in found if i.id < query.before]
        shown = upto[max(0, len(upto) - query.limit) :]
        head = {"total": len(infos), "matched": len(found)}
        body = bytearray(f'{json.dumps(head)[:-1]}, "sessions": ['.encode())
        for rows in write_rows(shown, self._meter):
            body += rows
            await anyio.lowlevel.checkpoint()
        body += b"]}"
        return Response(bytes(body), media_type=JsonResponse.media_type)

    async def session(self, request: Request) -> Response:
        wanted = _session_id(request)
        for info in self._server.sessions():
            if info.id == wanted:
                return JsonResponse(models.session_of(info, self._meter.rates(info)))
        raise HTTPException(404, "there is no such session")

    async def close_one(self, request: Request) -> Response:
        if not self._server.close_session(_session_id(request)):
            raise HTTPException(404, "there is no such session")
        return JsonResponse(models.Closed(closed=1))

    async def close(self, request: Request) -> Response:
        query = parse(models.CloseQuery, request, lists=("id",))
        ids = frozenset(query.id)
        found = await select(self._server.sessions(), query.texts())
        return await self._close([info.id for info in found if not ids or info.id in ids])

    async def close_ids(self, request: Request) -> Response:
        body = await read_body(request, self._limit())
        try:
            wanted = models.SessionIds.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, explain(error)) from None
        return await self._close(wanted.ids)

    async def log(self, request: Request) -> Response:
        query = parse(models.LogQuery, request)
        lines = self._feed.log.recent(_LEVELS[query.level], query.limit)
        return JsonResponse({"events": [line.event() for line in lines]})

    async def reload(self, request: Request) -> Response:
        server = self._server
        try:
            server.reread()
        except NeosocksdError as error:
            server.log.warning("rest_api: not reloaded: %s", error)
            raise HTTPException(422, str(error)) from None
        server.log.log(NOTICE, "rest_api: reloaded")
        return JsonResponse(models.Reloaded(reloaded=True))

    async def events(self, request: Request) -> Response:
        return EventStream(self._feed)

    async def _close(self, ids: Sequence[int]) -> Response:
        closed = 0
        for some in slices(ids):
            closed += sum(map(self._server.close_session, some))
            await anyio.lowlevel.checkpoint()
        return JsonResponse(models.Closed(closed=closed))


def _session_id(request: Request) -> int:
    """The number in a path; -1, which no session has, for what is none."""
    text = request.path_params["id"]
    return int(text) if _NUMBER.fullmatch(text) else -1
