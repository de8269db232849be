"""What the API costs: nothing where it is not used, no memory for a bomb, and little for a call, since the relay waits meanwhile."""

import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from types import FrameType

import pytest

from neosocksd_core.testing import Client, PlainPlugin, RunningServer
from neosocksd_rest_api import RestApi
from neosocksd_rest_api.compression import CodingError, decode

IMPORTS = """
import sys
from neosocksd_rest_api import RestApi
plugin = RestApi()
plugin.config_model()
heavy = {"starlette", "httpx", "curses"} & sys.modules.keys()
assert not heavy, heavy
"""

BOMB = """
import resource, sys, zlib
from neosocksd_rest_api.compression import CodingError, decode
packer = zlib.compressobj(9)
piece = b"-" * (1 << 20)
bomb = b"".join(packer.compress(piece) for _ in range(300)) + packer.flush()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(bomb, "deflate", 16 << 20)
except CodingError as error:
    assert error.status == 413
else:
    raise AssertionError("it was expanded")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown <= 20 << 10, grown
"""


@pytest.mark.parametrize("code", [IMPORTS, BOMB], ids=["imports", "bomb"])
def test_it_costs_little(code: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


def test_the_limit_is_exact() -> None:
    assert len(decode(zlib.compress(bytes(1000)), "deflate", 1000)) == 1000
    with pytest.raises(CodingError):
        decode(zlib.compress(bytes(1001)), "deflate", 1000)


MOST_CALLS = 400
"""A tenth more than it takes on CPython 3.11, where comprehensions are calls as well."""


def test_a_call_takes_few_calls_of_the_interpreter(serve: Callable[..., RunningServer]) -> None:
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    def ask(client: Client, times: int) -> int:
        """How many calls the server has made when it has answered so often."""
        for _ in range(times):
            client.send(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = client.receive_until(b"\r\n\r\n").lower()
            client.receive(int(head.partition(b"content-length: ")[2].split()[0]))
        return count

    threading.setprofile(note)
    try:
        server = serve(
            {"listen": "127.0.0.1:0", "rest_api": {"listen": "127.0.0.1:0"}},
            plugins=[PlainPlugin, RestApi],
        )
    finally:
        threading.setprofile(None)
    with Client(server.addresses[1]) as client:
        before = ask(client, 10)
        assert (ask(client, 50) - before) / 50 <= MOST_CALLS
