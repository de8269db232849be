"""Which targets name a server, and which don't."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neosocksd_http1 import (
    AbsoluteTarget,
    Authority,
    RemoteProtocolError,
    parse_absolute,
    parse_authority,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"example.org:443", "example.org", 443),
        (b"127.0.0.1:1", "127.0.0.1", 1),
        (b"[::1]:65535", "::1", 65535),
        (b"[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80),
        (b"a_b.C-d.:080", "a_b.C-d.", 80),
    ],
)
def test_an_authority_is_host_and_port(text: bytes, host: str, port: int) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text",
    [
        b"h",
        b"h:",
        b"h:0",
        b"h:65536",
        b"h:-1",
        b"h:+80",
        b"h: 80",
        b"h:80 ",
        b"h:8_0",
        b"h:0x50",
        b"h:000080",
        b"h:\xd9\xa8\xd9\xa0",
        b"/",
        b"*",
        b"",
        b":80",
        b"http://h:80",
        b"u:p@h:80",
        b"u@h:80",
        b"[::1",
        b"[::1]",
        b"::1:80",
        b"[]:80",
        b"[::1]x:80",
        b"[1.2.3.4]:80",
        b"[fe80::1%25eth0]:80",
        b"[v1.x]:80",
        b"[1:2:3:4:5:6:7:8:9]:80",
        b"h%41:80",
        b"h,i:80",
        b"h/:80",
        b"h:80/",
        b"h:80:80",
        b"h\\i:80",
        b"\xc3\xa4:80",
        b"a" * 256 + b":80",
    ],
)
def test_anything_else_is_no_authority(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_authority(text)


@given(
    st.from_regex(r"[a-z0-9_.-]{1,40}", fullmatch=True) | st.ip_addresses().map(str),
    st.integers(1, 65535),
)
def test_an_authority_is_read_back_as_it_was_written(host: str, port: int) -> None:
    authority = Authority(host, port)
    assert parse_authority(bytes(authority)) == authority
    assert parse_authority(authority.host_field(), 80) == authority


@pytest.mark.parametrize(
    ("target", "authority", "origin"),
    [
        (b"http://h/", Authority("h", 80), b"/"),
        (b"HTTP://H", Authority("H", 80), b"/"),
        (b"http://h:8080/a?b=http://c/", Authority("h", 8080), b"/a?b=http://c/"),
        (b"http://h?q", Authority("h", 80), b"/?q"),
        (b"http://[::1]/x", Authority("::1", 80), b"/x"),
        (b"http://h//x/../y", Authority("h", 80), b"//x/../y"),
        (b"http://h/@x:y", Authority("h", 80), b"/@x:y"),
    ],
)
def test_an_absolute_uri_is_taken_apart(target: bytes, authority: Authority, origin: bytes) -> None:
    assert parse_absolute(target) == AbsoluteTarget(authority, origin)


def test_options_without_a_path_asks_the_server_as_a_whole() -> None:
    assert parse_absolute(b"http://h:81", b"OPTIONS") == AbsoluteTarget(Authority("h", 81), b"*")
    assert parse_absolute(b"http://h/", b"OPTIONS").origin == b"/"


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"*",
        b"h:80",
        b"https://h/",
        b"ftp://h/",
        b"http:/h/",
        b"http:///",
        b"http://",
        b"http://:80/",
        b"http://u:p@h/",
        b"http://u@h/",
        b"http://h:/",
        b"http://h:0/",
        b"http://h:65536/",
        b"http://h:+80/",
        b"http://[::1/",
        b"http://::1/",
        b"http://h#f",
        b"http://h/#f",
        b"http://h\\@i/",
        b"http://h%2f/",
        b"http://h,i/",
    ],
)
def test_anything_else_is_no_http_uri(target: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_absolute(target)


def test_a_host_field_leaves_out_the_default_port() -> None:
    assert Authority("h", 80).host_field() == b"h"
    assert Authority("::1", 80).host_field() == b"[::1]"
    assert Authority("::1", 8080).host_field() == b"[::1]:8080"
