"""For all tests, those of the plugins too: the testing kit's fixtures, and its leak check around every test."""

from importlib.metadata import entry_points

import pytest

_KIT = "neosocksd_core.testing.pytest_plugin"

# Where neosocksd is installed, pytest has found it already.
if not any(found.value == _KIT for found in entry_points(group="pytest11")):
    pytest_plugins = [_KIT]


@pytest.fixture(autouse=True)
def leaves_nothing_behind(leak_check: None) -> None:
    """Around every test."""
