"""A small synchronous client of the API, over TCP or a Unix socket, for the subcommands: one connection a call."""

import http.client
import json
import socket
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from neosocksd_core import AddressError, NeosocksdError
from neosocksd_core.addresses import UNIX_PREFIX, split_host_port

TIMEOUT = 10.0
"""Seconds without a byte after which the server is given up; its stream of events ticks each second."""

SCRIPT_TIMEOUT = 600.0
"""The same for calls that run a script."""

_MAX_MESSAGE = 500


class ApiError(NeosocksdError):
    """The API refuses, or is not there."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket. The name in ``Host`` is one that every server takes for its own."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


class ApiClient:
    """The API at ``HOST:PORT`` or ``unix:PATH``. An empty or wildcard host stands for this machine."""

    def __init__(self, address: str, token: str | None = None) -> None:
        """Connect to nothing yet.

        :raises ApiError: for a malformed address or token.
        """
        self.address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if token and not (token.isascii() and token.isprintable()):
            raise ApiError("the API's token holds characters that no header can carry")
        self._path = address.removeprefix(UNIX_PREFIX) if address.startswith(UNIX_PREFIX) else None
        self._host, self._port = "", 0
        if self._path is None:
            try:
                host, port = split_host_port(address)
                self._host, self._port = host, int(port)
            except (AddressError, ValueError):
                raise ApiError(f"not an address of the API: {address!r}") from None
            self._host = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host)
            self._host = "::1" if self._host == "::" else self._host

    def json(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Call *path* and return what it answers.

        :raises ApiError: naming the error that the server, or the way to it, has given.
        """
        answer = self._exchange(method, path, query, None, {}, TIMEOUT)
        try:
            return json.loads(answer)
        except ValueError:
            raise ApiError(f"what answers at {self.address} is not the API") from None

    def text(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Call *path*, send *body*, and return the text that it answers.

        :raises ApiError: as :meth:`json` does.
        """
        timeout = TIMEOUT if body is None else SCRIPT_TIMEOUT
        answer = self._exchange(method, path, query, body, headers or {}, timeout)
        return answer.decode("utf-8", "replace")

    def events(self) -> "EventStream":
        """Open the stream of events.

        :raises ApiError: as :meth:`json` does.
        """
        connection = self._connect(TIMEOUT)
        sock: socket.socket = connection.sock  # the response may take it away from the connection
        try:
            response = self._send(connection, "GET", "/v1/events", None, {})
        except BaseException:
            connection.close()
            raise
        return EventStream(connection, response, sock)

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._path is not None:
            connection: http.client.HTTPConnection = _UnixConnection(self._path, timeout)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except (OSError, ValueError) as error:
            connection.close()
            raise ApiError(f"no API at {self.address}: {_reason(error)}") from None
        return connection

    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> bytes:
        target = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        connection = self._connect(timeout)
        try:
            response = self._send(connection, method, target, body, headers)
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"the API at {self.address}: {_reason(error)}") from None
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, target, body, {**self._headers, **headers})
            response = connection.getresponse()
            if response.status < 400:
                return response
            refusal = response.read(65536)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"the API at {self.address}: {_reason(error)}") from None
        if response.status == 401 and self._headers:
            raise ApiError("the API does not take this token")
        raise ApiError(_explain(response, refusal))


class EventStream:
    """An open stream of events: iterate over names and data, :meth:`close` from any thread."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        sock: socket.socket,
    ) -> None:
        """Take all three over."""
        self._connection = connection
        self._response = response
        self._socket = sock
        self._closed = False

    def __iter__(self) -> Generator[tuple[str, Any]]:
        """The events, up to the end of the stream, however it comes."""
        name, data = "message", list[str]()
        try:
            while not self._closed and (raw := self._response.readline()):
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                field, _, value = line.partition(":")
                if field == "event":
                    name = value.strip()
                elif field == "data":
                    data.append(value)
                elif not line and data:
                    yield name, json.loads("\n".join(data))
                    name, data = "message", []
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return  # the server has gone, or we have closed the stream beneath the reader

    def close(self) -> None:
        """End the stream; a reader in another thread comes to its end."""
        self._closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._response.close()
        self._connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__


def _explain(response: http.client.HTTPResponse, body: bytes) -> str:
    """One line for a refusal: a problem document's ``detail``, else the text, else the status."""
    text = body.decode("utf-8", "replace")
    status = f"{response.status} {response.reason}".strip()
    if response.status == 401:
        return "the API wants a token: give --api-token, or set NEOSOCKSD_API_TOKEN"
    kind = response.headers.get("Content-Type", "text/plain")
    if "json" in kind:
        try:
            problem: Any = json.loads(text)
            text = str(problem.get("detail") or problem.get("title") or "")
        except (ValueError, AttributeError):
            text = ""
    elif not kind.startswith("text/plain"):
        return f"what answers is not the API: {status}"
    line = " ".join(text.split())
    return line[:_MAX_MESSAGE] if line else f"the API answers {status}"
