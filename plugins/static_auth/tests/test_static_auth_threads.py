"""A call in a thread of its own: what comes of it, and what is left of it."""

import threading

import anyio
import anyio.to_thread
import pytest

from neosocksd_static_auth.threads import call_apart

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_its_result_is_given_and_its_error_raised() -> None:
    here = threading.current_thread()
    assert await call_apart(lambda: threading.current_thread() is not here)
    with pytest.raises(ZeroDivisionError):
        await call_apart(lambda: 1 // 0)


async def test_who_is_cancelled_does_not_wait_for_it() -> None:
    begun, released = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        released.wait(20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_apart, hold)
        await anyio.to_thread.run_sync(begun.wait, 20)
        tasks.cancel_scope.cancel()
    assert not released.is_set()
    released.set()


async def test_a_system_without_threads_is_an_error_that_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            await call_apart(lambda: None)
