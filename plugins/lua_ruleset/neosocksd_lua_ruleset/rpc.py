"""The RPC client: posts Lua code to another server's REST API, through any chain, and reads the answer.

The wire is the original's: ``POST /ruleset/invoke`` and ``POST /ruleset/rpcall`` over HTTP/1.1, bodies with a Content-Length, deflated from
256 bytes on; an answer is Lua source that gives ``true`` and the results. A target is ``HOST:PORT``, or ``TOKEN@HOST:PORT`` for an API that asks
for a token; no message and no line of the log shows that.
"""

import re
import socket
import zlib
from dataclasses import dataclass, field
from functools import partial

import anyio

from neosocksd_core import AddressError, DialError, Filter, ServerContext, Upstream
from neosocksd_core.addresses import parse_address
from neosocksd_core.requests import Forward
from neosocksd_core.statistics import Counters
from neosocksd_http1 import (
    NEED_DATA,
    ClientConnection,
    Data,
    EndOfMessage,
    Headers,
    Limits,
    RemoteProtocolError,
    Request,
    Response,
    reason_phrase,
)
from neosocksd_lua_ruleset.api import Attached, parse_forward
from neosocksd_lua_ruleset.bridge import LuaCallError, Native, NativeResult, Primitive
from neosocksd_lua_ruleset.operations import Operations, Result, starter

RPC_TYPE = b"application/x-neosocksd-rpc; version=1"
MAX_BODY = 4 << 20
"""The longest body in bytes, before and after its compression."""
COMPRESSED_FROM = 256
"""Bodies of so many bytes are deflated."""

_RECEIVE_SIZE = 65536
_TOKEN = re.compile(rb"[\x21-\x7e]+")
_LIMITS = Limits(body=MAX_BODY)


class RpcError(Exception):
    """A call failed; ``str()`` of it is what the script gets."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is called: the way to its API, and the token that it asks for, empty for none."""

    forward: Forward
    token: bytes = field(default=b"", repr=False)


def parse_target(server: ServerContext, text: bytes, proxies: tuple[Primitive, ...]) -> Target:
    """``[TOKEN@]HOST:PORT`` and proxies, the last of which is dialled first. A token may contain ``@``, an address never does.

    :raises LuaCallError: naming what is no address or no proxy URI, never a token.
    """
    token, at, address = text.rpartition(b"@")
    if not at:
        return Target(parse_forward(server, address, proxies))
    if not _TOKEN.fullmatch(token):
        raise LuaCallError("what stands before the @ of a target is no token")
    try:
        parse_address(address.decode("ascii"))
    except (AddressError, UnicodeDecodeError):  # its text may be a piece of the token
        raise LuaCallError("what stands behind the @ of a target is no address") from None
    return Target(parse_forward(server, address, proxies), token)


class RpcClient:
    """The native functions behind ``neosocksd.invoke`` and ``await.invoke``."""

    def __init__(self, attached: Attached, operations: Operations) -> None:
        self._attached = attached
        self._operations = operations

    def natives(self) -> dict[str, Native]:
        return {
            "invoke": self._invoke,
            "await_invoke": starter(self._operations, self._await_invoke),
        }

    def _invoke(self, code: bytes, text: bytes, *proxies: Primitive) -> NativeResult:
        target = parse_target(self._attached.server, text, proxies)
        self._operations.spawn(partial(self._run, code, target))
        return None

    async def _run(self, code: bytes, target: Target) -> None:
        server = self._attached.server
        try:
            await call(server, target, b"/ruleset/invoke", code)
        except RpcError as error:
            server.log.debug("invoke %s: %s", target.forward, error)

    async def _await_invoke(self, code: bytes, text: bytes, *proxies: Primitive) -> Result:
        try:
            server = self._attached.server
            target = parse_target(server, text, proxies)
            return True, await call(server, target, b"/ruleset/rpcall", code)
        except LuaCallError as error:
            return False, error.message
        except RpcError as error:
            return False, str(error).encode()


