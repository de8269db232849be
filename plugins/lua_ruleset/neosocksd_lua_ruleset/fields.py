"""The configuration as Lua sees it: one flat table of the fields that the original knows, and a chunk that returns it."""

import sys
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from neosocksd_core import Option, Section, Settings
from neosocksd_lua_ruleset.bridge import Primitive, encode


def config_fields(settings: Settings) -> dict[bytes, Primitive]:
    """The core's fields, and those of plugins that have a flat name, by their names. Lists of addresses become one text."""
    found: dict[bytes, Primitive] = {}
    for name, value in _flat(settings):
        primitive = _primitive(value)
        if primitive is not None:
            found[name.encode()] = primitive
    return found


def dump_config(settings: Settings) -> bytes:
    """A Lua chunk that returns these fields, and a table for each plugin with what else is not as by default. Secrets are left out."""
    flat = {name.encode(): value for name, value in _flat(settings)}
    flat.pop(b"ruleset", None)
    values = {
        name: _literal(value)
        for name, value in sorted(flat.items())
        if _primitive(value) is not None
    }
    for name in sorted(type(settings).model_fields):
        section = getattr(settings, name)
        if isinstance(section, Section):
            found = list(_assignments(section, with_flat=False))
            if found and name.encode() in values:  # a flat field has the section's name
                found = list(_assignments(section, with_flat=True))
            if found:
                values[name.encode()] = b"{ %s }" % b", ".join(found)
    lines = (b"    %s = %s,\n" % item for item in values.items())
    return b"return {\n" + b"".join(lines) + b"}\n"


def _assignments(section: Section, *, with_flat: bool) -> Iterator[bytes]:
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if _primitive(value) is None or value == info.default or name == "dump_config":
            continue
        if with_flat or _flat_name(info) is None:
            yield b"%s = %s" % (name.encode(), _literal(value))


def _flat_name(info: FieldInfo) -> str | None:
    found = (option.flat for option in info.metadata if isinstance(option, Option))
    return next((name for name in found if name is not None), None)


def _flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if not isinstance(value, Section):
            yield name, value
            continue
        for inner, info in type(value).model_fields.items():
            flat = _flat_name(info)
            if flat is not None:
                yield flat, getattr(value, inner)


def _primitive(value: object) -> Primitive:
    match value:
        case bool() | int() | float() | bytes():
            return value
        case str():
            return encode(value) if value else None
        case tuple():
            return encode(",".join(map(str, value))) if value else None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _:
            return None


def _literal(value: object) -> bytes:
    match value:
        case tuple():
            texts = [_literal(str(item)) for item in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return texts[0] if len(texts) == 1 else b"{ %s }" % b", ".join(texts)
        case str():
            return _literal(encode(value))
        case bool():
            return b"true" if value else b"false"
        case bytes():
            return b'"%s"' % b"".join(_ESCAPES.get(byte, bytes((byte,))) for byte in value)
        case _:
            return repr(value).encode()


_ESCAPES = {byte: b"\\%03d" % byte for byte in [*range(32), 127]} | {0x22: b'\\"', 0x5C: b"\\\\"}


def print_config(settings: Settings) -> None:
    """Print the chunk."""
    sys.stdout.buffer.write(dump_config(settings))
