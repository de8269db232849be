"""Checks of what hooks give: a thing of the wrong shape is an error that names the plugin, at the start and not when it is used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard, cast

from neosocksd_core.addresses import AddressError, check_listen_address, pack_ip
from neosocksd_core.errors import PluginError

if TYPE_CHECKING:
    from neosocksd_core.addresses import SocketAddress

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")


def wrong(name: str, hook: str, value: object, wanted: str) -> PluginError:
    """The error of a plugin *name* whose *hook* gave *value* where *wanted* is expected."""
    return PluginError(f"plugin {name!r}: {hook} gave {type(value).__name__}, expected {wanted}")


def require(good: bool, name: str, hook: str, value: object, wanted: str) -> None:
    """Refuse a value that is not *good*.

    :raises PluginError: if so.
    """
    if not good:
        raise wrong(name, hook, value, wanted)


def require_attributes(name: str, hook: str, value: object, *attributes: str) -> None:
    """Refuse what lacks any of *attributes*, and a class where an object is expected.

    :raises PluginError: if so.
    """
    if isinstance(value, type):
        raise PluginError(
            f"plugin {name!r}: {hook} gave the class {value.__name__}, expected an object of it"
        )
    missing = [attribute for attribute in attributes if not hasattr(value, attribute)]
    if missing:
        raise PluginError(
            f"plugin {name!r}: {hook} gave {type(value).__name__}, which lacks {', '.join(missing)}"
        )


def require_plain(name: str, hook: str, value: object, *methods: str) -> None:
    """Refuse coroutine functions where nobody would await them.

    :raises PluginError: if so.
    """
    for method in methods:
        if inspect.iscoroutinefunction(getattr(value, method)):
            kind = type(value).__name__
            raise PluginError(
                f"plugin {name!r}: {hook} gave {kind}, whose {method} must not be async"
            )


def check_dialer(name: str, scheme: object, dialer: object) -> None:
    """Refuse a dialer that cannot work, and a *scheme* that is none (RFC 3986 section 3.1).

    :raises PluginError: if so.
    """
    if not isinstance(scheme, str) or not _SCHEME.match(scheme):
        raise PluginError(f"plugin {name!r}: register_dialers: {scheme!r} is not a URI scheme")
    require_attributes(name, "register_dialers", dialer, "default_port", "handshake")
    require_plain(name, "register_dialers", dialer, "handshake")
    port = cast("object", getattr(dialer, "default_port", None))
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise PluginError(f"plugin {name!r}: the default port of {scheme}:// is {port!r}")


def check_name(name: str, hook: str, thing: object) -> None:
    """Refuse a *thing* whose own name is no text.

    :raises PluginError: if so.
    """
    own = cast("object", getattr(thing, "name", None))
    if not isinstance(own, str):
        kind = type(own).__name__
        raise PluginError(f"plugin {name!r}: a name in {hook} is {kind}, expected a text")


def check_addresses(name: str, listener: str, addresses: object) -> None:
    """Refuse a listener that does not say in the right way where it listens; what users wrote its settings have checked already.

    :raises PluginError: if so.
    """
    if not isinstance(addresses, Sequence) or isinstance(addresses, str | bytes):
        kind = type(addresses).__name__
        raise PluginError(f"plugin {name!r}: listen of {listener!r} is {kind}, expected a list")
    for address in cast("Sequence[object]", addresses):
        if not isinstance(address, str):
            kind = type(address).__name__
            raise PluginError(f"plugin {name!r}: listen of {listener!r} has {kind}, expected texts")
        try:
            check_listen_address(address)
        except AddressError as error:
            raise PluginError(f"plugin {name!r}: listen of {listener!r}: {error}") from None


def is_socket_address(value: object) -> TypeGuard[SocketAddress]:
    """Whether *value* is what ``getsockname`` gives: the host is no name, which would stand for nothing."""
    if not isinstance(value, tuple):
        return False
    parts = cast("tuple[object, ...]", value)
    return (
        len(parts) in (2, 4)
        and isinstance(parts[0], str)
        and pack_ip(parts[0]) is not None
        and all(isinstance(number, int) for number in parts[1:])
    )
