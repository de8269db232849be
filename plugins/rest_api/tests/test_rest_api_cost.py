"""What the API costs: nothing where it is not used, no memory for a bomb."""

import subprocess
import sys
import zlib

import pytest

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
