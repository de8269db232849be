"""Addresses, proxy URIs and host names as text."""

import pytest

from neosocksd_core.addresses import (
    Address,
    AddressError,
    Hop,
    check_host,
    decode_host,
    pack_ip,
    parse_address,
    parse_chain,
    parse_hop,
    parse_listen_address,
    parse_port,
)

PORTS = {"socks5": 1080, "http": 80}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("example.com:65535", Address("example.com", 65535)),
        ("_srv.example.com.:1", Address("_srv.example.com.", 1)),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":80", "h", "h:", "h:+80", "h:-1", "h:65536", "h:8 0", "::1:80", "[::1:80", "::1]:80",
     "[[::1]]:80", "a..b:80", "-a:80", "a b:80", "127.1:80", "0x7f000001:80", "2130706433:80",
     f"{'a' * 64}:80", "h:٨٠"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


def test_a_default_port_is_used_only_where_none_is_given() -> None:
    assert parse_address("h", 1080) == Address("h", 1080)
    assert parse_address("[::1]", 1080) == Address("::1", 1080)
    assert parse_address("h:1", 1080) == Address("h", 1)


@pytest.mark.parametrize("text", [":1080", "*:1080"])
def test_no_host_or_a_star_listens_on_all_addresses(text: str) -> None:
    assert parse_listen_address(text) == Address("", 1080)


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("socks5://h", Hop("socks5", Address("h", 1080))),
        ("SOCKS5://h:1/", Hop("socks5", Address("h", 1))),
        ("http://u:p@[::1]", Hop("http", Address("::1", 80), b"u", b"p")),
        ("http://%00%ff:a%40%3a%2fb@h:8", Hop("http", Address("h", 8), b"\0\xff", b"a@:/b")),
        ("http://u@h", Hop("http", Address("h", 80), b"u", b"")),
    ],
)
def test_a_proxy_uri_is_read_with_its_credentials(uri: str, hop: Hop) -> None:
    assert parse_hop(uri, PORTS) == hop


@pytest.mark.parametrize(
    "uri",
    ["h:80", "://h", "ftp://h", "socks5://", "socks5://h/path", "socks5://h?q", "socks5://h#f",
     "socks5://[::1", "socks5://h:x", "socks5://u:p@"],
)  # fmt: skip
def test_what_is_no_proxy_uri_is_refused(uri: str) -> None:
    with pytest.raises(AddressError):
        parse_hop(uri, PORTS)


def test_no_message_and_no_log_line_shows_a_password() -> None:
    with pytest.raises(AddressError) as caught:
        parse_hop("socks5://user:secret@h/path", PORTS)
    assert "secret" not in str(caught.value)
    with pytest.raises(AddressError, match="…@h:1") as caught:
        parse_hop("socks5//user:secret@h:1", PORTS)
    assert "secret" not in str(caught.value)
    hop = parse_hop("socks5://user:secret@h", PORTS)
    assert "secret" not in repr(hop)
    assert str(hop) == "socks5://h:1080"


def test_a_chain_is_read_in_the_order_of_dialling() -> None:
    chain = parse_chain("socks5://a, http://b:81", PORTS)
    assert [str(hop) for hop in chain] == ["socks5://a:1080", "http://b:81"]
    assert parse_chain("", PORTS) == ()


@pytest.mark.parametrize("text", ["127.1", "0177.0.0.1 ", "1.2.3.4\0", "::1]", "12", ""])
def test_only_full_forms_are_literals(text: str) -> None:
    assert pack_ip(text) is None


def test_a_scope_id_is_left_out_of_the_bytes_and_checked() -> None:
    assert pack_ip("fe80::1%eth0") == pack_ip("fe80::1")
    assert check_host("fe80::1%eth0") == "fe80::1%eth0"
    with pytest.raises(AddressError):
        check_host("fe80::1%eth0\n")


@pytest.mark.parametrize(
    "raw", [b"::1%eth0", b"localhost.", b"a.LocalHost.", b"\xff", b"a\0b", b"x\n", b"%00", b"a b"]
)
def test_a_name_from_the_wire_is_checked_more_strictly(raw: bytes) -> None:
    with pytest.raises(AddressError):
        decode_host(raw)


def test_a_name_of_255_bytes_is_the_longest() -> None:
    name = ".".join("a" * 63 for _ in range(4))
    assert len(name) == 255
    assert check_host(name) == name
    with pytest.raises(AddressError):
        check_host(f"a.{name}")


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", "65536", "123456", "0x50", " 80"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_port(text)
