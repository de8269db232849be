"""neosocksd.*: what the functions give that need no routine and no event, and os.exit and print."""

import pytest

from neosocksd_lua_ruleset.testing import Rule, Ruled


def eval_all(server: Ruled, expressions: dict[str, str]) -> None:
    for code, expected in expressions.items():
        assert server.call("return " + code) == expected, code


# neosocksd.config


def test_config_gives_the_configuration_in_force(rule: Rule) -> None:
    server = rule(
        timeout=33, loglevel=6, max_sessions=7, memlimit=5, traceback=False, tcp_sndbuf=65536
    )
    eval_all(
        server,
        {
            "neosocksd.config().timeout == 33": "true",
            "neosocksd.config().loglevel": "6",
            "neosocksd.config().max_sessions": "7",
            "neosocksd.config().memlimit": "5",
            "neosocksd.config().traceback": "false",
            "neosocksd.config().tcp_sndbuf": "65536",
            "neosocksd.config().tcp_nodelay": "true",
            "neosocksd.config().tcp_keepalive": "true",
            "neosocksd.config().block_multicast": "true",
            "neosocksd.config().block_loopback": "false",
            "neosocksd.config().startup_limit_rate": "30",
            "neosocksd.config().resolve_pf": "0",
            "neosocksd.config().auth_required": "false",
            "neosocksd.config().listen": '"127.0.0.1:0"',
            "neosocksd.config().proxy": "nil",
        },
    )
    assert server.call("return neosocksd.config().ruleset") == f'"{server.path}"'


def test_config_is_a_fresh_table_at_each_call(rule: Rule) -> None:
    server = rule()
    assert (
        server.call(
            "local c = neosocksd.config() c.loglevel = 99 return neosocksd.config().loglevel"
        )
        == "4"
    )


def test_config_works_while_the_ruleset_is_loaded(rule: Rule) -> None:
    assert rule("_G.level = neosocksd.config().loglevel return {}").call("return level") == "4"


# neosocksd.splithostport


def test_splithostport(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.splithostport("example.com:80")': '"example.com","80"',
            'neosocksd.splithostport("[::1]:80")': '"::1","80"',
            'neosocksd.splithostport(":80")': '"","80"',
        },
    )


@pytest.mark.parametrize("text", ["", "example.com", "::1:80", "[::1:80", "::1]:80"])
def test_splithostport_raises_on_failure_at_the_place_of_the_call(rule: Rule, text: str) -> None:
    error = rule().error(f'\n\nneosocksd.splithostport("{text}")')
    assert error.startswith("(invoke):3: ")


# neosocksd.parse_ipv4, parse_ipv6


def test_parse_ipv4(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.parse_ipv4("169.254.0.0") == 0xA9FE0000': "true",
            'neosocksd.parse_ipv4("255.255.255.255") == 0xFFFFFFFF': "true",
            'math.type(neosocksd.parse_ipv4("0.0.0.0"))': '"integer"',
        },
    )


@pytest.mark.parametrize(
    "text", ["", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::1", "a.b.c.d", "1.2.3.4\\0", "\\255"]
)
def test_parse_ipv4_gives_nil_on_failure(rule: Rule, text: str) -> None:
    assert rule().call(f'return neosocksd.parse_ipv4("{text}")') == "nil"


def test_parse_ipv6_gives_the_high_half_first(rule: Rule) -> None:
    eval_all(
        rule(),
        {
            'neosocksd.parse_ipv6("::1")': "0,1",
            'select("#", neosocksd.parse_ipv6("::1"))': "2",
            '(neosocksd.parse_ipv6("FE80::")) == 0xFE80000000000000': "true",
            '(neosocksd.parse_ipv6("2001:DB8::1")) == 0x20010DB800000000': "true",
            'select(2, neosocksd.parse_ipv6("ffff::ffff:ffff:ffff:ffff")) == -1': "true",
        },
    )


@pytest.mark.parametrize("text", ["", ":", "1.2.3.4", "fe80::1%lo", "[::1]", "g::", "\\255"])
def test_parse_ipv6_gives_nil_on_failure(rule: Rule, text: str) -> None:
    assert rule().call(f'return neosocksd.parse_ipv6("{text}")') == "nil"


# neosocksd.resolve


def test_resolve_blocks_and_gives_an_address(rule: Rule) -> None:
    server = rule(resolve_pf=2)
    server.run('_G.found = neosocksd.resolve("localhost")')
    assert server.call("return found") == '"127.0.0.1"'


@pytest.mark.parametrize(
    ("family", "found"), [(0, '"127.0.0.1","::1"'), (2, '"127.0.0.1",nil'), (10, 'nil,"::1"')]
)
def test_resolve_gives_addresses_of_the_family_that_is_asked_for(
    rule: Rule, family: int, found: str
) -> None:
    server = rule(resolve_pf=family)
    code = "return neosocksd.resolve('127.0.0.1'), neosocksd.resolve('::1')"
    assert server.call(code) == found


@pytest.mark.parametrize("name", ["no such host", "x.invalid", "", "\\255", "a..b"])
def test_resolve_gives_nil_on_failure(rule: Rule, name: str) -> None:
    assert rule().call(f'return neosocksd.resolve("{name}")') == "nil"


# neosocksd.traceback


@pytest.mark.logs_error("stack traceback")
def test_traceback_logs_and_hands_the_error_on(rule: Rule) -> None:
    code = 'return xpcall(function() error("boom", 0) end, neosocksd.traceback)'
    assert rule().call(code) == 'false,"boom"'


# os.exit, print


@pytest.mark.parametrize(
    ("code", "status"), [("3", 3), ("true", 0), ("false", 1), ("", 0), ("256 + 7", 7)]
)
def test_os_exit_stops_the_server_with_that_status(rule: Rule, code: str, status: int) -> None:
    server = rule()
    assert "ended the server" in server.error(f"pcall(os.exit, {code or 'nil'})")
    server.running.join()
    assert server.running.server.exit_status == status


def test_print_writes_a_line_to_standard_output(
    rule: Rule, capfd: pytest.CaptureFixture[str]
) -> None:
    rule().run('print("a", 1, nil)')
    assert capfd.readouterr().out == "a\t1\tnil\n"
