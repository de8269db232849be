"""The fields of ``-c config.lua`` and ``--dump-config``: each is taken, judged, and printed so that it is read back."""

import json

import pytest

from neosocksd_core import ConfigurationError
from neosocksd_core.invocation import Configuration, Invocation
from neosocksd_lua_ruleset.fields import config_fields, dump_config
from neosocksd_lua_ruleset.testing import WriteScript

FIELDS: dict[str, str | bool | float] = {
    "listen": "127.0.0.1:1",
    "http_listen": "127.0.0.1:2",
    "forward": "127.0.0.1:3",
    "proxy": "socks5://127.0.0.1:4,http://127.0.0.1:5",
    "restapi": "127.0.0.1:6",
    "nameserver": "127.0.0.1:53",
    "netdev": "lo",
    "user_name": "nobody",
    "loglevel": 5,
    "resolve_pf": 2,
    "timeout": 33.0,
    "memlimit": 7,
    "tcp_sndbuf": 65536,
    "tcp_rcvbuf": 65537,
    "max_sessions": 9,
    "startup_limit_start": 3,
    "startup_limit_rate": 40,
    "startup_limit_full": 8,
    "auth_required": True,
    "pipe": False,
    "reuseport": True,
    "tcp_fastopen": False,
    "tcp_fastopen_connect": True,
    "tcp_nodelay": False,
    "tcp_keepalive": False,
    "transparent": True,
    "traceback": True,
    "socks5_bind": True,
    "socks5_udp": True,
    "daemonize": True,
    "block_loopback": True,
    "block_multicast": False,
    "block_local": True,
    "block_global": False,
}


def configure(script: WriteScript, text: str) -> Configuration:
    path = script(text, "c.lua")
    arguments = ["--plugin", "lua_ruleset", "--plugin", "rest_api", "-c", str(path)]
    return Invocation(arguments, {}).configure()


def test_every_field_is_taken_from_a_configuration_script_and_dumped_again(
    script: WriteScript,
) -> None:
    text = ",".join(f"{name} = {json.dumps(value)}" for name, value in FIELDS.items())
    configuration = configure(script, f"return {{ {text} }}")
    fields = {
        name.decode(): value.decode() if isinstance(value, bytes) else value
        for name, value in config_fields(configuration.settings).items()
    }
    assert {name: fields[name] for name in FIELDS} == FIELDS
    chunk = dump_config(configuration.settings)
    assert dump_config(configure(script, chunk.decode()).settings) == chunk


def test_several_listeners_are_dumped_so_that_they_are_read_again(script: WriteScript) -> None:
    text = """return {
        listen = { "127.0.0.1:1", "127.0.0.1:2" }, http_listen = { "127.0.0.1:3", "127.0.0.1:4" },
    }"""
    settings = configure(script, text).settings
    assert config_fields(settings)[b"listen"] == b"127.0.0.1:1,127.0.0.1:2"
    chunk = dump_config(settings)
    assert b'listen = { "127.0.0.1:1", "127.0.0.1:2" }' in chunk
    again = configure(script, chunk.decode()).settings
    assert (again.listen, dump_config(again)) == (("127.0.0.1:1", "127.0.0.1:2"), chunk)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_wrong_type_is_an_error_that_names_it(script: WriteScript, name: str) -> None:
    wrong = '"yes"' if isinstance(FIELDS[name], bool) else "true"
    with pytest.raises(ConfigurationError, match=name):
        configure(script, f"return {{ {name} = {wrong} }}")


@pytest.mark.parametrize("number", ["0/0", "1/0", "4", "86401"])
def test_a_number_out_of_range_is_an_error_that_names_its_field(
    script: WriteScript, number: str
) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        configure(script, f"return {{ timeout = {number} }}")


def test_a_small_buffer_is_a_warning(script: WriteScript) -> None:
    [warning] = configure(script, "return { tcp_sndbuf = 16383 }").warnings
    assert "tcp_sndbuf" in warning
    assert configure(script, "return { tcp_rcvbuf = 16384, tcp_sndbuf = 0 }").warnings == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lua_ruleset = { time_limit = 3, lua = '5.4' }", "lua_ruleset = { time_limit = 3.0 }"),
        ("nameserver = { timeout = 2 }", "nameserver = { timeout = 2.0 }"),
        (
            "nameserver = { timeout = 2, address = '127.0.0.1:53' }",
            'nameserver = { address = "127.0.0.1:53", timeout = 2.0 }',
        ),
        ("user_name = 'a\"b\\\\c\\1'", 'user_name = "a\\"b\\\\c\\001"'),
    ],
)
def test_what_has_no_flat_name_is_dumped_in_the_table_of_its_plugin(
    script: WriteScript, text: str, line: str
) -> None:
    chunk = dump_config(configure(script, f"return {{ {text} }}").settings)
    assert f"    {line},\n" in chunk.decode()
    assert dump_config(configure(script, chunk.decode()).settings) == chunk


def test_a_secret_is_not_dumped(script: WriteScript) -> None:
    configuration = configure(script, "return { api_token = 's3cret-s3cret-s3cret' }")
    assert b"s3cret" not in dump_config(configuration.settings)
