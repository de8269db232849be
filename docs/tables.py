"""Writes the tables of docs/configuration.md from the settings models: ``python docs/tables.py``.

A table stands between ``<!-- settings of NAME -->`` and ``<!-- end -->``, where NAME is ``the core`` or a plugin's. A test fails where the file is not what
this would write.
"""

import re
from pathlib import Path

from neosocksd_core.plugins import Plugins
from neosocksd_core.schema import Schema, Setting

FILE = Path(__file__).with_name("configuration.md")

_TABLE = re.compile(r"(<!-- settings of ([a-z0-9_ -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str, schema: Schema) -> str:
    """*text* with every table as the models have it."""

    def replace(match: re.Match[str]) -> str:
        name = match[2]
        plugin = None if name == "the core" else name
        rows = [_row(s) for s in schema.settings if s.plugin == plugin and not s.option.hidden]
        head = "| key | flag | variable | default | meaning |\n|---|---|---|---|---|\n"
        return match[1] + head + "".join(rows) + match[3]

    return _TABLE.sub(replace, text)


def _row(setting: Setting) -> str:
    option = setting.option
    keys = [setting.key] if option.flat is None else [option.flat, setting.key]
    flags = [*(option.values or ()), *setting.flags]
    if setting.is_switch and flags:
        flags.append(f"--no-{setting.flags[-1].removeprefix('--')}")
    default = setting.info.get_default(call_default_factory=True, validated_data={})
    shown = "" if default in ("", (), {}, None) else f"`{_toml(default)}`"
    meaning = (setting.info.description or "").replace("|", "\\|")
    cells = (_code(keys), _code(flags), _code(setting.variables), shown, meaning)
    return "| " + " | ".join(cells) + " |\n"


def _code(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


if __name__ == "__main__":
    FILE.write_text(render(FILE.read_text(), Plugins().schema))
