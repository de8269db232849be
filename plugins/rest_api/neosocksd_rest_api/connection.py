"""One connection of a caller: HTTP/1.1 on a socket, an ASGI application behind it.

::

    socket ─▶ head ─▶ admitted? ─▶ body, whole and bounded ─▶ application ─▶ answer ─▶ next request
                          └─ no ─▶ refusal

One request at a time, in the order in which they came; what is pipelined waits. A request must come in whole within a time,
so that who sends a byte a second holds a connection no longer than one who sends nothing.
"""

import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from logging import Logger
from typing import Any

import anyio
import anyio.lowlevel

from neosocksd_core import ControlConnection
from neosocksd_core.log import escape
from neosocksd_core.statistics import Counters
from neosocksd_http1 import (
    CHUNKED,
    NO_BODY,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Limits,
    RemoteProtocolError,
    Request,
    ServerConnection,
    State,
)
from neosocksd_rest_api.answer import Answer, error_answer
from neosocksd_rest_api.config import RestApiSettings
from neosocksd_rest_api.denials import Denials
from neosocksd_rest_api.guard import Refusal
from neosocksd_rest_api.targets import Target, make_scope, parse_target, with_host

Message = MutableMapping[str, Any]
Application = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]
"""An ASGI 3 application."""

Admit = Callable[[Target, Request], Refusal | None]
"""Judges a request before its body is read: why it is refused, None if it is not."""

READ_SIZE = 65536

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 << 20
"""How long, and for how much, a connection is read on that is closed before its request was: the answer would be lost otherwise."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the connections of a server have in common."""

    application: Application
    settings: Callable[[], RestApiSettings]
    counters: Counters
    denials: Denials
    log: Logger

    async def serve(self, admit: Admit, connection: ControlConnection) -> None:
        """Serve one connection until it ends; it is not closed here."""
        await CallerConnection(self, admit, connection).run()


