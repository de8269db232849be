"""The documented surface: all that is exported is there, and the example of the docstring runs."""

import re

import pytest

import neosocksd_http1
from neosocksd_http1 import Limits, Request, Response, ServerConnection


def test_all_that_is_exported_is_there_and_documented() -> None:
    for name in neosocksd_http1.__all__:
        assert getattr(neosocksd_http1, name, None) is not None
        if not name.isupper():
            assert getattr(neosocksd_http1, name).__doc__
    assert len(set(neosocksd_http1.__all__)) == len(neosocksd_http1.__all__)


def test_the_example_of_the_docstring_runs() -> None:
    assert neosocksd_http1.__doc__ is not None
    _, found, example = neosocksd_http1.__doc__.partition("::\n\n")
    assert found
    example = example.partition("\n\n")[0]
    names: dict[str, object] = {"ServerConnection": ServerConnection, "Response": Response}
    exec(re.sub(r"(?m)^    ", "", example), names)
    request = names["request"]
    assert isinstance(request, Request)
    assert (request.method, request.target) == (b"CONNECT", b"example.org:443")
    assert names["answer"] == b"HTTP/1.1 200 OK\r\n\r\n"
    assert names["early"] == b"\x16\x03\x01"


def test_values_are_frozen() -> None:
    for value in (Request(b"GET", b"/"), Response(200), Limits()):
        with pytest.raises(AttributeError):
            setattr(value, type(value).__match_args__[0], 1)
        assert not hasattr(value, "__dict__")
