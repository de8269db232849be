"""From files, variables and programs to validated settings; and what is refused, in one line that says where."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from neosocksd_core import ConfigurationError, NeosocksdError, Option, Section, Settings, hookimpl
from neosocksd_core.configuration import (
    build_settings,
    configure,
    environment_layer,
    merge,
    section,
    warnings_about,
)
from neosocksd_core.files import MAX_FILE_SIZE, read_configuration
from neosocksd_core.plugins import Plugins
from neosocksd_core.selection import Selection, environment_selection, override, selection


class Colours(Section):
    """The settings of a plugin that the tests bring."""

    count: int = Field(default=3, ge=0, description="how many")
    bright: bool = Field(default=False, description="whether")
    names: tuple[str, ...] = Field(default=(), description="which")
    rates: dict[str, float] = Field(default={}, description="by name")
    token: SecretStr = Field(default=SecretStr(""), description="secret")
    shade: Annotated[str, Option(flat="colour_shade")] = Field(default="dark", description="shade")
    maybe: int | None = Field(default=None, description="perhaps")


class ColourPlugin:
    plugin_name = "my-colours"

    @hookimpl
    def config_model(self) -> type[Section]:
        return Colours


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins([ColourPlugin])


def from_environment(plugins: Plugins, **variables: str) -> Settings:
    layer, warnings = environment_layer(
        plugins.schema, {f"NEOSOCKSD_{name}": text for name, text in variables.items()}
    )
    assert not warnings
    return merge(plugins, [layer])


def from_file(plugins: Plugins, path: Path, text: str | bytes) -> Settings:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return build_settings(plugins, read_configuration(path, plugins), path.name)


# What is accepted.


def test_without_anything_the_defaults_hold(plugins: Plugins) -> None:
    settings = build_settings(plugins, {})
    assert settings.timeout == 60
    assert section(settings, Colours) == Colours()


def test_a_plugins_values_stand_in_its_section_or_under_its_flat_name(plugins: Plugins) -> None:
    nested = build_settings(plugins, {"my_colours": {"shade": "light", "count": 1}})
    flat = build_settings(plugins, {"colour_shade": "light"})
    assert section(nested, Colours).shade == section(flat, Colours).shade == "light"


def test_a_flat_name_may_be_the_plugins_own() -> None:
    from neosocksd_forward.config import ForwardSettings

    for values in ({"forward": "127.0.0.1:1"}, {"forward": {"address": "127.0.0.1:1"}}):
        settings, _ = configure(values)
        assert section(settings, ForwardSettings).address == "127.0.0.1:1"


def test_a_program_may_pass_settings_and_sections(plugins: Plugins) -> None:
    once = build_settings(plugins, Settings(timeout=9))
    assert (once.timeout, section(once, Colours).count) == (9, 3)
    again = build_settings(plugins, once)
    assert again == once
    secret = Colours(token=SecretStr("x"), count=4)
    settings = build_settings(plugins, {"my_colours": secret})
    assert section(settings, Colours) == secret


def test_settings_are_frozen(plugins: Plugins) -> None:
    with pytest.raises(ValueError, match="frozen"):
        build_settings(plugins, {}).timeout = 5  # type: ignore[misc]


def test_a_section_of_a_plugin_that_is_not_loaded_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no section Colours"):
        section(build_settings(Plugins(), {}), Colours)


def test_one_address_stands_for_a_list_of_one(plugins: Plugins) -> None:
    assert build_settings(plugins, {"listen": "[::1]:1"}).listen == ("[::1]:1",)


def test_the_environment_is_read_by_type(plugins: Plugins) -> None:
    settings = from_environment(
        plugins,
        LISTEN="127.0.0.1:1, [::1]:2",
        TIMEOUT="7.5",
        RESOLVE_PF="10",
        PIPE="no",
        MY_COLOURS_COUNT="5",
        MY_COLOURS_BRIGHT="on",
        MY_COLOURS_NAMES='["a,b", "c"]',
        MY_COLOURS_RATES='{"x": 0.5}',
        MY_COLOURS_MAYBE="8",
        COLOUR_SHADE="pale",
        PROXY="",
    )
    assert settings.listen == ("127.0.0.1:1", "[::1]:2")
    assert (settings.timeout, settings.resolve_pf, settings.pipe) == (7.5, 10, False)
    assert section(settings, Colours) == Colours(
        count=5, bright=True, names=("a,b", "c"), rates={"x": 0.5}, maybe=8, shade="pale"
    )


def test_an_unknown_variable_is_warned_of_and_the_others_count(plugins: Plugins) -> None:
    layer, warnings = environment_layer(
        plugins.schema, {"NEOSOCKSD_PORT": "tcp://10.0.0.1", "NEOSOCKSD_TIMEOUT": "8", "PATH": "x"}
    )
    assert warnings == ["unknown environment variable NEOSOCKSD_PORT"]
    assert merge(plugins, [layer]).timeout == 8


def test_small_buffers_are_warned_of(plugins: Plugins) -> None:
    assert not warnings_about(build_settings(plugins, {"tcp_sndbuf": 16384, "tcp_rcvbuf": 0}))
    [warning] = warnings_about(build_settings(plugins, {"tcp_rcvbuf": 16383}))
    assert "tcp_rcvbuf is below 16384" in warning


def test_the_last_source_that_names_a_plugin_decides() -> None:
    file = selection({"plugins": ["a", "b"], "no_plugins": ["c"]}, "f.toml", Path("/etc"))
    environment = environment_selection({"NEOSOCKSD_NO_PLUGINS": "a, d", "NEOSOCKSD_PLUGINS": "c"})
    assert override(file, environment) == Selection(("b", "c"), ("a", "d"))


def test_a_plugins_file_is_found_beside_the_configuration_file() -> None:
    chosen = selection({"plugins": ["./a.py", "b"]}, "f.toml", Path("/etc/x"))
    assert chosen.enable == ("/etc/x/a.py", "b")


# What is refused.

BAD: list[tuple[Mapping[str, Any], str]] = [
    ({"tiemout": 5}, r"tiemout: unknown key \(did you mean 'timeout'\?\)"),
    (
        {"my_colours": {"cuont": 5}},
        r"my_colours\.cuont: unknown key \(did you mean 'my_colours\.co",
    ),
    ({"my_colours": 5}, "my_colours: expected a table"),
    ({"nothing": {}}, "nothing: unknown key"),
    ({"timeout": "60"}, "timeout: expected a number"),
    ({"timeout": True}, "timeout: expected a number"),
    ({"timeout": 4.9}, "timeout: .*greater than or equal to 5"),
    ({"timeout": 86401}, "timeout: .*less than or equal to 86400"),
    ({"timeout": float("nan")}, "timeout: .*finite"),
    ({"timeout": float("inf")}, "timeout: .*finite"),
    ({"timeout": []}, "timeout: .*valid number"),
    ({"max_sessions": 1.5}, "max_sessions: .*integer"),
    ({"max_sessions": -1}, "max_sessions: .*greater"),
    ({"tcp_sndbuf": 10**400}, "tcp_sndbuf: .*less"),
    ({"listen": 5}, "listen: should be a string or a list"),
    ({"reuseport": 1}, "reuseport: expected true or false"),
    ({"reuseport": "yes"}, "reuseport: expected true or false"),
    ({"proxy": 5}, "proxy: .*string"),
    ({"listen": "127.0.0.1:70000"}, "listen: not a port number"),
    ({"listen": "127.0.0.1"}, "listen: no port"),
    ({"listen": "::1:80"}, "listen: IPv6 address without brackets"),
    ({"listen": [5]}, r"listen\.0: .*string"),
    ({"listen": 5}, "listen: "),
    ({"resolve_pf": 4}, "resolve_pf: should be 0, 2 or 10"),
    ({"loglevel": 9}, "loglevel: .*less"),
    ({"loop": "curio"}, "loop: should be 'auto'"),
    ({"startup_limit_rate": 101}, "startup_limit_rate: .*less"),
    ({"block_local": True, "block_global": True}, "block_local, f.toml: block_global: .*exclude"),
    ({"startup_limit_start": 9, "startup_limit_full": 8}, "startup_limit_start is above"),
    (
        {"colour_shade": "a", "my_colours": {"shade": "b"}},
        "is the same setting as f.toml: colour_s",
    ),
    ({"my_colours": {"rates": {"x": "fast"}}}, r"my_colours\.rates\.x: .*number"),
    ({"my_colours": {"token": 5}}, "my_colours.token: "),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_value_is_one_line_with_file_and_key(
    plugins: Plugins, values: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_settings(plugins, values, "f.toml")
    text = str(caught.value)
    assert text.startswith("f.toml: ")
    assert re.search(message, text)
    assert "\n" not in text


@pytest.mark.parametrize("key", ["plugins", "no_plugins"])
@pytest.mark.parametrize("value", ["socks5", 5, [5], {"socks5": True}])
def test_the_choice_of_plugins_is_a_list_of_names(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^f.toml: {key}: expected a list of names$"):
        selection({key: value}, "f.toml")


def test_a_secret_is_never_shown(plugins: Plugins) -> None:
    for values in (
        {"my_colours": {"token": ["hunter2"]}},
        {"my_colours": {"count": "hunter2"}},
        {"timeout": "hunter2"},
        {"listen": [["hunter2"]]},
    ):
        with pytest.raises(ConfigurationError) as caught:
            build_settings(plugins, values)
        assert "hunter2" not in str(caught.value)


def test_a_variable_that_is_wrong_is_named(plugins: Plugins) -> None:
    with pytest.raises(ConfigurationError, match=r"^NEOSOCKSD_TIMEOUT: should be a valid number"):
        from_environment(plugins, TIMEOUT="soon")
    with pytest.raises(
        ConfigurationError, match=r"^NEOSOCKSD_COLOUR_SHADE: is the same setting as"
    ):
        from_environment(plugins, MY_COLOURS_SHADE="a", COLOUR_SHADE="b")


def complaint(plugins: Plugins, values: Mapping[str, Any]) -> str:
    """The message about *values*, empty where there is none."""
    try:
        build_settings(plugins, values, "f.toml")
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "field",
    [s for s in Plugins().schema.settings if s.kind is str or s.is_collection],
    ids=lambda s: str(s.key),
)
def test_very_long_texts_are_accepted_or_one_short_line(plugins: Plugins, field: Any) -> None:
    for value in ("x" * 10_000, "\n\x1b[31m\0é" * 2000):
        holder: Any = value
        for key in reversed(field.path):
            holder = {key: holder}
        message = complaint(plugins, holder)
        assert len(message) < 1000
        assert message.isprintable()


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))))  # fmt: skip
def test_anything_that_toml_can_hold_is_accepted_or_a_configuration_error(values: Any) -> None:
    assert complaint(Plugins(defaults=False), values).isprintable()


# Files.


def test_a_file_is_toml(plugins: Plugins, tmp_path: Path) -> None:
    settings = from_file(
        plugins, tmp_path / "a.toml", 'listen = "127.0.0.1:1"\n[my_colours]\ncount = 9\n'
    )
    assert (settings.listen, section(settings, Colours).count) == (("127.0.0.1:1",), 9)


def test_a_byte_order_mark_is_passed_over(plugins: Plugins, tmp_path: Path) -> None:
    settings = from_file(plugins, tmp_path / "a.toml", b"\xef\xbb\xbftimeout = 20\n")
    assert settings.timeout == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"timeout = ", r"Invalid value \(at"),
        (b"timeout = 5\ntimeout = 6", "Cannot overwrite"),
        (b"x = " + b"[" * 100_000, "too deeply nested|Invalid|nest"),
        (b"x = " + b"9" * 10_000, "number is too long"),
        (b"#" * (MAX_FILE_SIZE + 1), "longer than 1048576 bytes"),
        (b"\x1f\x8b\x08\0", "not UTF-8"),
    ],
    ids=["encoding", "syntax", "twice", "depth", "digits", "size", "gzip"],
)
def test_a_malformed_file_is_one_line(
    plugins: Plugins, tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        from_file(plugins, tmp_path / "a.toml", content)
    assert "a.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_and_never_waited_for(plugins: Plugins, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    (tmp_path / "folder.toml").mkdir()
    with (tmp_path / "huge.toml").open("wb") as huge:
        huge.truncate(1 << 30)
    for name, message in (
        ("fifo.toml", "not a regular file"),
        ("fifo.lua", "not a regular file|No such file"),
        ("folder.toml", "not a regular file"),
        ("loop.toml", "symbolic links"),
        ("huge.toml", "longer than"),
        ("missing.toml", "No such file"),
        ("missing.lua", "No such file"),
        ("x" * 5000 + ".toml", "too long"),
        ("nul\0.toml", "not a usable path"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read_configuration(tmp_path / name, plugins)


def test_a_format_that_no_plugin_reads_is_refused(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(ConfigurationError, match=r"a\.yaml: unknown format \(\.yaml\)"):
        read_configuration(tmp_path / "a.yaml", plugins)


# The schema.


def test_the_schema_has_every_section_and_the_flat_names_do_not_clash() -> None:
    plugins = Plugins()
    schema = plugins.schema.model.model_json_schema()
    assert set(plugins.schema.section_names) < set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_a_variable_or_flag_claimed_twice_names_both() -> None:
    class Rival(Section):
        """Claims what is taken."""

        x: Annotated[int, Option(("--timeout",))] = 0

    class RivalPlugin:
        @hookimpl
        def config_model(self) -> type[Section]:
            return Rival

    with pytest.raises(
        NeosocksdError, match=r"the core and plugin 'rival_plugin' both .* '--timeout'"
    ):
        _ = Plugins([RivalPlugin]).schema

    class Buffers(Section):
        """Its variable is that of a field of the core."""

        sndbuf: int = 0

    class Tcp:
        @hookimpl
        def config_model(self) -> type[Section]:
            return Buffers

    with pytest.raises(NeosocksdError, match="variable 'NEOSOCKSD_TCP_SNDBUF'"):
        _ = Plugins([Tcp]).schema
