"""What a plugin's object raises stays with the object that called it."""

import asyncio

import pytest

from neosocksd_core.containment import contained


class Thing:
    def __init__(self) -> None:
        self.crashes: list[BaseException] = []

    def crash(self, error: BaseException) -> None:
        self.crashes.append(error)

    @contained
    def step(self, error: BaseException | None) -> None:
        """One step."""
        if error is not None:
            raise error


def test_an_exception_ends_the_object_and_nobody_else() -> None:
    thing, error = Thing(), ValueError("x")
    thing.step(None)
    thing.step(error)
    assert thing.crashes == [error]


def test_a_cancellation_that_is_somebody_elses_ends_the_object_and_nobody_else() -> None:
    thing, error = Thing(), asyncio.CancelledError()
    thing.step(error)
    assert thing.crashes == [error]


def test_what_is_meant_to_end_the_program_passes() -> None:
    thing = Thing()
    with pytest.raises(KeyboardInterrupt):
        thing.step(KeyboardInterrupt())
    assert not thing.crashes


def test_the_method_keeps_its_name_and_documentation() -> None:
    assert (Thing.step.__name__, Thing.step.__doc__) == ("step", "One step.")
