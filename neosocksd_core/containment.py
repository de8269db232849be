"""What a plugin's object raises stays in the session, the dial or the relay that called it."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Protocol, TypeVar


class Crashable(Protocol):
    """Something that can end itself when one of its steps has raised what it should not."""

    def crash(self, error: Exception) -> None: ...


SelfT = TypeVar("SelfT", bound=Crashable)
ArgumentT = TypeVar("ArgumentT")


def contained(method: Callable[[SelfT, ArgumentT], None]) -> Callable[[SelfT, ArgumentT], None]:
    """Make *method*, a step that takes one argument, end its own object by ``crash`` instead of raising into the reactor."""

    def run(self: SelfT, argument: ArgumentT) -> None:
        try:
            method(self, argument)
        except Exception as error:
            self.crash(error)

    update_wrapper(run, method)
    return run
