"""Header fields, and what an intermediary does to them."""

from neosocksd_http1 import Headers, end_to_end, passed_through, upgrade_protocols, with_via

FIELDS = Headers([(b"A", b"1"), (b"a", b"2"), (b"B", b" x")])


def test_fields_are_found_whatever_their_case() -> None:
    assert FIELDS.get(b"a") == FIELDS.get(b"A") == b"1"
    assert FIELDS.get_all(b"A") == (b"1", b"2")
    assert FIELDS.get(b"c") is None
    assert FIELDS.get_all(b"c") == ()
    assert b"b" in FIELDS
    assert b"c" not in FIELDS
    assert "b" not in FIELDS


def test_fields_keep_order_and_spelling() -> None:
    assert list(FIELDS) == [(b"A", b"1"), (b"a", b"2"), (b"B", b" x")]
    assert len(FIELDS) == 3
    assert Headers(FIELDS) == FIELDS
    assert Headers(FIELDS) != Headers()
    assert FIELDS != "fields"
    assert hash(Headers(FIELDS)) == hash(FIELDS)


def test_fields_are_added_and_taken_away_in_copies() -> None:
    assert list(FIELDS.without((b"a",))) == [(b"B", b" x")]
    assert list(Headers().plus((b"C", b"3"))) == [(b"C", b"3")]
    assert len(FIELDS) == 3


def test_lists_run_through_all_fields() -> None:
    headers = Headers([(b"Connection", b"Close, ,X-a\t"), (b"connection", b"TE")])
    assert headers.tokens(b"connection") == (b"close", b"x-a", b"te")
    assert headers.tokens(b"te") == ()


def test_credentials_are_not_shown() -> None:
    shown = repr(Headers([(b"Proxy-Authorization", b"Basic c2VjcmV0"), (b"A", b"b")]))
    assert "c2VjcmV0" not in shown
    assert "b'b'" in shown


def test_hop_by_hop_fields_and_what_connection_names_stay_behind() -> None:
    headers = Headers(
        [
            (b"Host", b"h"),
            (b"Connection", b"X-A, Host, Content-Length, Transfer-Encoding"),
            (b"connection", b"close"),
            (b"X-A", b"1"),
            (b"x-a", b"2"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Proxy-Connection", b"keep-alive"),
            (b"Proxy-Authorization", b"Basic eDp5"),
            (b"TE", b"trailers"),
            (b"Trailer", b"X"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Upgrade", b"h2c"),
            (b"Content-Length", b"5"),
            (b"X-B", b"3"),
        ]
    )
    assert list(end_to_end(headers)) == [
        (b"Host", b"h"),
        (b"Content-Length", b"5"),
        (b"X-B", b"3"),
    ]


def test_via_is_appended_and_recognised() -> None:
    headers = with_via(Headers([(b"Via", b"1.0 fred, 1.1 p.example:80 (a, b)")]), b"neosocksd")
    assert headers.get_all(b"via") == (b"1.0 fred, 1.1 p.example:80 (a, b)", b"1.1 neosocksd")
    assert passed_through(headers, b"neosocksd")
    assert passed_through(Headers([(b"via", b"1.0 a,HTTP/1.1\tNeoSocksd (c)")]), b"neosocksd")
    for value in (b"1.1 neosocksd2", b"neosocksd", b"1.1 x (neosocksd)", b""):
        assert not passed_through(Headers([(b"Via", value)]), b"neosocksd")


def test_an_upgrade_counts_only_if_connection_names_it() -> None:
    upgrade = (b"Upgrade", b"WebSocket, h2c")
    assert upgrade_protocols(Headers([upgrade])) == ()
    headers = Headers([upgrade, (b"Connection", b"keep-alive, Upgrade")])
    assert upgrade_protocols(headers) == (b"websocket", b"h2c")
