"""The pytest plugin: fixtures for servers and peers, and the leak check.

====================  ==========================================================================================================
``backend``           the name of an event loop; a test that asks for it runs once under each that is installed
``serve``             starts servers, stops them after the test: ``serve(settings, plugins=…, router=…)``, see
                      :class:`~neosocksd_core.testing.running.RunningServer`. In a test with ``backend`` they run under that
``echo``              an :class:`~neosocksd_core.testing.peers.EchoServer`
``leak_check``        fails a test that leaves something behind, see :mod:`neosocksd_core.testing.leaks`. To have it for every test,
                      put ``pytestmark = pytest.mark.usefixtures("leak_check")`` in a module, or an autouse fixture that asks for it in a
                      ``conftest.py``
====================  ==========================================================================================================

A test that provokes an error in the log names it: ``@pytest.mark.logs_error("router raised")``.
"""

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

# The rest is imported where it is used: this module is loaded wherever neosocksd is installed, be the kit used or not.
if TYPE_CHECKING:
    from neosocksd_core.testing.peers import EchoServer
    from neosocksd_core.testing.running import Backend, Serve

_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "logs_error(*texts): the test makes the server log errors, and each of the texts is in one of them",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture
def leak_check(request: pytest.FixtureRequest) -> Generator[None]:
    """Fail the test if it leaves descriptors, threads or children behind, or if something failed unseen."""
    from neosocksd_core.testing.leaks import LeakCheck

    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]
    texts = [text for mark in node.iter_markers("logs_error") for text in mark.args]
    with LeakCheck(texts) as check:
        yield
        if node.stash.get(_FAILED, False):
            return  # its traceback keeps things alive, and there is one failure to look at already
        found = check.check()
    if found:
        pytest.fail("the test leaves something behind:\n" + "\n".join(found), pytrace=False)


@pytest.fixture(params=["auto", "asyncio", "uvloop", "trio"])
def backend(request: pytest.FixtureRequest) -> "Backend":
    """The name of an event loop."""
    from neosocksd_core.testing.running import is_available

    name = cast("Backend", request.param)
    if not is_available(name):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> "Generator[Serve]":
    """Start servers; they are stopped after the test."""
    from neosocksd_core.testing.running import RunningServer

    with ExitStack() as servers:

        def start(settings: Any = None, **options: Any) -> RunningServer:
            if "backend" in request.fixturenames:
                options.setdefault("backend", request.getfixturevalue("backend"))
            return servers.enter_context(RunningServer(settings, **options))

        yield start


@pytest.fixture
def echo() -> "Generator[EchoServer]":
    """A server that sends back what it gets."""
    from neosocksd_core.testing.peers import EchoServer

    with EchoServer() as server:
        yield server
