"""zlib.*: both formats there and back, and that no bad data passes."""

import gzip
import zlib

import pytest

from neosocksd_lua_ruleset import compression
from neosocksd_lua_ruleset.trial import Script


def quoted(data: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


DATA = bytes(range(256)) * 3


@pytest.mark.parametrize("data", [b"", b"a", b"\0", DATA])
@pytest.mark.parametrize(("pack", "unpack"), [("compress", "uncompress"), ("gzip", "gunzip")])
def test_what_is_packed_comes_out_again(lua: Script, pack: str, unpack: str, data: bytes) -> None:
    code = f"local s = {quoted(data)} return zlib.{unpack}(zlib.{pack}(s)) == s"
    assert lua.values(code) == "true"


def test_others_read_it_and_it_reads_others(lua: Script) -> None:
    assert lua.values(f"return zlib.uncompress({quoted(zlib.compress(b'hello'))})") == '"hello"'
    assert lua.values(f"return zlib.gunzip({quoted(gzip.compress(b'hello'))})") == '"hello"'
    packed = lua.values(
        "return (zlib.compress('hello'):gsub('.', function(c) return ('%02x'):format(c:byte()) end))"
    )
    assert zlib.decompress(bytes.fromhex(packed.strip('"'))) == b"hello"
    packed = lua.values(
        "return (zlib.gzip('hello'):gsub('.', function(c) return ('%02x'):format(c:byte()) end))"
    )
    assert gzip.decompress(bytes.fromhex(packed.strip('"'))) == b"hello"


GOOD = zlib.compress(DATA)
GOOD_GZIP = gzip.compress(DATA)
BROKEN = bytes([*GOOD[:-1], GOOD[-1] ^ 1])


@pytest.mark.parametrize(
    ("function", "data", "message"),
    [
        ("uncompress", b"hello", "invalid compressed data"),
        ("uncompress", b"", "compressed data is truncated"),
        ("uncompress", GOOD[:-1], "compressed data is truncated"),
        ("uncompress", GOOD[:20], "compressed data is truncated"),
        ("uncompress", GOOD + b"x", "data follows the compressed data"),
        ("uncompress", BROKEN, "invalid compressed data"),
        ("uncompress", GOOD_GZIP, "invalid compressed data"),
        ("gunzip", b"hello", "invalid compressed data"),
        ("gunzip", b"", "compressed data is truncated"),
        ("gunzip", GOOD_GZIP[:-1], "compressed data is truncated"),
        ("gunzip", GOOD_GZIP + b"x", "data follows the compressed data"),
        ("gunzip", GOOD, "invalid compressed data"),
    ],
)
def test_bad_data_raises_at_the_call(lua: Script, function: str, data: bytes, message: str) -> None:
    assert lua.error(f"\nzlib.{function}({quoted(data)})") == f"(invoke):2: {message}"


@pytest.mark.parametrize("function", ["compress", "uncompress", "gzip", "gunzip"])
@pytest.mark.parametrize(("value", "got"), [("", "nil"), ("{}", "table"), ("true", "boolean")])
def test_anything_but_a_string_raises_at_the_call(
    lua: Script, function: str, value: str, got: str
) -> None:
    message = f"(invoke):2: bad argument #1 to '{function}' (string expected, got {got})"
    assert lua.error(f"\nzlib.{function}({value})") == message


def test_what_comes_out_is_bounded(lua: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "OUTPUT_LIMIT", 100_000)
    fits, more = zlib.compress(bytes(100_000)), zlib.compress(bytes(100_001))
    assert lua.values(f"return #zlib.uncompress({quoted(fits)})") == "100000"
    assert (
        lua.error(f"zlib.uncompress({quoted(more)})")
        == "(invoke):1: more than 100000 bytes of data"
    )
