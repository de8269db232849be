"""Questions that run scripts, as the health check does: nothing else has its turn until they are answered."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

CHEAP_SECONDS = 0.05
"""An answer that takes no longer is asked for each time."""

REST = 30
"""Else so many times as long is waited before the question is asked again: it takes a thirtieth of the time at most."""

AnswerT = TypeVar("AnswerT")


class Sparing(Generic[AnswerT]):
    """Asks *question*; while asking again would cost too much, gives the last answer."""

    def __init__(self, question: Callable[[], AnswerT]) -> None:
        self._question = question
        self._held: tuple[AnswerT, float] | None = None

    def ask(self) -> AnswerT:
        """The answer, or that of the last time."""
        started = time.monotonic()
        if self._held is not None and started < self._held[1]:
            return self._held[0]
        answer = self._question()
        now = time.monotonic()
        cost = now - started
        self._held = (answer, now + REST * cost) if cost > CHEAP_SECONDS else None
        return answer

    def forget(self) -> None:
        """The next answer is a fresh one: something was changed on which it may depend."""
        self._held = None
