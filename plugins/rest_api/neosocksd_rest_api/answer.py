"""Answers: those of an ASGI application put on the wire, and those of errors made.

Errors under ``/v1`` are problem documents (RFC 9457), elsewhere a line of text, as the original's. Neither quotes the request.
"""

import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import anyio

from neosocksd_http1 import Data, Headers, Response, ServerConnection, reason_phrase

PROBLEM = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"

_JSON_PATHS = ("/v1/", "/openapi.json")
_BODILESS = frozenset({204, 304})


def error_answer(status: int, detail: str, path: str) -> tuple[Headers, bytes]:
    """The header fields and the body of an error, in the form that callers of *path* expect."""
    if path.startswith(_JSON_PATHS):
        title = reason_phrase(status).decode("ascii")
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        content, kind = json.dumps(problem).encode(), PROBLEM
    else:
        content, kind = detail.encode("utf-8", "backslashreplace") + b"\n", TEXT
    fields = [(b"Content-Type", kind), *common_fields()]
    if status == 401:
        fields.append((b"WWW-Authenticate", b"Bearer"))
    return Headers(fields), content


def common_fields() -> tuple[tuple[bytes, bytes], ...]:
    """What every answer carries."""
    return _common_fields(int(time.time()))


@lru_cache(maxsize=1)
def _common_fields(now: int) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"Date", formatdate(now, usegmt=True).encode("ascii")),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-store"),
    )


class Answer:
    """One answer of an application. The head is held back until there is something behind it, so that both go in one segment."""

    def __init__(
        self,
        machine: ServerConnection,
        method: bytes,
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._machine = machine
        self._write = write
        self._is_head = method == b"HEAD"
        self._head = b""
        self._completed: anyio.Event | None = None
        self.status = 0
        self.is_complete = False

    @property
    def is_started(self) -> bool:
        return self.status > 0

    async def wait_complete(self) -> None:
        """Wait until the application has said that this was all."""
        if not self.is_complete:
            self._completed = self._completed or anyio.Event()
            await self._completed.wait()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """The ASGI callable.

        :raises OSError: if the caller is gone, or does not take it in time.
        """
        machine = self._machine
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._head = machine.send(Response(self.status, _fields(message.get("headers", ()))))
            return
        head, self._head = self._head, b""
        body = bytes(message.get("body", b""))
        if self._is_head or self.status in _BODILESS:
            body = b""
        if message.get("more_body", False):
            await self._write(head + machine.send(Data(body)))
            return
        await self._write(head + machine.finish(body))
        self.is_complete = True
        if self._completed is not None:
            self._completed.set()


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    given += [field for field in common_fields() if field[0].lower() not in names]
    return Headers(given)
