"""What is known of a plugin, loaded or not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One row of ``neosocksd plugins``. ``hooks`` are those that it implements, empty where it is not loaded."""

    name: str
    version: str
    origin: str
    enabled: bool
    hooks: tuple[str, ...]
