"""libruleset: subnets, and the matchers over "host:port"; small lists in Lua and big ones outside give the same answers."""

import pytest

from neosocksd_lua_ruleset.trial import Script

IP4 = "neosocksd.parse_ipv4"
IP6 = "neosocksd.parse_ipv6"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("parse_cidr('192.0.2.0/24')", "3221225984,24"),
        ("parse_cidr('0.0.0.0/0')", "0,0"),
        ("parse_cidr('192.0.2.1/32')", "3221225985,32"),
        ("parse_cidr6('2001:db8::/32')", "0x20010db800000000,0,32"),
        ("parse_cidr6('::/0')", "0,0,0"),
        ("parse_cidr6('::1/128')", "0,1,128"),
        ("parse_cidr6('fe80::/10')", "-0x180000000000000,0,10"),
        ("parse_cidr6('2001:db8:0:1::/64')", "0x20010db800000001,0,64"),
        ("parse_cidr6('2001:db8::8000:0:0:0/65')", "0x20010db800000000,0x8000000000000000,65"),
    ],
)
def test_parse_cidr(lua: Script, expression: str, value: str) -> None:
    assert lua.values("return " + expression) == value


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("parse_cidr", text)
        for text in (
            "192.0.2.1/24",
            "192.0.2.0",
            "192.0.2.0/33",
            "192.0.2.0/",
            "x/8",
            "192.0.2/24",
            "::/0",
            "1.0.0.0/08",
            "",
        )
    ]
    + [
        ("parse_cidr6", text)
        for text in (
            "2001:db8::1/32",
            "::",
            "::/129",
            "::/",
            "x/8",
            "192.0.2.0/24",
            "::1/64",
            "fe80::1%eth0/128",
            "",
        )
    ],
)
def test_parse_cidr_raises_on_bad_input_and_host_bits(
    lua: Script, function: str, text: str
) -> None:
    error = lua.error(f"\n{function}('{text}')")
    assert error.startswith("(invoke):2: ")
    assert f"'{text}'" in error


def test_parse_cidr_wants_a_string(lua: Script) -> None:
    assert "bad argument #1 to 'parse_cidr'" in lua.error("parse_cidr()")
    assert "bad argument #1 to 'parse_cidr6'" in lua.error("parse_cidr6({})")


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"),
    [
        (
            "'192.168.0.0/16'",
            ["192.168.0.0", "192.168.255.255"],
            ["192.167.255.255", "192.169.0.0"],
        ),
        ("'0.0.0.0/0'", ["0.0.0.0", "255.255.255.255"], []),
        ("'192.0.2.7'", ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
        (
            "{'10.0.0.0/8', '172.16.0.0/12'}",
            ["10.1.2.3", "172.31.255.255"],
            ["11.0.0.0", "172.32.0.0"],
        ),
        ("'10.0.0.0/8\\n\\n 192.0.2.0/24 \\r\\n'", ["10.1.1.1", "192.0.2.9"], ["192.0.3.0"]),
        ("{}", [], ["0.0.0.0"]),
        ("''", [], ["0.0.0.0"]),
    ],
)
def test_inet_subnet(lua: Script, subnet: str, inside: list[str], outside: list[str]) -> None:
    for address in inside:
        assert lua.values(f"return inet.subnet({subnet})({IP4}('{address}'))") == "true", address
    for address in outside:
        assert lua.values(f"return inet.subnet({subnet})({IP4}('{address}'))") == "false", address


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"),
    [
        ("'fe80::/10'", ["fe80::", "febf:ffff::1"], ["fec0::", "fe7f:ffff::"]),
        ("'::/0'", ["::", "ffff::"], []),
        ("'::1'", ["::1"], ["::", "::2"]),
        (
            "{'2001:db8::/32', '2001:db9::4/126'}",
            ["2001:db8:1::", "2001:db9::7"],
            ["2001:db9::8", "2001:db9::3"],
        ),
        ("{'2001:db8::/64'}", ["2001:db8::ffff:0:0:1"], ["2001:db8:0:1::"]),
    ],
)
def test_inet6_subnet(lua: Script, subnet: str, inside: list[str], outside: list[str]) -> None:
    for address in inside:
        assert lua.values(f"return inet6.subnet({subnet})({IP6}('{address}'))") == "true", address
    for address in outside:
        assert lua.values(f"return inet6.subnet({subnet})({IP6}('{address}'))") == "false", address


