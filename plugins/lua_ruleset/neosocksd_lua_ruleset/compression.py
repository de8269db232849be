"""The natives behind ``zlib.*``: the zlib format (RFC 1950) and the gzip format (RFC 1952), whole strings at once.

Python's zlib takes truncated data and data with something behind it without a word; here both are errors, and what comes
out is bounded.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial

from neosocksd_lua_ruleset.bridge import LuaCallError, Native

OUTPUT_LIMIT = 64 << 20
"""Bytes that a string may be once it is uncompressed."""

_ZLIB, _GZIP = 15, 31
_LEVEL = 6


def natives() -> Mapping[str, Native]:
    """What Lua calls, by the names under which it does."""
    return {
        "zlib_compress": partial(_compress, _ZLIB),
        "zlib_uncompress": partial(_expand, _ZLIB),
        "zlib_gzip": partial(_compress, _GZIP),
        "zlib_gunzip": partial(_expand, _GZIP),
    }


def _compress(window: int, data: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)
    return packer.compress(data) + packer.flush()


def _expand(window: int, data: bytes) -> bytes:
    unpacker = zlib.decompressobj(window)
    try:
        expanded = unpacker.decompress(data, OUTPUT_LIMIT)
        # At the limit the end may still be ahead without another byte of output.
        if unpacker.unconsumed_tail and unpacker.decompress(unpacker.unconsumed_tail, 1):
            raise LuaCallError(f"more than {OUTPUT_LIMIT} bytes of data")
    except zlib.error:
        raise LuaCallError("invalid compressed data") from None
    if not unpacker.eof:
        raise LuaCallError("compressed data is truncated")
    if unpacker.unused_data:
        raise LuaCallError("data follows the compressed data")
    return expanded
