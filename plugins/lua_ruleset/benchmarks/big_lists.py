"""What big lists cost: ``python benchmarks/big_lists.py [ENTRIES]``, a million by default.

Prints for domains, IPv4 and IPv6 subnets how long a list takes to load and a look-up takes, both through Lua, and how much
memory the process has more of with all of them.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from neosocksd_lua_ruleset.trial import Script

LOOKUPS = 100_000

LISTS = {
    "domains": (
        '".host%d.example%d.com", i * 7919, i % 100',
        "match.domain",
        '"www.host" .. i * 7919 .. ".example" .. i % 100 .. ".com:443"',
    ),
    "ipv4": (
        '"%d.%d.%d.0/24", 1 + i // 65536 * 7 % 220, i // 256 % 256, i % 256',
        "inet.subnet",
        "i * 42949 & 0xFFFFFFFF",
    ),
    "ipv6": (
        '"2001:%x:%x::/48", i >> 16 & 0xffff, i & 0xffff',
        "inet6.subnet",
        "0x2001 << 48 | (i * 40503 & 0xffffffff) << 16, i",
    ),
}

WRITE = """
    local file = io.open("%s", "w")
    for i = 0, %d do file:write(string.format(%s), "\\n") end
    file:close()
"""

LOAD = """
    local file = io.open("%s")
    local text = file:read("a")
    file:close()
    _G.%s = %s(text)
    text = nil
    collectgarbage()
"""

ASK = """
    local matcher, hits = %s, 0
    for i = 1, %d do if matcher(%s) then hits = hits + 1 end end
"""


def resident() -> float:
    """MiB that the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    lua = Script(time_limit=0)
    lua.run("require('libruleset')")
    with tempfile.TemporaryDirectory() as folder:
        for name, (members, _, _) in LISTS.items():
            lua.run(WRITE % (f"{folder}/{name}", entries - 1, members))
        lua.run("collectgarbage()")
        before = resident()
        print(f"{entries} entries each")
        for name, (_, matcher, asked) in LISTS.items():
            begin = time.perf_counter()
            lua.run(LOAD % (f"{folder}/{name}", name, matcher))
            loaded = time.perf_counter() - begin
            begin = time.perf_counter()
            lua.run(ASK % (name, LOOKUPS, asked))
            each = (time.perf_counter() - begin) / LOOKUPS
            more = resident() - before
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
            print(
                f"{name:8} load {loaded:5.2f} s, look-up {each * 1e6:5.2f} µs, memory {more:4.0f} MiB more, at most {peak:4.0f}"
            )


if __name__ == "__main__":
    main()
