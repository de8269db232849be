"""A call that blocks, in a thread that need not be waited for."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio

ResultT = TypeVar("ResultT")


async def call_apart(function: Callable[[], ResultT]) -> ResultT:
    """Call *function* in a thread of its own. Where that is cancelled the thread is left to itself, and is none that the end of the
    process waits for, as it does for anyio's.

    :raises OSError: where the system has no descriptors left, of which it takes two.
    :raises RuntimeError: where it has no thread.
    """
    outcome: Future[ResultT] = Future()
    here, there = socket.socketpair()

    def run() -> None:
        with there:  # that it is closed then is what the other end waits for
            try:
                outcome.set_result(function())
            except BaseException as error:
                outcome.set_exception(error)

    with here:
        try:
            threading.Thread(target=run, name="neosocksd password check", daemon=True).start()
        except RuntimeError:
            there.close()
            raise
        await anyio.wait_readable(here)
    return outcome.result()