class CallerConnection:
    """One connection. Its owner closes it."""

    def __init__(self, service: Service, admit: Admit, connection: ControlConnection) -> None:
        self._service = service
        self._admit = admit
        self._connection = connection
        self._socket = connection.socket
        self._settings = service.settings()
        self._machine = ServerConnection(Limits(body=self._settings.body_limit))
        self._deadline = 0.0
        """Until when something must have come."""
        self._is_partial = False
        """The request that is being read did not come in one piece."""
        self._is_lost = False
        """The caller takes no more answers."""

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        # The caller has gone, has broken the protocol after an answer, or is too slow to be waited for: nobody is left to tell.
        with suppress(OSError, RemoteProtocolError):
            while await self._serve_one():
                self._machine.start_next_cycle()
                if self._machine.buffered:
                    await anyio.lowlevel.checkpoint()  # who pipelines does not have the loop alone
            await self._linger()

    async def _serve_one(self) -> bool:
        """Serve one request; True if another may follow."""
        try:
            request = await self._read_head()
            if request is None:
                return False
            self._service.counters.num_api_request += 1
            target = parse_target(request.target, request.method)
        except RemoteProtocolError as error:
            return await self._refuse(Refusal(error.status, error.message), "/")
        request = with_host(request, target)
        refusal = self._precondition(request) or self._admit(target, request)
        if refusal is not None:
            if refusal.status == 401 and b"authorization" in request.headers:
                self._service.denials.add(self._socket)
            return await self._refuse(refusal, target.path)
        if request.expects_continue and self._machine.framing != NO_BODY:
            await self._write(self._machine.send(InformationalResponse(100)))
        body = await self._read_body()
        return await self._answer(request, target, body)

    def _precondition(self, request: Request) -> Refusal | None:
        if request.method == b"CONNECT":
            return Refusal(405, "this is no proxy")
        if self._machine.framing is CHUNKED:
            return Refusal(501, "a body needs a Content-Length, chunks are not supported")
        expected = request.headers.tokens(b"expect")
        if expected and expected != (b"100-continue",):
            return Refusal(417, "the expectation cannot be met")
        return None

    async def _answer(self, request: Request, target: Target, body: bytes) -> bool:
        counters, log = self._service.counters, self._service.log
        answer = Answer(self._machine, request.method, self._write)
        received = False

        async def receive() -> Message:
            nonlocal received
            if received:
                await self._wait_over(answer)
                return {"type": "http.disconnect"}
            received = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope = make_scope(request, target)
        try:
            await self._service.application(scope, receive, answer.send)
        except Exception:
            if self._is_lost:
                return False
            log.exception("rest_api: %s %s failed", scope["method"], escape(target.raw_path))
        if not answer.is_complete:
            if answer.is_started:
                return False
            return await self._refuse(Refusal(500, "internal error"), target.path)
        if answer.status < 400:
            counters.num_api_success += 1
        return self._machine.reusable

    async def _wait_over(self, answer: Answer) -> None:
        """Wait until the answer is complete, or the caller has left: who ends its side before it is answered has."""
        async with anyio.create_task_group() as tasks:

            async def wait_left() -> None:
                if await self._has_left():
                    tasks.cancel_scope.cancel()

            tasks.start_soon(wait_left)
            await answer.wait_complete()
            tasks.cancel_scope.cancel()

    async def _has_left(self) -> bool:
        """Wait for what the caller does next; whether that is to leave. It may send another request, too, which stays unread."""
        await self._connection.wait_readable()
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def _refuse(self, refusal: Refusal, path: str) -> bool:
        """Answer without the application. Where the request has not been read to its end the connection ends, too."""
        machine = self._machine
        if machine.reading is State.BODY and machine.framing == NO_BODY:
            machine.next_event()
        fields, content = error_answer(refusal.status, refusal.detail, path)
        if machine.reading is not State.DONE:
            fields = fields.plus((b"Connection", b"close"))
        await self._write(machine.respond(refusal.status, content, fields))
        return machine.reusable

    async def _read_head(self) -> Request | None:
        """The next request, None if the caller has no further one."""
        self._is_partial = False
        if not self._machine.buffered:
            self._deadline = time.monotonic() + self._settings.idle_timeout
            await self._read()
        while True:
            match self._machine.next_event():
                case Request() as request:
                    return request
                case ConnectionClosed():
                    return None
                case _:
                    await self._read_on()

    async def _read_body(self) -> bytes:
        body = bytearray()
        while True:
            match self._machine.next_event():
                case Data(data):
                    body += data
                case EndOfMessage():
                    return bytes(body)
                case _:
                    await self._read_on()

    async def _read_on(self) -> None:
        """Read more of a request that has begun, all of which must come within a time."""
        if not self._is_partial:
            self._is_partial = True
            self._deadline = time.monotonic() + self._settings.request_timeout
        await self._read()

    async def _read(self) -> None:
        """Feed the machine once. It is waited first, also where something has come: who sends on and on does not have the loop alone.

        :raises OSError: if nothing comes in time, or the connection has failed.
        """
        data = None
        while data is None:
            await self._connection.wait_readable(self._deadline)
            with suppress(BlockingIOError):
                data = self._socket.recv(READ_SIZE)
        self._service.counters.byt_api_server_rx += len(data)
        if data:
            self._machine.feed(data)
        else:
            self._machine.feed_eof()

    async def _write(self, data: bytes) -> None:
        """Send all of *data*.

        :raises OSError: if the caller takes nothing for too long, or the connection has failed.
        """
        left = memoryview(data)
        try:
            while left:
                try:
                    sent = self._socket.send(left)
                except BlockingIOError:
                    deadline = time.monotonic() + self._settings.idle_timeout
                    await self._connection.wait_writable(deadline)
                    continue
                self._service.counters.byt_api_server_tx += sent
                left = left[sent:]
        except OSError:
            self._is_lost = True
            raise

    async def _linger(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        left, deadline = LINGER_BYTES, time.monotonic() + LINGER_SECONDS
        while left > 0:
            await self._connection.wait_readable(deadline)
            size = len(self._socket.recv(READ_SIZE))
            if not size:
                return
            left -= size