async def call(server: ServerContext, target: Target, path: bytes, code: bytes) -> bytes:
    """Post *code* to *path* of a target; returns the decoded body of the answer.

    :raises RpcError: when the connection, the call or the answer fails, or ``timeout`` passes.
    """
    if len(code) > MAX_BODY:
        raise RpcError("the code is too long")
    server.counters.num_api_client_request += 1
    with anyio.move_on_after(server.settings.timeout):
        try:
            upstream = await server.dial(target.forward)
        except DialError:
            raise RpcError("connection failed") from None
        try:
            wire = _Wire(upstream, server.counters)
            answer = await _exchange(wire, target.token, path, code)
            server.counters.num_api_client_success += 1
            return answer
        except OSError:
            raise RpcError("connection lost") from None
        except RemoteProtocolError as error:
            raise RpcError(f"malformed response: {error.message}") from None
        finally:
            upstream.close()
    raise RpcError("timeout")


async def _exchange(wire: "_Wire", token: bytes, path: bytes, code: bytes) -> bytes:
    # No Host, as the original's: the name that led here may be one that only the rulesets on the way know, and no name of the API.
    fields = [
        (b"Content-Type", RPC_TYPE),
        (b"Accept-Encoding", b"deflate"),
        (b"Connection", b"close"),
    ]
    if token:
        fields.append((b"Authorization", b"Bearer " + token))
    if len(code) >= COMPRESSED_FROM:
        code = zlib.compress(code)
        fields.append((b"Content-Encoding", b"deflate"))
    fields.append((b"Content-Length", b"%d" % len(code)))
    machine = ClientConnection(_LIMITS)
    request = machine.send(Request(b"POST", path, Headers(fields)))
    request += machine.send(Data(code)) if code else b""
    request += machine.send(EndOfMessage())
    await wire.send(request)
    return await _read(machine, wire)


async def _read(machine: ClientConnection, wire: "_Wire") -> bytes:
    response: Response | None = None
    body = bytearray()
    while True:
        match machine.next_event():
            case Response() as response:
                if response.status != 200:
                    reason = response.reason or reason_phrase(response.status)
                    raise RpcError(f"HTTP/1.1 {response.status} {reason.decode('latin-1')}")
            case Data(data):
                body += data
            case EndOfMessage() if response is not None:
                return _decoded(response.headers, bytes(body))
            case event if event is NEED_DATA:
                data = await wire.receive()
                if data:
                    machine.feed(data)
                else:
                    machine.feed_eof()
            case _:
                pass


def _decoded(headers: Headers, body: bytes) -> bytes:
    """The body without its content coding."""
    codings = headers.tokens(b"content-encoding")
    if not codings or codings == (b"identity",):
        return body
    if codings not in ((b"deflate",), (b"gzip",)):
        raise RpcError("unknown content encoding")
    machine = zlib.decompressobj(wbits=15 if codings == (b"deflate",) else 31)
    try:
        decoded = machine.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise RpcError("malformed content encoding") from None
    if len(decoded) > MAX_BODY:
        raise RpcError("the answer is too long")
    if not machine.eof or machine.unused_data:
        raise RpcError("malformed content encoding")
    return decoded


class _Wire:
    """A connection that stands, with what its last hop may encode."""

    def __init__(self, upstream: Upstream, counters: Counters) -> None:
        self._counters = counters
        self._socket: socket.socket = upstream.socket
        self._early = upstream.early_data
        self._filter: Filter | None = upstream.filter
        upstream.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        if self._filter is not None:
            self._filter.from_client(data)
            data = self._filter.to_upstream()
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
                continue
            self._counters.byt_api_client_tx += sent
            view = view[sent:]

    async def receive(self) -> bytes:
        """The next bytes; empty at the end."""
        if self._early:
            data, self._early = self._early, b""
            self._counters.byt_api_client_rx += len(data)
            return data
        while True:
            data = await self._receive()
            if self._filter is None:
                return data
            self._filter.from_upstream(data)
            decoded = self._filter.to_client()
            await self._send(self._filter.to_upstream())
            if decoded or not data:
                return decoded

    async def _receive(self) -> bytes:
        while True:
            try:
                data = self._socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            self._counters.byt_api_client_rx += len(data)
            return data
