"""Judging: what the authenticator says to a client's credentials, at once or later."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable

import anyio

from neosocksd_core.addresses import SocketAddress
from neosocksd_core.containment import FAULTS, is_own_cancellation
from neosocksd_core.pipeline import Pipeline
from neosocksd_core.protocols import Authenticator
from neosocksd_core.requests import Credentials

Verdict = tuple[Credentials, bool]
"""What was judged, and whether it is good."""


class Judging:
    """One client's credentials. Calls *finish* once with the verdict, unless it is cancelled before that.

    An authenticator that raises, or answers anything but True, lets nobody in.
    """

    __slots__ = ("_client", "_credentials", "_finish", "_pipeline", "_scope")

    def __init__(
        self,
        pipeline: Pipeline,
        client: SocketAddress,
        credentials: Credentials,
        finish: Callable[[Verdict], None],
    ) -> None:
        self._pipeline = pipeline
        self._client = client
        self._credentials = credentials
        self._finish: Callable[[Verdict], None] | None = finish
        self._scope: anyio.CancelScope | None = None

    def start(self, authenticator: Authenticator) -> None:
        """Ask *authenticator*. *finish* may be called before this returns."""
        try:
            verdict = authenticator.authenticate(self._credentials, self._client)
        except FAULTS as error:
            self._fail(error, authenticator)
            return
        if isawaitable(verdict):
            self._scope = self._pipeline.reactor.spawn(
                partial(self._await_verdict, verdict, authenticator), name="authenticate"
            )
        else:
            self._end(verdict, authenticator)

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._finish = None
        if self._scope is not None:
            self._scope.cancel()

    async def _await_verdict(self, answer: Awaitable[bool], authenticator: Authenticator) -> None:
        try:
            verdict = await answer
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            self._fail(error, authenticator)
        else:
            self._end(verdict, authenticator)

    def _end(self, verdict: object, authenticator: Authenticator) -> None:
        finish, self._finish = self._finish, None
        if not isinstance(verdict, bool):  # a text that says why not would let everybody in
            error = TypeError(f"not a verdict: {verdict!r}")
            self._pipeline.report(error, "authenticator", authenticator)
            verdict = False
        if finish is not None:
            finish((self._credentials, verdict))

    def _fail(self, error: BaseException, authenticator: Authenticator) -> None:
        self._pipeline.report(error, "authenticator", authenticator)
        self._end(False, authenticator)