def test_what_is_no_address_is_in_no_subnet(lua: Script) -> None:
    assert (
        lua.values("return inet.subnet('0.0.0.0/0')(nil), inet6.subnet('::/0')(nil)")
        == "false,false"
    )


@pytest.mark.parametrize(
    "code",
    [
        "inet.subnet('10.0.0.1/8')",
        "inet.subnet({'10.0.0.0/8', 'x'})",
        "inet.subnet({'10.0.0.0/8', 7})",
        "inet.subnet()",
        "inet6.subnet('10.0.0.0/8')",
        "inet6.subnet({'::1/64'})",
        "match.domain(1)",
        "match.host({{}})",
        "match.port('x')",
        "match.port(65536)",
        "match.port(80.5)",
        "match.port(81, 80)",
        "match.port({{81, 80}})",
        "match.port({{81}})",
        "match.port()",
        "match.pattern()",
        "match.pattern({7})",
        "match.regex()",
        "match.regex(7)",
        "match.regex({{}})",
        "match.exact()",
        "composite.inverse()",
        "composite.anyof()",
        "composite.allof(7)",
        "composite.maybe(nil, 'k')",
        "composite.subchain(nil, 'k')",
        "match.pattern('(')",
        "match.regex('(')",
        "regex.compat()",
        "string.startswith('a')",
        "string.endswith(nil, 'a')",
    ],
)
def test_a_bad_argument_of_a_matcher_is_an_error_of_the_script(lua: Script, code: str) -> None:
    assert lua.error(f"\n{code}\n").startswith("(invoke):2: ")


