"""Control calls without a transport: what a plugin offers and a service such as the REST API publishes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from neosocksd_core.containment import FAULTS, is_own_cancellation
from neosocksd_core.services import require_callable


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """One call. ``body`` is decoded (no content coding left); ``headers`` have lower-case names."""

    method: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class EndpointResponse:
    """The answer to one call; ``status`` is an HTTP status code."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A control call under ``path``. What ``handle`` raises is answered as an internal error, and logged."""

    path: str
    methods: frozenset[str]
    handle: Callable[[EndpointRequest], Awaitable[EndpointResponse]]
    summary: str = ""
    needs_body: bool = False
    """A call without a body is refused before it is handled."""

    def __post_init__(self) -> None:
        """
        :raises ValueError: for a path or a method that no request has.
        :raises TypeError: for a coroutine where its function is expected.
        """
        require_callable(self.handle, f"handle of {self.path}")
        if not self.path.startswith("/"):
            raise ValueError(f"the path {self.path!r} does not begin with a slash")
        if not isinstance(cast("object", self.methods), frozenset) or not all(
            m.isupper() for m in self.methods
        ):
            raise ValueError(f"the methods of {self.path} are no frozenset of names as GET")


def answering(endpoint: Endpoint, report: Callable[[BaseException], None]) -> Endpoint:
    """*endpoint*, whose ``handle`` always answers: what it raises, or gives that is no answer, is reported and an internal error."""

    async def handle(request: EndpointRequest) -> EndpointResponse:
        try:
            answer = cast("object", await endpoint.handle(request))
            if not isinstance(answer, EndpointResponse):
                raise TypeError(f"not an answer: {answer!r}")
        except FAULTS as error:
            if is_own_cancellation(error):
                raise
            report(error)
            return EndpointResponse(500, b"internal error\n")
        return answer

    return replace(endpoint, handle=handle)
