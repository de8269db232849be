"""The root's manifest and those of the plugins say the same."""

import tomllib
from pathlib import Path
from typing import Any

from neosocksd_core.discovery import DEFAULT_PLUGINS

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(p.parent for p in (ROOT / "plugins").glob("*/pyproject.toml"))


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def test_the_roots_entry_points_are_the_union_of_the_plugins() -> None:
    union: dict[str, str] = {}
    for folder in FOLDERS:
        entries: dict[str, str] = manifest(folder)["project"]["entry-points"]["neosocksd"]
        assert list(entries) == [folder.name]
        union |= entries
    assert manifest(ROOT)["project"]["entry-points"]["neosocksd"] == union


def test_every_plugin_folder_is_packaged_and_type_checked() -> None:
    root = manifest(ROOT)
    packages = {f"plugins/{f.name}/neosocksd_{f.name}" for f in FOLDERS}
    listed: list[str] = root["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(listed) == packages | {"neosocksd_core", "neosocksd_http1"}
    paths = {f"plugins/{f.name}" for f in FOLDERS} | {".", "examples/third_party"}
    assert set(root["tool"]["mypy"]["mypy_path"]) == paths
    assert set(root["tool"]["pyright"]["extraPaths"]) == paths


def test_every_plugin_folder_has_the_same_shape() -> None:
    assert FOLDERS
    for folder in (p for p in (ROOT / "plugins").iterdir() if p.is_dir()):
        package = folder / f"neosocksd_{folder.name}"
        assert folder in FOLDERS
        assert (package / "__init__.py").is_file()
        assert (package / "py.typed").is_file()
        assert (folder / "README.md").is_file()
        assert list((folder / "tests").glob("test_*.py"))
        assert not (folder / "__init__.py").exists()
        assert "Private :: Do Not Upload" in manifest(folder)["project"]["classifiers"]


def test_the_plugins_versions_are_the_roots() -> None:
    version = manifest(ROOT)["project"]["version"]
    assert {manifest(folder)["project"]["version"] for folder in FOLDERS} == {version}


def test_the_default_plugins_are_built_in() -> None:
    assert set(manifest(ROOT)["project"]["entry-points"]["neosocksd"]) >= DEFAULT_PLUGINS


def test_test_files_have_unique_names() -> None:
    names = [p.name for p in ROOT.glob("**/tests/**/test_*.py") if ".venv" not in str(p)]
    assert len(names) == len(set(names))


def test_nothing_but_the_core_is_imported_by_the_core() -> None:
    """The core knows no plugin, and no plugin knows another."""
    for source in (ROOT / "neosocksd_core").rglob("*.py"):
        assert "import neosocksd_" not in source.read_text().replace("import neosocksd_core", "")
    for folder in FOLDERS:
        others = [f"neosocksd_{f.name}" for f in FOLDERS if f != folder]
        for source in (folder / f"neosocksd_{folder.name}").rglob("*.py"):
            text = source.read_text()
            assert not [o for o in others if f"import {o}" in text or f"from {o}" in text]
