"""The page: a few files beside this module, served as they are. They hold no data and no secret."""

from collections.abc import Mapping
from pathlib import Path

_DIRECTORY = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

INDEX = "index.html"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy: nothing from elsewhere, nothing inline."""


def page_files() -> Mapping[str, str]:
    """The media type of each file, by its name."""
    if not _DIRECTORY.is_dir():
        return {}
    files = sorted(_DIRECTORY.iterdir())
    return {file.name: _TYPES[file.suffix] for file in files if file.suffix in _TYPES}


def read_page(name: str) -> bytes:
    """The content of one of :func:`page_files`.

    :raises OSError: if it cannot be read.
    """
    return (_DIRECTORY / name).read_bytes()
