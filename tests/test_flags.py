"""The flags that the models make, and what giving them means."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from neosocksd_core import ConfigurationError, Settings
from neosocksd_core.configuration import merge
from neosocksd_core.flags import layer_of_flags
from neosocksd_core.invocation import Invocation
from neosocksd_core.plugins import Plugins


def label(value: object) -> str:
    """A command line as the name of its test."""
    return " ".join(cast("list[str]", value)) if isinstance(value, list) else ""


def parse(*argv: str) -> tuple[Settings, Sequence[str], list[str]]:
    """Settings, warnings and the rest of a command line."""
    invocation = Invocation(argv, {})
    layer, warnings = layer_of_flags(invocation.arguments.given)
    return merge(invocation.plugins, [layer]), warnings, invocation.rest


def settings_of(*argv: str) -> Settings:
    settings, warnings, rest = parse(*argv)
    assert not warnings
    assert not rest
    return settings


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["-l", "127.0.0.1:1", "--listen", "[::1]:2"], {"listen": ("127.0.0.1:1", "[::1]:2")}),
        (["-4"], {"resolve_pf": 2}),
        (["-6"], {"resolve_pf": 10}),
        (["--auth-required"], {"auth_required": True}),
        (["-x", "socks5://a,http://b"], {"proxy": "socks5://a,http://b"}),
        (["--proxy="], {"proxy": ""}),
        (["-i", "eth0"], {"netdev": "eth0"}),
        (["--reuseport", "--pipe"], {"reuseport": True, "pipe": True}),
        (["--no-pipe", "--no-fastopen"], {"pipe": False, "tcp_fastopen": False}),
        (["-t", "5"], {"timeout": 5.0}),
        (["--log", "terminal", "--loglevel", "8"], {"log": "terminal", "loglevel": 8}),
        (["-d", "-u", "nobody:"], {"daemonize": True, "user_name": "nobody:"}),
        (["-dm5"], {"daemonize": True, "max_sessions": 5}),
        (
            ["--max-startups", "10:30:100"],
            {"startup_limit_start": 10, "startup_limit_rate": 30, "startup_limit_full": 100},
        ),
        (
            ["--block-outbound", "loopback,local"],
            {"block_loopback": True, "block_local": True, "block_multicast": False},
        ),
        (["--block-outbound", ""], {"block_multicast": False}),
    ],
    ids=label,
)
def test_a_flag_sets_its_field(argv: list[str], expected: dict[str, object]) -> None:
    settings = settings_of(*argv)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_a_bare_flag_has_a_value_of_its_own() -> None:
    from neosocksd_core.configuration import section
    from neosocksd_http_connect.config import HttpSettings

    for argv, expected in (
        (["--http"], ("",)),
        (["--http="], ("",)),
        (["--http", "127.0.0.1:1"], ("127.0.0.1:1",)),
        (["--http", "127.0.0.1:1", "--http=127.0.0.1:2"], ("127.0.0.1:1", "127.0.0.1:2")),
        (["--http", "-l", "127.0.0.1:1"], ("",)),
    ):
        assert section(settings_of(*argv), HttpSettings).listen == expected


@pytest.mark.parametrize("command", ["check", "plugins", "hash-password"])
def test_a_bare_flag_takes_no_subcommand_for_its_value(command: str) -> None:
    from neosocksd_core.configuration import section
    from neosocksd_http_connect.config import HttpSettings

    settings, _, rest = parse("--http", command)
    assert section(settings, HttpSettings).listen == ("",)
    assert rest == [command]


def test_flags_stand_before_or_after_the_subcommand() -> None:
    for argv in (["-t", "7", "check"], ["check", "-t", "7"]):
        settings, _, rest = parse(*argv)
        assert settings.timeout == 7
        assert rest == ["check"]


@pytest.mark.parametrize(
    ("argv", "warning"),
    [
        (["-t", "5", "-t", "6"], "-t is given twice, the last one wins"),
        (["--timeout", "5", "-t", "6"], "-t comes after --timeout and wins"),
        (["-4", "-6"], "-6 comes after -4 and wins"),
        (["--pipe", "--no-pipe"], "--no-pipe comes after --pipe and wins"),
        (["--max-startups", "1:2:3", "--max-startups", "1:2:4"], "--max-startups is given twice"),
    ],
    ids=label,
)
def test_a_single_valued_flag_given_twice_is_warned_of_and_the_last_wins(
    argv: list[str], warning: str
) -> None:
    settings, warnings, _ = parse(*argv)
    [found] = warnings
    assert found.startswith(warning)
    last = settings_of(*argv[len(argv) // 2 :])
    assert settings.model_dump() == last.model_dump()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-t", "soon"], "^-t: should be a valid number"),
        (["--timeout", "4"], "^--timeout: .*greater"),
        (["--listen", "127.0.0.1:70000"], "^--listen: not a port number"),
        (["-t", "-1"], "^-t: .*greater|expected one argument"),
        (["--timeout"], "expected one argument"),
        (["--max-startups", "10:30"], "^--max-startups: expected START:RATE:FULL"),
        (["--max-startups", "10:300:20"], "^--max-startups: .*less"),
        (["--block-outbound", "lokal"], "^--block-outbound: unknown address class 'lokal'"),
        (["--block-outbound", "local,global"], "^--block-outbound: .*exclude"),
        (["--log", "paper"], "^--log: should be"),
        (["--loglevel", "9"], "^--loglevel: .*less"),
    ],
    ids=label,
)
def test_a_bad_flag_is_one_line_that_names_it(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("timeout = 10\ndial_timeout = 11\ndrain = 12\n")
    environ = {"NEOSOCKSD_CONFIG": str(file), "NEOSOCKSD_TIMEOUT": "20", "NEOSOCKSD_DRAIN": "21"}
    settings = Invocation(["--drain", "30"], environ).configure().settings
    assert (settings.timeout, settings.dial_timeout, settings.drain) == (20, 11, 30)


def test_a_plugins_field_without_an_option_has_the_flag_of_its_place() -> None:
    schema = Plugins().schema
    assert schema.by_path["socks5", "listen"].flags == ("--socks5-listen",)
    assert schema.by_path["tcp_nodelay",].flags == ()


def test_the_choice_of_plugins_of_the_flags_beats_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('no_plugins = ["forward", "nameserver"]\nplugins = ["./extra.py"]\n')
    (file.parent / "extra.py").write_text(
        "from neosocksd_core import hookimpl\n@hookimpl\ndef create_router(): pass\n"
    )
    invocation = Invocation(["-c", str(file), "--plugin", "forward", "--no-plugin", "socks5"], {})
    assert invocation.plugins.enabled == {"http_connect", "static_auth", "forward", "extra"}


def test_the_last_of_several_configuration_files_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("timeout = 10\n")
    (tmp_path / "b.toml").write_text("timeout = 11\n")
    argv = ["-c", str(tmp_path / "a.toml"), "-c", str(tmp_path / "b.toml")]
    configuration = Invocation(argv, {"NEOSOCKSD_CONFIG": "/nowhere.toml"}).configure()
    assert configuration.settings.timeout == 11
    assert configuration.warnings == ("--config is given twice, the last one wins",)
