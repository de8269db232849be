"""What a plugin's object raises stays in the session, the dial or the relay that called it."""

import asyncio
import math
from collections.abc import Callable
from functools import update_wrapper
from typing import Protocol, TypeVar

import anyio

FAULTS = (Exception, asyncio.CancelledError)
"""What a call may raise and be ended alone for. No task is cancelled inside a call: where one raises a cancellation, it is
somebody else's, as of a task that the call has asked for its result."""


class Report(Protocol):
    """Where it is told that an object of a plugin or of an embedder raised what it should not."""

    def __call__(self, error: BaseException, where: str, culprit: object = None) -> None:
        """*where* is what the object was doing, for a person, and *culprit* the object itself, by which its plugin is found."""


class Crashable(Protocol):
    """Something that can end itself when one of its steps has raised what it should not."""

    def crash(self, error: BaseException) -> None: ...


SelfT = TypeVar("SelfT", bound=Crashable)
ArgumentT = TypeVar("ArgumentT")


def contained(method: Callable[[SelfT, ArgumentT], None]) -> Callable[[SelfT, ArgumentT], None]:
    """Make *method*, a step that takes one argument, end its own object by ``crash`` instead of raising into the reactor."""

    def run(self: SelfT, argument: ArgumentT) -> None:
        try:
            method(self, argument)
        except FAULTS as error:
            self.crash(error)

    update_wrapper(run, method)
    return run


def is_own_cancellation(error: BaseException) -> bool:
    """Whether *error* says that the task which runs is being cancelled itself. All else is a fault, that comes meanwhile, too."""
    return (
        isinstance(error, anyio.get_cancelled_exc_class())
        and anyio.current_effective_deadline() == -math.inf
    )
