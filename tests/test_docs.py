"""The documentation says what the program does: every block of code in it is run, every setting and every hook described."""

import ast
import inspect
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

import neosocksd_core
from neosocksd_core import hookspecs
from neosocksd_core.configuration import build_settings
from neosocksd_core.invocation import Invocation
from neosocksd_core.plugins import Plugins
from neosocksd_core.selection import selection
from neosocksd_core.server import Server

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCKS = [
    pytest.param(info, code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (info, code) in enumerate(
        re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    )
    if info
]


@pytest.mark.parametrize(("info", "code"), BLOCKS)
def test_a_block_of_code_works(info: str, code: str, tmp_path: Path) -> None:
    if info == "python" and "@hookimpl" in code:
        (tmp_path / "curfew.py").write_text(code)
        server = Server({}, plugins=[str(tmp_path / "curfew.py")])
        assert "curfew" in server.plugins.enabled
    elif info == "python":
        (tmp_path / "block.py").write_text(code)
        subprocess.run(
            [sys.executable, "-W", "error", "block.py"], cwd=tmp_path, check=True, timeout=60
        )
    elif info == "python test":
        (tmp_path / "test_block.py").write_text(code)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
        ]
        ran = subprocess.run(
            [*command, "test_block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert "1 passed" in ran.stdout, ran.stdout
    elif info == "toml":
        values = tomllib.loads(code)
        selection(values, "block")
        build_settings(Plugins(), values, "block")
    elif info == "toml pyproject":
        assert tomllib.loads(code)["project"]["entry-points"]["neosocksd"]
    elif info == "ini":
        units = ConfigParser()
        units.read_string(code)
        program, flag, file = shlex.split(units["Service"]["ExecStart"])
        assert (Path(program).name, flag, Path(file).suffix) == ("neosocksd", "--config", ".toml")
    else:
        assert info == "sh"
        check_commands(code, tmp_path)


def check_commands(code: str, folder: Path) -> None:
    """What is written for a shell exists: flags and files for ``neosocksd``, targets for make."""
    (folder / "neosocksd.toml").write_text("")
    (folder / "curfew.py").write_text(
        "from neosocksd_core import hookimpl\n@hookimpl\ndef create_router(): pass\n"
    )
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in filter(None, code.splitlines()):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert words[0] in targets
            continue
        assert program == "neosocksd"
        paths = [str(folder / w) if w.endswith((".toml", ".py")) else w for w in words]
        invocation = Invocation(paths, {})
        Server(invocation.configure().settings, plugins=invocation.plugins)


def test_every_setting_is_described() -> None:
    nameless = [s.key for s in Plugins().schema.settings if not s.info.description]
    assert not nameless


def test_the_tables_are_those_of_the_models() -> None:
    """If this fails: ``python docs/tables.py``."""
    page = ROOT / "docs" / "configuration.md"
    render = runpy.run_path(str(ROOT / "docs" / "tables.py"))["render"]
    schema = Plugins().schema
    assert page.read_text() == render(page.read_text(), schema)
    for name in ("the core", *schema.sections):
        assert f"<!-- settings of {name} -->" in page.read_text()


HOOKS = [
    node
    for node in ast.parse(inspect.getsource(hookspecs)).body
    if isinstance(node, ast.FunctionDef)
]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_every_hook_is_documented_with_its_signature(hook: ast.FunctionDef) -> None:
    assert hook.returns is not None
    arguments = ast.unparse(hook.args).replace("'", "")
    signature = f"def {hook.name}({arguments}) -> {ast.unparse(hook.returns)}"
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert f"### {hook.name}\n\n`{signature}`\n" in page
    assert ast.get_docstring(hook)
    if isinstance(hook.decorator_list[0], ast.Call):
        section = page.partition(f"### {hook.name}\n")[2].partition("###")[0]
        assert re.search(r"Stops\s+at the first result", section)


def test_every_hook_is_in_the_diagram() -> None:
    diagram = (ROOT / "docs" / "plugins.md").read_text().split("```")[1]
    assert all(hook.name in diagram for hook in HOOKS)


def test_every_public_name_is_there() -> None:
    for name in neosocksd_core.__all__:
        assert getattr(neosocksd_core, name)


def test_what_hooks_answer_with_is_public() -> None:
    named = {
        name
        for hook in HOOKS
        if hook.returns
        for name in re.findall(r"[A-Z]\w+", ast.unparse(hook.returns))
    }
    assert named - {"None", "Mapping", "Sequence", "Any"} <= set(neosocksd_core.__all__)
