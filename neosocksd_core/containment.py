"""What a plugin's object raises stays in the session, the dial or the relay that called it."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class Crashable(Protocol):
    """Something that can end itself when one of its steps has raised what it should not."""

    def crash(self, error: Exception) -> None: ...


SelfT = TypeVar("SelfT", bound=Crashable)
P = ParamSpec("P")


def contained(
    method: Callable[Concatenate[SelfT, P], None],
) -> Callable[Concatenate[SelfT, P], None]:
    """Make *method* end its own object, by ``crash``, instead of raising into the reactor."""

    def run(self: SelfT, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.crash(error)

    update_wrapper(run, method)
    return run
