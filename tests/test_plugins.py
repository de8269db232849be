"""Which plugins are known and enabled, and what their hooks may answer."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from neosocksd_core import (
    ConfigurationError,
    ControlConnection,
    Forward,
    PluginError,
    Request,
    Section,
    ServerContext,
    hookimpl,
)
from neosocksd_core.configuration import configure
from neosocksd_core.endpoints import Endpoint, EndpointRequest, EndpointResponse
from neosocksd_core.plugins import Plugins
from neosocksd_core.server import Server
from neosocksd_core.services import ControlListener

BUILT_IN = {"socks5", "http_connect", "forward", "static_auth", "nameserver"}


@pytest.fixture
def server() -> ServerContext:
    return Server({})


class Hooks:
    """A plugin whose hooks answer what the test says."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.plugin_name = str(answers.get("name", "hooks"))

    def _answer(self, hook: str) -> Any:
        answer = self.answers.get(hook)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @hookimpl
    def config_model(self) -> Any:
        return self._answer("config_model")

    @hookimpl
    def load_config(self, path: Path) -> Any:
        return self._answer("load_config") if path.suffix == ".conf" else None

    @hookimpl
    def register_dialers(self) -> Any:
        return self._answer("register_dialers")

    @hookimpl
    def register_frontends(self, server: ServerContext) -> Any:
        return self._answer("register_frontends")

    @hookimpl
    def create_router(self) -> Any:
        return self._answer("create_router")

    @hookimpl
    def create_resolver(self) -> Any:
        return self._answer("create_resolver")

    @hookimpl
    def create_authenticator(self) -> Any:
        return self._answer("create_authenticator")

    @hookimpl
    def check_settings(self) -> None:
        self._answer("check_settings")

    @hookimpl
    def register_control_listeners(self) -> Any:
        return self._answer("register_control_listeners")

    @hookimpl
    def register_observers(self) -> Any:
        return self._answer("register_observers")

    @hookimpl
    def register_endpoints(self) -> Any:
        return self._answer("register_endpoints")

    @hookimpl
    def register_services(self) -> Any:
        return self._answer("register_services")

    @hookimpl
    def register_guarded_addresses(self) -> Any:
        return self._answer("register_guarded_addresses")

    @hookimpl
    def reload(self) -> None:
        self._answer("reload")

    @hookimpl
    def report_stats(self, interval: float, query: str) -> Any:
        return self._answer("report_stats")

    @hookimpl
    def check_health(self) -> Any:
        return self._answer("check_health")


class Silent:
    """A plugin with a hook that says nothing."""

    plugin_name = "silent"

    @hookimpl
    def create_router(self) -> None:
        return None


def bare(*extra: object) -> Plugins:
    """Plugins without the built-in ones enabled."""
    return Plugins(extra, defaults=False)


