"""What callers ask by, and what they must not see: queries read into models, sessions matched, secrets masked."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import anyio.lowlevel
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from neosocksd_core import SessionInfo
from neosocksd_core.addresses import Address

ItemT = TypeVar("ItemT")
ModelT = TypeVar("ModelT", bound=BaseModel)

_SECRET_NAME = re.compile(r"(?:password|passwd|secret|token|api_?key)\Z", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(://)[^/,\s]*@")
_MASK = "**********"

_SLICE = 250


def parse(model: type[ModelT], request: Request, lists: Sequence[str] = ()) -> ModelT:
    """The query of a request as a model; *lists* are the names that may stand several times.

    :raises HTTPException: saying what is wrong with it.
    """
    given = request.query_params
    values: dict[str, Any] = {
        name: given.getlist(name) if name in lists else value for name, value in given.items()
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise HTTPException(422, explain(error)) from None


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, without the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def slices(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """*items*, some at a time: who goes through thousands of sessions lets the relay have its turn after each slice."""
    for start in range(0, len(items), _SLICE):
        yield items[start : start + _SLICE]


def matches(info: SessionInfo, texts: Mapping[str, str]) -> bool:
    """Whether a session has all of these texts in it, which are in lower case."""
    if not texts:
        return True
    host, port, *_ = info.client
    words = {
        "client": str(Address(host, port)),
        "user": info.user or "",
        "target": str(info.target or ""),
        "chain": " ".join(map(str, info.chain)),
        "frontend": info.frontend,
        "protocol": info.protocol,
    }
    fields = {**words, "outcome": info.outcome, "q": "\n".join(words.values())}
    return all(text in fields[name].lower() for name, text in texts.items())


async def select(
    sessions: Sequence[SessionInfo], texts: Mapping[str, str]
) -> Sequence[SessionInfo]:
    """Those of *sessions* that :func:`matches`."""
    if not texts:
        return sessions
    found: list[SessionInfo] = []
    for some in slices(sessions):
        found += [info for info in some if matches(info, texts)]
        await anyio.lowlevel.checkpoint()
    return found


def mask(value: object, name: str = "") -> object:
    """Settings without what is secret: values that are called so, and credentials in URIs."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        return {key: mask(item, key) for key, item in items.items()}
    if isinstance(value, list | tuple):
        return [mask(item, name) for item in cast("Sequence[object]", value)]
    if isinstance(value, str):
        if value and _SECRET_NAME.search(name):
            return _MASK
        return _CREDENTIALS.sub(rf"\1{_MASK}@", value)
    return value
