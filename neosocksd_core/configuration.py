"""From files, environment variables, flags and programs to one validated :class:`~neosocksd_core.settings.Settings`.

Each source becomes a *layer*: values by their path in the settings, each with the name under which its user knows it.
Layers are merged (a program's or file's first, the environment over it, flags over both) and validated as a whole, so that an error can name
the very key, variable or flag that is to blame. Messages are one line, and never show a value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from neosocksd_core.errors import ConfigurationError
from neosocksd_core.plugins import Plugins
from neosocksd_core.schema import PREFIX, Path, Schema, Setting
from neosocksd_core.selection import (
    SELECTION_KEYS,
    SELECTION_VARIABLES,
    key_origin,
    select,
    selection,
)
from neosocksd_core.settings import Section, Settings

SectionT = TypeVar("SectionT", bound=Section)

SMALL_BUFFER = 16384
"""Socket buffers below this many bytes are warned of."""

_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and what its user calls it (``socks.toml: timeout``, ``--timeout``).

    Where ``is_text`` is set it came as a text, so that pydantic may convert it; elsewhere a text is no number.
    """

    value: Any
    origin: str
    is_text: bool = False


Layer = Mapping[Path, Given]
"""The values of one source, by their place in the settings."""


def configure(
    settings: Settings | Mapping[str, Any], plugins: Plugins | Iterable[object] = ()
) -> tuple[Settings, Plugins]:
    """Make a program's settings and plugins ready for a server.

    *settings* is shaped like the configuration file: the core's fields at the top, a plugin's in a mapping (or a
    :class:`~neosocksd_core.settings.Section`) under its name, or under its flat name; ``plugins`` and ``no_plugins`` name further plugins and unwanted
    ones. *plugins* are plugins beside the default ones: names, paths, modules, objects or classes.

    :raises ConfigurationError: naming the key that is wrong.
    :raises PluginError: naming the plugin that is.
    """
    if not isinstance(plugins, Plugins):
        plugins = Plugins(plugins)
    if not isinstance(settings, Settings):
        select(plugins, selection(settings))
    layer = layer_of(plugins, settings)
    want_configured(plugins, layer)
    return merge(plugins, (layer,)), plugins


def build_settings(
    plugins: Plugins, values: Settings | Mapping[str, Any], source: str = ""
) -> Settings:
    """Validate *values*, which are shaped as for :func:`configure`; *source* stands before the key in errors.

    Which plugins are enabled is left as it is: ``plugins`` and ``no_plugins`` are skipped.

    :raises ConfigurationError: naming the key that is wrong.
    """
    return merge(plugins, (layer_of(plugins, values, source),))


def section(settings: Settings, model: type[SectionT]) -> SectionT:
    """A plugin's section of *settings*, by its model.

    :raises ConfigurationError: if there is none, since the plugin is not loaded.
    """
    found: SectionT = getattr(settings, _name_of_section(type(settings), model))
    return found


@lru_cache(maxsize=256)
def _name_of_section(settings: type[Settings], model: type[Section]) -> str:
    """The key of a section; frontends ask for their own at each connection."""
    for name, info in settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, model):
            return name
    raise ConfigurationError(f"there is no section {model.__name__} in these settings")


def want_configured(plugins: Plugins, layer: Layer) -> None:
    """Enable the known plugins that *layer* has settings for, so that a flag of a plugin is enough to switch it on."""
    for path in layer:
        if len(path) > 1:
            plugins.want(plugins.schema.section_names[path[0]])


def layer_of(
    plugins: Plugins,
    values: Settings | Mapping[str, Any],
    source: str = "",
    unknown: list[str] | None = None,
) -> dict[Path, Given]:
    """The layer of a file or of a program. Where *unknown* is a list, unknown keys are named there instead of raised.

    :raises ConfigurationError: for a key that is unknown, or given twice under two names.
    """
    schema = plugins.schema
    if isinstance(values, Settings):
        values = {name: getattr(values, name) for name in values.model_fields_set}
    layer: dict[Path, Given] = {}
    for key, value in values.items():
        if key in SELECTION_KEYS:
            continue
        owner = schema.section_names.get(key)
        if isinstance(value, Section):
            value = {name: getattr(value, name) for name in value.model_fields_set}
        if owner is not None and isinstance(value, Mapping):
            for name, inner in cast("Mapping[str, Any]", value).items():
                setting = schema.by_path.get((key, name))
                if setting is None:
                    raise _unknown_key(
                        source,
                        f"{key}.{name}",
                        [s.key for s in schema.settings if s.plugin == owner],
                    )
                _put(layer, setting, inner, key_origin(source, f"{key}.{name}"))
        elif key in schema.flat:
            _put(layer, schema.flat[key], value, key_origin(source, key))
        elif owner is not None:
            raise ConfigurationError(f"{key_origin(source, key)}: expected a table")
        elif _belongs_to_refused(plugins, key, value):
            pass
        elif unknown is not None:
            unknown.append(f"{key_origin(source, key)}: unknown field")
        else:
            raise _unknown_key(source, key, [*schema.flat, *schema.section_names], plugins)
    return layer


