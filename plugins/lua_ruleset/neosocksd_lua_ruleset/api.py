"""The Python side of ``neosocksd.*`` and of the awaits that need the server: config, stats, addresses, names."""

import math
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from weakref import ReferenceType, ref

from neosocksd_core import Address, AddressError, DialError, ServerContext
from neosocksd_core.addresses import check_host, pack_ip, parse_address, split_host_port
from neosocksd_core.log import escape
from neosocksd_core.requests import Forward
from neosocksd_core.statistics import Statistics
from neosocksd_lua_ruleset.bridge import LuaCallError, Native, NativeResult, Primitive, decode
from neosocksd_lua_ruleset.fields import config_fields
from neosocksd_lua_ruleset.operations import Operations, Result, starter

_FAMILIES = {0: socket.AF_UNSPEC, 2: socket.AF_INET, 10: socket.AF_INET6}


class Attached:
    """The server, once there is one: a configuration script runs before that."""

    def __init__(self) -> None:
        self._reference: ReferenceType[ServerContext] | None = None
        self.is_serving = False
        """Whether the server has begun to serve: before that, a script is loaded for its start."""

    @property
    def server(self) -> ServerContext:
        """The server.

        :raises LuaCallError: before there is one.
        """
        server = self.present
        if server is None:
            raise LuaCallError("not available while the configuration is read")
        return server

    @property
    def present(self) -> ServerContext | None:
        """The server, None before there is one."""
        return self._reference() if self._reference is not None else None

    def attach(self, server: ServerContext) -> None:
        """There is a server now. It is not kept alive: it holds what is attached."""
        self._reference = ref(server)


class Api:
    """The native functions behind ``neosocksd.*`` and ``await.resolve``, ``await.sleep``."""

    def __init__(
        self,
        attached: Attached,
        operations: Operations,
        tick: Callable[[float], None],
        count_objects: Callable[[], int],
    ) -> None:
        self._attached = attached
        self._operations = operations
        self._set_interval = tick
        self._count_objects = count_objects

    def natives(self) -> Mapping[str, Native]:
        """By the names under which the shims ask for them."""
        return {
            "config": self._config,
            "statistics": self._statistics,
            "resolve": self._resolve,
            "doubt_of_proxy": self._doubt_of_proxy,
            "splithostport": _splithostport,
            "parse_ipv6": _parse_ipv6,
            "set_interval": self._setinterval,
            "clock": time.time,
            "exit": self._exit,
            "log_error": self._log_error,
            "cancel": self._operations.cancel,
            "await_sleep": self._sleep,
            "await_resolve": starter(self._operations, self._await_resolve),
        }

    def _config(self) -> NativeResult:
        server = self._attached.present
        if server is None:
            return ()
        return tuple(item for pair in config_fields(server.settings).items() for item in pair)

    def _statistics(self) -> NativeResult:
        server = self._attached.present
        found: dict[str, Primitive] = {
            field.name: 0 for field in fields(Statistics) if not field.name.endswith("_latency")
        }
        found["num_object"] = self._count_objects()
        if server is not None:
            now = server.statistics()
            found |= {name: getattr(now, name) for name in found if hasattr(now, name)}
            found["uptime"] = int(now.uptime * 1e9)
        error = found["lasterror"]
        found["lasterror"] = error.encode() if isinstance(error, str) else None
        return tuple(item for name, value in found.items() for item in (name.encode(), value))

    def _resolve(self, name: bytes) -> NativeResult:
        server = self._attached.present
        family = _FAMILIES[server.settings.resolve_pf if server else 0]
        try:
            found = socket.getaddrinfo(check_host(decode(name)), None, family, socket.SOCK_STREAM)
        except (OSError, UnicodeError, AddressError):
            return None
        return str(found[0][4][0])

    def _doubt_of_proxy(self, proxy: bytes) -> NativeResult:
        """What is wrong about a proxy of a rule; None if nothing is, or it cannot be told yet."""
        server = self._attached.present
        if server is None:
            return None
        try:
            server.parse_chain(_uri(proxy))
        except AddressError as error:
            return str(error)
        return None

    async def _await_resolve(self, name: bytes) -> Result:
        try:
            host = check_host(decode(name))
            if pack_ip(host) is not None:
                return (name,)
            found = await self._attached.server.lookup(host)
        except (AddressError, DialError, LuaCallError):
            return ()
        return (found[0].encode(),) if found else ()

    def _sleep(self, identity: int, seconds: float) -> None:
        self._operations.timers.add(identity, seconds)

    def _setinterval(self, seconds: float) -> None:
        normal = math.isfinite(seconds) and abs(seconds) >= sys.float_info.min
        self._set_interval(seconds if normal else 0.0)

    def _exit(self, status: int) -> None:
        status &= 0xFF
        if not self._attached.is_serving:
            raise SystemExit(status)  # kept by the bridge, and raised again when Lua has returned
        self._attached.server.stop(status)

    def _log_error(self, message: bytes) -> None:
        server = self._attached.present
        if server is not None:
            server.log.error("ruleset: %s", escape(message, 4096))


def parse_forward(server: ServerContext, address: bytes, proxies: tuple[Primitive, ...]) -> Forward:
    """An address and proxies in Lua's order, the last of which is dialled first.

    :raises LuaCallError: naming what is no address or no proxy URI.
    """
    try:
        target: Address = parse_address(address.decode("ascii"))
        hops = [server.parse_chain(_uri(proxy)) for proxy in reversed(proxies)]
    except UnicodeDecodeError:
        raise LuaCallError("not an address: " + escape(address)) from None
    except AddressError as error:
        raise LuaCallError(str(error)) from None
    return Forward(target, tuple(hop for chain in hops for hop in chain))


def _uri(proxy: Primitive) -> str:
    if not isinstance(proxy, bytes) or not proxy or b"," in proxy:
        raise AddressError("a proxy is one URI")
    return proxy.decode("ascii", "surrogateescape")


def _splithostport(text: bytes) -> NativeResult:
    try:
        host, port = split_host_port(decode(text))
    except AddressError:
        raise LuaCallError(b"failed splitting address: " + text[:300]) from None
    return host, port


def _parse_ipv6(text: bytes) -> NativeResult:
    try:
        packed = socket.inet_pton(socket.AF_INET6, text.decode("ascii"))
    except (OSError, ValueError):
        return None
    return (
        int.from_bytes(packed[:8], "big", signed=True),
        int.from_bytes(packed[8:], "big", signed=True),
    )