def write_distribution(folder: Path, name: str, entries: Mapping[str, str], code: str) -> None:
    """Make *folder* look as pip leaves it after installing a distribution of one module."""
    module = next(iter(entries.values())).partition(":")[0]
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    lines = [f"{key} = {value}" for key, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[neosocksd]", *lines, ""]))


SHINY = """
from neosocksd_core import Section, hookimpl

class Settings(Section):
    colour: str = "red"

class Shiny:
    @hookimpl
    def config_model(self):
        return Settings
"""


@pytest.fixture
def shiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed third-party plugin ``shiny``, whose module is named after the test's folder."""
    module = f"shiny_{abs(hash(tmp_path))}"
    write_distribution(tmp_path, "shiny-things", {"shiny": f"{module}:Shiny"}, SHINY)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return module


# Which there are.


def test_the_built_in_plugins_are_enabled() -> None:
    plugins = Plugins()
    assert plugins.enabled == BUILT_IN
    assert {(i.origin, i.version) for i in plugins.describe() if i.name in BUILT_IN} == {
        ("neosocksd", "0.1.0")
    }


def test_an_unknown_plugin_is_an_error_that_lists_the_installed_ones() -> None:
    with pytest.raises(PluginError, match=r"no plugin 'nix' \(installed: .*forward.*socks5"):
        Plugins(["nix"])
    with pytest.raises(PluginError, match="no plugin 'nix'"):
        Plugins().disable("nix")


def test_a_third_party_plugin_is_not_imported_before_it_is_enabled(shiny: str) -> None:
    plugins = Plugins()
    [info] = [i for i in plugins.describe() if i.name == "shiny"]
    assert (info.version, info.origin, info.enabled, info.hooks) == (
        "1.5",
        "shiny-things",
        False,
        (),
    )
    assert shiny not in sys.modules
    assert plugins.enable("shiny") == "shiny"
    assert shiny in sys.modules
    assert "shiny" in plugins.enabled
    assert "shiny" in plugins.schema.sections
    [info] = [i for i in plugins.describe() if i.name == "shiny"]
    assert info.hooks == ("config_model",)


def test_settings_of_a_plugin_that_is_not_enabled_say_so(shiny: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^shiny: plugin 'shiny' is not enabled$"):
        configure({"shiny": {"colour": "blue"}})
    _, plugins = configure({"shiny": {"colour": "blue"}, "no_plugins": ["shiny"]})
    assert "shiny" not in plugins.enabled
    assert shiny not in sys.modules


def test_a_plugin_that_fails_to_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(
        tmp_path, "broken-one", {"broken": "broken_one"}, "import no_such_module_here"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(PluginError, match=r"'broken' \(broken-one 1.5\).*no_such_module_here"):
        Plugins(["broken"])


def test_a_plugin_that_exits_at_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "leaver.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(PluginError, match=r"'leaver'.*SystemExit: 3"):
        Plugins([str(tmp_path / "leaver.py")])


def test_two_distributions_with_one_plugin_name_are_both_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        write_distribution(tmp_path, f"rival-{number}", {"rival": f"rival_{number}"}, "")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(PluginError, match=r"'rival' is offered.*rival-1.*rival-2|rival-2.*rival-1"):
        Plugins(["rival"])
    assert Plugins().enabled == BUILT_IN


def test_a_single_file_is_a_plugin_named_by_its_stem(tmp_path: Path) -> None:
    file = tmp_path / "one-file.py"
    file.write_text(
        "from neosocksd_core import hookimpl\n__version__ = '3'\n"
        "@hookimpl\ndef create_router():\n    return None\n"
    )
    plugins = Plugins([str(file), str(file)])
    [info] = [i for i in plugins.describe() if i.name == "one-file"]
    assert (info.version, info.origin, info.enabled) == ("3", str(file), True)


def test_each_server_loads_a_module_of_its_own_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "counter.py"
    file.write_text(
        "from neosocksd_core import hookimpl\ncalls = []\n"
        "@hookimpl\ndef report_stats():\n    calls.append(1)\n    return str(len(calls))\n"
    )
    first, second = Server({}, plugins=[str(file)]), Server({}, plugins=[str(file)])
    assert first.plugins.report_stats(first, 0.0, "") == ["1"]
    assert second.plugins.report_stats(second, 0.0, "") == ["1"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", None, "no such file"),
        ("b.py", "def (", "SyntaxError"),
        ("c.py", "x = 1", "implements no hook"),
        ("2nd.py", "", "not a plugin's name"),
        (
            "d.py",
            "from neosocksd_core import hookimpl\n@hookimpl\ndef create_ruter(): pass",
            r"no hook 'create_ruter' \(did you mean 'create_router'\?\)",
        ),
        (
            "e.py",
            "from neosocksd_core import hookimpl\n@hookimpl\nasync def create_router(): pass",
            "must not be async",
        ),
        (
            "f.py",
            "from neosocksd_core import hookimpl\n@hookimpl(wrapper=True)\ndef create_router(): yield",
            "must not be a wrapper",
        ),
        (
            "g.py",
            "from neosocksd_core import hookimpl\n@hookimpl\ndef create_router(srv): pass",
            "srv",
        ),
    ],
)
def test_a_file_that_is_no_good_plugin_is_named(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(PluginError, match=message) as caught:
        Plugins([str(tmp_path / name)])
    assert Path(name).stem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_is_instantiated_once_a_server() -> None:
    made: list[object] = []

    class Counting:
        def __init__(self) -> None:
            made.append(self)

        @hookimpl
        def create_router(self) -> None:
            return None

    plugins = Plugins([Counting, Counting])
    assert len(made) == 1
    assert "counting" in plugins.enabled
    Plugins([Counting])
    assert len(made) == 2


def test_a_module_that_a_program_passes_is_known_by_its_plugins_name() -> None:
    module = ModuleType("neosocksd_tiny")
    setattr(module, "create_router", hookimpl(lambda: None))  # noqa: B010
    assert "tiny" in Plugins([module]).enabled


def test_passing_a_built_in_plugins_module_is_no_second_plugin() -> None:
    import neosocksd_socks5

    assert Plugins([neosocksd_socks5]).enabled == BUILT_IN


def test_two_plugins_of_one_name_are_an_error() -> None:
    with pytest.raises(PluginError, match="two plugins are named 'hooks'"):
        bare(Hooks(), Hooks())


def test_disabling_has_the_last_word_over_settings() -> None:
    plugins = Plugins()
    plugins.disable("socks5")
    plugins.want("socks5")
    assert "socks5" not in plugins.enabled
    plugins.enable("socks5")
    assert "socks5" in plugins.enabled


def test_a_known_plugin_is_enabled_by_a_setting_of_its() -> None:
    plugins = bare()
    assert plugins.enabled == frozenset()
    configure({"http_listen": "127.0.0.1:0"}, plugins)
    assert plugins.enabled == {"http_connect"}


# What hooks may answer.


class Machine:
    """Has the shape of a frontend and of a dialer."""

    listen = ()
    claim = 0
    first_bytes = ()
    default_port = 1

    def __init__(self, name: str = "machine") -> None:
        self.name = name

    def handshake(self, *_: object) -> Any:
        return None


async def answer(_: EndpointRequest) -> EndpointResponse:
    return EndpointResponse()


async def serve(_: ControlConnection) -> None: ...


ENDPOINT = Endpoint("/x", frozenset({"GET"}), answer)

CALLS: Mapping[str, str] = {
    "register_dialers": "dialers",
    "register_frontends": "frontends",
    "create_resolver": "create_resolver",
    "create_authenticator": "create_authenticator",
    "create_router": "create_router",
    "check_settings": "check_settings",
    "register_observers": "observers",
    "register_endpoints": "endpoints",
    "register_services": "services",
    "register_guarded_addresses": "guarded_addresses",
}


class Late:
    """Has coroutine functions where nobody would await them."""

    name = "late"
    listen = ()
    claim = 0
    first_bytes = ()
    default_port = 1

    async def handshake(self, *_: object) -> None: ...
    async def session_opened(self, _: object) -> None: ...
    def session_closed(self, _: object) -> None: ...


class Direct:
    def route(self, request: Request) -> Forward:
        return Forward(request.target)


WRONG: Mapping[str, Sequence[object]] = {
    "register_dialers": [5, ["socks"], {"socks": object()}, {"socks": Machine}, {"x": Late()}],
    "register_frontends": [5, "socks", [object()], {"socks": Machine()}, [Machine], [Late()]],
    "create_resolver": [5],
    "create_authenticator": [object()],
    "create_router": ["direct", Direct],
    "register_observers": [5, [object()], [Late], [Late()]],
    "register_endpoints": ["/x", ["/x"]],
    "register_services": [[print]],
    "register_guarded_addresses": [
        ["127.0.0.1:80"],
        [("127.0.0.1",)],
        [("a", "b")],
        [("localhost", 80)],
    ],
}


@pytest.mark.parametrize(
    ("hook", "wrong"), [(hook, wrong) for hook, values in WRONG.items() for wrong in values]
)
def test_a_hook_that_answers_with_a_wrong_type_is_named(
    hook: str, wrong: object, server: ServerContext
) -> None:
    plugins = bare(Hooks(**{hook: wrong}))
    with pytest.raises(PluginError, match=f"plugin 'hooks': {hook} gave "):
        getattr(plugins, CALLS[hook])(server)


@pytest.mark.parametrize("hook", CALLS)
def test_a_hook_that_raises_is_named(hook: str, server: ServerContext) -> None:
    plugins = bare(Hooks(**{hook: RuntimeError("no\nluck")}))
    with pytest.raises(PluginError, match=f"^plugin 'hooks': {hook} failed: RuntimeError: no$"):
        getattr(plugins, CALLS[hook])(server)


@pytest.mark.parametrize("hook", CALLS)
def test_errors_of_ours_pass_a_hook_unchanged(hook: str, server: ServerContext) -> None:
    plugins = bare(Hooks(**{hook: ConfigurationError("hooks.key: is wrong")}))
    with pytest.raises(ConfigurationError, match=r"^hooks\.key: is wrong$"):
        getattr(plugins, CALLS[hook])(server)


@pytest.mark.parametrize("hook", CALLS)
def test_a_disabled_plugin_is_not_asked(hook: str, server: ServerContext) -> None:
    plugins = bare(Hooks(**{hook: RuntimeError("asked")}))
    plugins.disable("hooks")
    assert not getattr(plugins, CALLS[hook])(server)


NO_NAME: Any = []


class Listening(Machine):
    def __init__(self, listen: Any) -> None:
        super().__init__()
        self.listen = listen


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("create_router", Direct, "create_router gave the class Direct, expected an object of it"),
        ("register_observers", [Late()], "gave Late, whose session_opened must not be async"),
        ("register_dialers", {"my scheme": Machine()}, "'my scheme' is not a URI scheme"),
        ("register_dialers", {"x://": Machine()}, "'x://' is not a URI scheme"),
        ("register_dialers", {5: Machine()}, "5 is not a URI scheme"),
        ("register_frontends", [Listening("127.0.0.1:1")], "listen of 'machine' is str, expected a list"),
        ("register_frontends", [Listening([1080])], "listen of 'machine' has int, expected texts"),
        ("register_frontends", [Listening(["x"])], "listen of 'machine': no port in 'x'"),
        ("register_frontends", [Listening(["unix:"])], "listen of 'machine': a Unix socket needs a path"),
        ("register_frontends", [Machine(NO_NAME)], "a name in register_frontends is list, expected a text"),
        ("register_control_listeners", [ControlListener("c", ("x",), serve)], "listen of 'c': no port in 'x'"),
        ("register_control_listeners", [ControlListener("c", ("unix:a\0b",), serve)], "listen of 'c': a Unix socket needs a path"),
        ("register_control_listeners", [ControlListener(NO_NAME, (), serve)], "a name in register_control_listeners is list, expected a text"),
    ],
)  # fmt: skip
def test_what_a_plugin_gave_and_cannot_be_used_is_named(
    hook: str, value: object, message: str
) -> None:
    with pytest.raises(PluginError, match=re.escape("plugin 'hooks': ")) as caught:
        Server({}, plugins=[Hooks(**{hook: value})])
    assert message in str(caught.value)


@pytest.mark.parametrize("port", ["1080", None, -1, 65536])
def test_a_dialers_default_port_is_a_port(port: Any) -> None:
    dialer = Machine()
    dialer.default_port = port
    with pytest.raises(PluginError, match=f"plugin 'hooks': the default port of x:// is {port!r}"):
        Server({}, plugins=[Hooks(register_dialers={"x": dialer})])


def test_what_the_hooks_gave_last_is_known_to_be_their_plugins(server: ServerContext) -> None:
    first, second, router = Machine(), Machine(), Direct()
    hooks = Hooks(register_frontends=[first], register_dialers={"m": first}, create_router=router)
    plugins = bare(hooks)
    plugins.frontends(server)
    plugins.dialers(server)
    plugins.create_router(server)
    assert [plugins.giver_of(thing) for thing in (first, router)] == ["hooks", "hooks"]
    assert [plugins.giver_of(thing) for thing in (second, None)] == [None, None]


@pytest.mark.parametrize(
    ("hook", "value", "claim"),
    [
        ("register_dialers", {"Socks9": Machine()}, "URI scheme 'socks9'"),
        ("register_frontends", [Machine()], "frontend 'machine'"),
        ("register_endpoints", [ENDPOINT], "endpoint '/x'"),
    ],
)
def test_two_plugins_with_one_claim_are_both_named(
    hook: str, value: object, claim: str, server: ServerContext
) -> None:
    plugins = bare(Hooks(name="one", **{hook: value}), Hooks(name="two", **{hook: value}))
    with pytest.raises(PluginError, match=f"'two' and 'one' both claim the {claim}"):
        getattr(plugins, CALLS[hook])(server)
    plugins.disable("two")
    assert getattr(plugins, CALLS[hook])(server)


def test_one_frontend_name_twice_in_one_plugin_is_an_error(server: ServerContext) -> None:
    plugins = bare(Hooks(register_frontends=[Machine(), Machine()]))
    with pytest.raises(PluginError, match="plugin 'hooks' claims the frontend 'machine' twice"):
        plugins.frontends(server)


@pytest.mark.parametrize(
    ("path", "methods", "message"),
    [
        ("x", frozenset({"GET"}), "the path 'x' does not begin with a slash"),
        ("/x", ["GET"], "the methods of /x are no frozenset"),
        ("/x", "GET", "the methods of /x are no frozenset"),
        ("/x", frozenset({"get"}), "the methods of /x are no frozenset of names as GET"),
    ],
)
def test_an_endpoint_that_nobody_can_call_is_refused(path: str, methods: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Endpoint(path, methods, answer)


def test_the_plugin_that_was_enabled_last_is_asked_first(server: ServerContext) -> None:
    class Router:
        def route(self, request: object) -> Any:
            return None

    first, second = Router(), Router()
    plugins = bare(
        Hooks(name="one", create_router=first), Hooks(name="two", create_router=second), Silent
    )
    assert plugins.create_router(server) is second
    plugins.disable("two")
    assert plugins.create_router(server) is first


def test_a_settings_model_is_a_section() -> None:
    with pytest.raises(
        PluginError, match="plugin 'hooks': config_model gave type, expected a Sect"
    ):
        _ = bare(Hooks(config_model=dict)).schema


@pytest.mark.parametrize("name", ["timeout", "plugins", "no-plugins", "model_dump", "copy"])
def test_a_plugin_named_as_a_setting_is_an_error(name: str) -> None:
    class Model(Section):
        """Empty."""

    with pytest.raises(PluginError, match="its name is a setting of the core"):
        _ = bare(Hooks(name=name, config_model=Model)).schema


def test_what_a_plugin_reads_from_a_file_enables_it() -> None:
    plugins = bare(Hooks(load_config={"timeout": 7}))
    plugins._enabled.clear()  # pyright: ignore[reportPrivateUsage]
    assert plugins.load_config(Path("x.other")) is None
    assert plugins.load_config(Path("x.conf")) == {"timeout": 7}
    assert plugins.enabled == {"hooks"}


# While a server runs.


@pytest.mark.logs_error("report_stats failed", "report_stats gave int")
def test_a_failing_report_is_logged_and_the_others_are_asked(
    server: ServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = bare(
        Hooks(name="good", report_stats="fine"),
        Hooks(name="bad", report_stats=ValueError("oops")),
        Hooks(name="ugly", report_stats=5),
    )
    with caplog.at_level(logging.ERROR, "neosocksd"):
        assert plugins.report_stats(server, 1.0, "") == ["fine"]
    assert "plugin bad: report_stats failed: ValueError: oops" in caplog.text
    assert "plugin ugly: report_stats gave int" in caplog.text


@pytest.mark.logs_error("check_health failed")
def test_a_health_check_that_fails_is_not_healthy(
    server: ServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = bare(Hooks(name="bad", check_health=ValueError("oops")), Hooks(name="good"))
    with caplog.at_level(logging.ERROR, "neosocksd"):
        assert plugins.check_health(server) == ["the health check of plugin 'bad' failed"]
    assert bare(Hooks(check_health="no upstream")).check_health(server) == ["no upstream"]


@pytest.mark.logs_error("reload failed")
def test_a_failing_reload_names_the_plugin_and_going_back_goes_on_regardless(
    server: ServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = bare(Hooks(name="bad", reload=ValueError("oops")))
    with pytest.raises(PluginError, match="'bad': reload failed: ValueError: oops"):
        plugins.reload(server)
    with caplog.at_level(logging.ERROR, "neosocksd"):
        plugins.reload_again(server, PluginError("no"))
    assert "plugin bad: reload failed: ValueError: oops" in caplog.text


def test_what_refuses_a_reload_is_not_logged_again_on_the_way_back(
    server: ServerContext, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = bare(Hooks(reload=ConfigurationError("users: broken")))
    with pytest.raises(ConfigurationError) as caught:
        plugins.reload(server)
    plugins.reload_again(server, caught.value)
    assert caplog.messages == []