def environment_layer(
    schema: Schema, environ: Mapping[str, str]
) -> tuple[dict[Path, Given], list[str]]:
    """The layer of the ``NEOSOCKSD_…`` variables, and warnings about unknown ones. An empty variable counts as not set."""
    layer: dict[Path, Given] = {}
    warnings: list[str] = []
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or not text or variable in SELECTION_VARIABLES:
            continue
        setting = schema.variables.get(variable)
        if setting is None:
            warnings.append(f"unknown environment variable {_short(variable)}")
        else:
            _put(layer, setting, setting.from_text(text), variable, is_text=True)
    return layer, warnings


def merge(plugins: Plugins, layers: Sequence[Layer]) -> Settings:
    """Merge *layers*, the later over the earlier, and validate the result.

    :raises ConfigurationError: for the first value that is wrong.
    """
    schema = plugins.schema
    given: dict[Path, Given] = {}
    for layer in layers:
        given.update(layer)
    values: dict[str, Any] = {name: {} for name in schema.section_names}
    for path, item in given.items():
        holder = values if len(path) == 1 else values[path[0]]
        holder[path[-1]] = item.value
        if not item.is_text:
            _check_kind(item, schema.by_path[path])
    try:
        return schema.model.model_validate(values)
    except ValidationError as error:
        raise _translate(error, given) from None


def warnings_about_disabled(plugins: Plugins, layer: Layer) -> list[str]:
    """Settings that were given for a plugin that is left out by name."""
    names = plugins.schema.section_names
    return [
        f"{item.origin}: plugin {names[path[0]]!r} is disabled"
        for path, item in layer.items()
        if len(path) > 1 and plugins.is_refused(names[path[0]])
    ]


def warnings_about(settings: Settings) -> list[str]:
    """What is allowed, but probably not meant."""
    return [
        f"{name} is below {SMALL_BUFFER} bytes, transfers will be slow"
        for name in ("tcp_sndbuf", "tcp_rcvbuf")
        if 0 < getattr(settings, name) < SMALL_BUFFER
    ]


def _put(
    layer: dict[Path, Given], setting: Setting, value: Any, origin: str, *, is_text: bool = False
) -> None:
    other = layer.get(setting.path)
    if other is not None:
        raise ConfigurationError(f"{origin}: is the same setting as {other.origin}")
    layer[setting.path] = Given(value, origin, is_text)


def _check_kind(item: Given, setting: Setting) -> None:
    """Refuse what pydantic would convert for a plain field: a text for a number, a number for a switch."""
    if setting.kind is bool:
        if not isinstance(item.value, bool):
            raise ConfigurationError(f"{item.origin}: expected true or false")
    elif setting.kind in (int, float) and isinstance(item.value, bool | str | bytes):
        raise ConfigurationError(f"{item.origin}: expected a number")


def _translate(error: ValidationError, given: Mapping[Path, Given]) -> ConfigurationError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    location = tuple(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("a valid tuple", "a string or a list")
    message = message.replace("valid dictionary", "table")
    for length in (2, 1):
        item = given.get(location[:length])
        if item is not None:
            inner = ".".join(location[length:])
            where = f"{item.origin}.{inner}" if inner else item.origin
            return ConfigurationError(f"{_short(where)}: {_short(message)}")
    # A validator of the whole model: name the values that its message speaks of.
    named = set(re.findall(r"\w+", message))
    origins = dict.fromkeys(item.origin for path, item in given.items() if path[-1] in named)
    where = ", ".join(origins) or ".".join(location)
    return ConfigurationError(f"{_short(where)}: {_short(message)}" if where else _short(message))


def _unknown_key(
    source: str, key: str, known: Iterable[str], plugins: Plugins | None = None
) -> ConfigurationError:
    where = _short(key_origin(source, key))
    if plugins is not None:
        name = next((n for n in (key, key.replace("_", "-")) if plugins.is_installed(n)), None)
        if name is not None and not plugins.is_known(name):
            return ConfigurationError(f"{where}: plugin {name!r} is not enabled")
        if name is not None:
            return ConfigurationError(f"{where}: plugin {name!r} has no settings")
    import difflib  # here, since every start would pay for it

    near = difflib.get_close_matches(key[:100], list(known), 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigurationError(f"{where}: unknown key{hint}")


def _belongs_to_refused(plugins: Plugins, key: str, value: object) -> bool:
    """Whether this is the table of a plugin that was disabled, and therefore never loaded."""
    return isinstance(value, Mapping) and (
        plugins.is_refused(key) or plugins.is_refused(key.replace("_", "-"))
    )


def _short(text: str) -> str:
    """*text* fit for one line of a message."""
    line = text.encode("ascii", "backslashreplace").decode()
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "..."
