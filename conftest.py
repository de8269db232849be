"""For all tests, those of the plugins too: the testing kit's fixtures, and its leak check around every test."""

import signal
from importlib.metadata import entry_points

import pytest

_KIT = "neosocksd_core.testing.pytest_plugin"

# Where neosocksd is installed, pytest has found it already.
if not any(found.value == _KIT for found in entry_points(group="pytest11")):
    pytest_plugins = [_KIT]

# A shell that starts a job in the background has it ignore Control-C, and so would every program that is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(leak_check: None) -> None:
    """Around every test."""