@pytest.mark.parametrize(
    ("matcher", "inside", "outside"),
    [
        ("any()", ["a:1", "[::1]:2", ""], []),
        ("exact('Example.com:80')", ["example.COM:80"], ["example.com:81", "www.example.com:80"]),
        ("exact({'a:1', '[::1]:80'})", ["A:1", "[::1]:80"], ["a:2"]),
        (
            "host('Example.com')",
            ["example.com:80", "EXAMPLE.com:1", "example.com.:80"],
            ["www.example.com:80", "junk"],
        ),
        (
            "host({'a', '192.0.2.1', '::1', '[::2]'})",
            ["a:1", "192.0.2.1:1", "[::1]:1", "[::2]:1"],
            ["b:1"],
        ),
        ("port(80)", ["a:80", "[::1]:80"], ["a:8", "a:800", "a", "a:"]),
        ("port(8000, 8002)", ["a:8000", "a:8001", "a:8002"], ["a:7999", "a:8003"]),
        ("port({80, 443, {8000, 8002}})", ["a:80", "a:443", "a:8001"], ["a:81", "a:8003"]),
        ("port(65535)", ["a:65535"], ["a:65534", "a:65536", "a:6553"]),
        ("port(0)", ["a:0"], ["a:1", "a:65536", "a"]),
        ("port(0, 65535)", ["a:0", "a:65535"], ["a:65536", "a:-1", "a:x"]),
        ("port({})", [], ["a:0"]),
        (
            "domain('.a.b')",
            ["a.b:1", "x.a.b:1", "y.x.A.B:1", "a.b.:1"],
            ["xa.b:1", "b:1", "a.b.c:1", "junk"],
        ),
        ("domain('a.b')", ["a.b:1", "A.b:1"], ["x.a.b:1"]),
        ("domain({'.A.b', 'c.d'})", ["x.a.b:1", "c.d:1"], ["x.c.d:1"]),
        ("domain('.a\\n# no\\nb')", ["x.a:1", "b:1"], ["c:1"]),
        ("domain('')", [], ["a:1", ":1"]),
        ("domaintree('a.b')", ["a.b:1", "x.a.b:1"], ["xa.b:1"]),
        ("domaintree({'.a.b', 'C'})", ["a.b:1", "x.c:1"], ["b:1"]),
        ("pattern('^www%.')", ["www.a:1", "WWW.a:1"], ["a.www.a:1"]),
        ("pattern('^WWW%.%a+:%d+$')", ["www.a:1"], ["www.1:1"]),
        ("pattern({'a:1$', '^[B-C]'})", ["a:1", "b:2", "C:1"], ["d:2"]),
        ("regex([[^(www|ftp)\\.]])", ["www.a:1", "FTP.a:1"], ["a:1"]),
        ("regex({'^A', 'z:1$'})", ["a:2", "z:1"], ["b:1"]),
        ("regex(regex.compile('^a'))", ["a:1"], ["b:1"]),
        ("regex({'^a', regex.compile('^b')})", ["a:1", "b:1"], ["c:1"]),
        # nothing listed, nothing matched
        ("pattern({})", [], ["a:1", ""]),
        ("regex({})", [], ["a:1", ""]),
        # several lines are several entries
        ("pattern('^a\\n\\n ^B \\r\\n# ^c')", ["a:1", "b:1"], ["c:1"]),
        ("regex('^a\\n^B\\n# ^c')", ["a:1", "b:1"], ["c:1"]),
        ("exact('a:1\\nB:2\\n')", ["a:1", "b:2"], ["b:1"]),
        ("host('a\\n[::1]\\n')", ["a:1", "[::1]:2"], ["b:1"]),
        ("port({'80', 443.0})", ["a:80", "a:443"], ["a:81"]),
        # the dot that ends a full name
        ("host('a.b.')", ["a.b:1", "a.b.:1"], ["a:1"]),
        ("domain({'.a.b.', 'c.'})", ["x.a.b:1", "a.b:1", "c.:1"], ["x.c:1"]),
        ("domaintree('a.b.')", ["x.a.b:1", "a.b.:1"], ["b:1"]),
    ],
)
def test_match(lua: Script, matcher: str, inside: list[str], outside: list[str]) -> None:
    for text in inside:
        assert lua.values(f"return match.{matcher}('{text}')") == "true", text
    for text in outside:
        assert lua.values(f"return match.{matcher}('{text}')") == "false", text


BIG = "local t = {%s} for i = 1, 2500 do t[#t + 1] = '%s' end "


@pytest.mark.parametrize(
    ("matcher", "entries", "filler", "inside", "outside"),
    [
        (
            "exact",
            "'Example.com:80', '[::1]:80', '.b:1'",
            "x' .. i .. ':1",
            ["example.COM:80", "x7:1", "[::1]:80"],
            ["example.com:81", "example.com", "a.x7:1", "a.b:1", "b:1", "::1:80"],
        ),
        (
            "host",
            "'Example.com', '[::1]', '.b.c'",
            "x' .. i .. '.d",
            ["EXAMPLE.com:80", "[::1]:1", "x7.d:1"],
            ["a.x7.d:1", "b.c:1", "junk"],
        ),
        (
            "domain",
            "'.A.b', 'c.d.', '# no'",
            ".x' .. i .. '.d",
            ["x.a.b:1", "a.b.:1", "c.D:1", "y.x7.d:1"],
            ["x.c.d:1", "xa.b:1", "b:1", "junk"],
        ),
        (
            "domaintree",
            "'.A.b.', 'c.d'",
            "x' .. i .. '.d",
            ["x.a.b:1", "x.c.d:1", "y.x7.d:1"],
            ["d:1", "xc.d:1"],
        ),
    ],
)
def test_a_big_list_matches_as_a_small_one(
    lua: Script, matcher: str, entries: str, filler: str, inside: list[str], outside: list[str]
) -> None:
    lua.run(BIG % (entries, filler) + f"_G.m = match.{matcher}(t)")
    for text in inside:
        assert lua.values(f"return m('{text}')") == "true", text
    for text in outside:
        assert lua.values(f"return m('{text}')") == "false", text
    lua.run("_G.m = nil")


@pytest.mark.parametrize("matcher", ["pattern", "regex"])
def test_thousands_of_patterns_are_tried(lua: Script, matcher: str) -> None:
    lua.run(BIG % ("'^a'", "^x' .. i .. ':") + f"_G.m = match.{matcher}(t)")
    assert lua.values("return m('a:1'), m('X2500:1'), m('x2501:1')") == "true,true,false"
    lua.run("_G.m = nil")


COMMENTED = "'# nets\\n10.0.0.0/8\\n  # more\\n192.0.2.0/24\\n'"


def test_a_line_that_begins_with_a_hash_is_a_comment(lua: Script) -> None:
    inside, outside = f"{IP4}('192.0.2.1')", f"{IP4}('192.0.3.1')"
    for text in (COMMENTED, COMMENTED + " .. ('# long\\n'):rep(10000)"):
        code = f"local m = inet.subnet({text}) return m({inside}), m({outside})"
        assert lua.values(code) == "true,false", text[:50]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\d+", "[0-9]+"),
        (r"\D\w\W", "[^0-9][[:alnum:]_][^[:alnum:]_]"),
        (r"\s\S", "[[:space:]][^[:space:]]"),
        (r"[\d.]", "[0-9.]"),
        (r"[^\w\s]", "[^[:alnum:]_[:space:]]"),
        (r"[]\d]", "[]0-9]"),
        (r"[[:alpha:]\d]\d", "[[:alpha:]0-9][0-9]"),
        (r"\\d", r"\\\\d"),
        (r"a\.b", r"a\\.b"),
        ("abc", "abc"),
    ],
)
def test_regex_compat(lua: Script, text: str, expected: str) -> None:
    assert lua.values(f"return regex.compat([==[{text}]==])") == f'"{expected}"'


def test_regex_compat_is_understood_by_compile(lua: Script) -> None:
    code = r"return regex.compile(regex.compat([==[^\w+\s\d+[\d_]\S$]==])):match('abc 12_x')"
    assert lua.values(code) == '"abc 12_x"'


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("composite.inverse(match.port(80))('a:80')", "false"),
        ("composite.inverse(match.port(80))('a:81')", "true"),
        ("composite.anyof({match.port(80), match.port(81)})('a:81')", "true"),
        ("composite.anyof({match.port(80)})('a:81')", "false"),
        ("composite.anyof({})('a:81')", "false"),
        ("composite.allof({match.port(80), match.host('a')})('a:80')", "true"),
        ("composite.allof({match.port(80), match.host('b')})('a:80')", "false"),
        ("composite.allof({})('a:80')", "true"),
        ("composite.inverse(inet6.subnet('fe80::/10'))(neosocksd.parse_ipv6('fe80::1'))", "false"),
        ("composite.maybe({}, 'k')('a:80')", "false"),
        ("composite.maybe({k = match.port(80)}, 'k')('a:80')", "true"),
        ("composite.subchain({}, 'k')('a:80')", "nil"),
        # what was switched off
        ("composite.maybe({k = false}, 'k')('a:80')", "false"),
        ("composite.subchain({k = false}, 'k')('a:80')", "nil"),
        # one in another
        (
            (
                "composite.allof({composite.anyof({composite.maybe({k = match.port(80)}, 'k')}),"
                " composite.inverse(match.host('b'))})('a:80')"
            ),
            "true",
        ),
    ],
)
def test_composite(lua: Script, expression: str, value: str) -> None:
    assert lua.values("return " + expression) == value


def test_maybe_and_subchain_look_up_at_match_time(lua: Script) -> None:
    code = """
        local t = {}
        local maybe, chain = composite.maybe(t, "m"), composite.subchain(t, "c")
        local before = { maybe("a:80"), chain("a:80") }
        t.m, t.c = match.any(), { { match.any(), rule.direct(), "tag" } }
        local action, tag = chain("a:80")
        return before, maybe("a:80"), action("b:1"), tag
    """
    assert lua.values(code) == '{false,},true,"b:1","tag"'
