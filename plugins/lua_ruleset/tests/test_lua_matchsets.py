"""The sets behind big lists: exactly the answers of a plain check, and what they cost."""

import gc
import ipaddress
import os
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from neosocksd_lua_ruleset import namesets
from neosocksd_lua_ruleset.bridge import LuaCallError
from neosocksd_lua_ruleset.intervals import ListError, Subnets4, Subnets6, lines
from neosocksd_lua_ruleset.matchsets import MatchSets
from neosocksd_lua_ruleset.namesets import Names
from neosocksd_lua_ruleset.trial import LUA_VERSIONS, LuaVersion, Script


def ip4(text: str) -> int:
    return int(ipaddress.IPv4Address(text))


def ip6(text: str) -> tuple[int, int]:
    value = int(ipaddress.IPv6Address(text))
    return value >> 64, value & (1 << 64) - 1


def names_of(text: bytes, *, below: bool = False) -> Names:
    made = Names(below=below)
    made.add(text)
    made.seal()
    return made


def subnets4_of(text: bytes) -> Subnets4:
    made = Subnets4()
    made.add(text)
    made.seal()
    return made


def subnets6_of(text: bytes) -> Subnets6:
    made = Subnets6()
    made.add(text)
    made.seal()
    return made


def test_lines_are_stripped_and_empty_ones_left_out() -> None:
    assert list(lines(b"")) == []
    assert list(lines(b"\n a \r\n\nb\n")) == [b"a", b"b"]


def test_lines_over_a_chunk_are_not_torn() -> None:
    text = b"\n".join(b"%d" % i for i in range(200_000))
    assert list(lines(text)) == text.split(b"\n")


def test_ipv4_subnets() -> None:
    subnets = subnets4_of(b"10.0.0.0/8\n192.0.2.1\n192.168.0.0/24\n192.168.1.0/24\n10.1.0.0/16")
    assert len(subnets) == 3  # nested and adjacent ones are merged
    for inside in ("10.0.0.0", "10.255.255.255", "192.0.2.1", "192.168.0.0", "192.168.1.255"):
        assert subnets.contains(ip4(inside)), inside
    for outside in (
        "9.255.255.255",
        "11.0.0.0",
        "192.0.2.0",
        "192.0.2.2",
        "192.168.2.0",
        "0.0.0.0",
    ):
        assert not subnets.contains(ip4(outside)), outside


@pytest.mark.parametrize("address", [-1, 1 << 32, -(1 << 63), (1 << 63) - 1])
def test_an_integer_that_is_no_ipv4_address_is_in_no_subnet(address: int) -> None:
    assert not subnets4_of(b"0.0.0.0/0").contains(address)


def test_every_ipv4_address_and_none() -> None:
    assert subnets4_of(b"0.0.0.0/0").contains(0)
    assert subnets4_of(b"0.0.0.0/0").contains(0xFFFF_FFFF)
    assert not subnets4_of(b"").contains(0)


def test_ipv6_subnets() -> None:
    subnets = subnets6_of(
        b"2001:db8::/32\n::1\nfe80::/10\n2001:db8:1::/48\n2001:db9::4/126\nff00::/8"
    )
    assert len(subnets) == 5
    for inside in (
        "2001:db8::",
        "2001:db8:ffff::1",
        "::1",
        "fe80::1",
        "febf:ffff::",
        "ffff::",
        "2001:db9::7",
    ):
        assert subnets.contains(*ip6(inside)), inside
    for outside in (
        "2001:db7:ffff::",
        "2001:db9::",
        "::",
        "::2",
        "fec0::",
        "2001:db9::3",
        "2001:db9::8",
    ):
        assert not subnets.contains(*ip6(outside)), outside


def test_lua_gives_the_halves_of_an_ipv6_address_signed() -> None:
    high, low = ip6("fe80::ffff:ffff:ffff:ffff")
    assert subnets6_of(b"fe80::/10").contains(high - (1 << 64), low - (1 << 64))


@pytest.mark.parametrize("seed", range(3))
def test_ipv4_answers_are_those_of_a_plain_check(seed: int) -> None:
    source = random.Random(seed)
    nets = [
        ipaddress.IPv4Network(
            (source.randrange(1 << 12) << 20 | source.randrange(1 << 20), prefix), strict=False
        )
        for prefix in (source.randrange(6, 33) for _ in range(300))
    ]
    subnets = subnets4_of("\n".join(map(str, nets)).encode())
    asked = [source.randrange(1 << 32) for _ in range(500)]
    asked += [int(net[0]) + d for net in nets for d in (-1, 0)] + [
        int(net[-1]) + d for net in nets for d in (0, 1)
    ]
    for address in asked:
        if 0 <= address < 1 << 32:
            assert subnets.contains(address) == any(
                int(n[0]) <= address <= int(n[-1]) for n in nets
            )


@pytest.mark.parametrize("seed", range(3))
def test_ipv6_answers_are_those_of_a_plain_check(seed: int) -> None:
    source = random.Random(seed)
    nets = [
        ipaddress.IPv6Network(
            (source.randrange(1 << 10) << 118 | source.randrange(1 << 118), prefix), strict=False
        )
        for prefix in (source.randrange(8, 129) for _ in range(300))
    ]
    # Some that share their upper half.
    nets += [
        ipaddress.IPv6Network((nets[0][0] + 16 * i, 126))
        for i in range(1, 9)
        if nets[0].prefixlen < 120
    ]
    subnets = subnets6_of("\n".join(map(str, nets)).encode())
    asked = [int(net[0]) + d for net in nets for d in (-1, 0, 1)] + [
        int(net[-1]) + d for net in nets for d in (-1, 0, 1)
    ]
    for address in asked:
        if 0 <= address < 1 << 128:
            expected = any(int(n[0]) <= address <= int(n[-1]) for n in nets)
            assert subnets.contains(address >> 64, address & (1 << 64) - 1) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"10.0.0.1/8",
        b"10.0.0.0/33",
        b"10.0.0.0/",
        b"10.0.0.0/-1",
        b"10.0.0.0/08",
        b"10.0.0.0/8/8",
        b"10.0.0/24",
        b"010.0.0.0/8",
        b"a",
        b"10.0.0.0 /8",
        b"10.0.0.0\0/8",
        b"\xff",
        b"::/0",
    ],
)
def test_a_line_that_is_no_ipv4_subnet_is_named(line: bytes) -> None:
    with pytest.raises(ListError) as caught:
        subnets4_of(b"192.0.2.0/24\n" + line)
    assert repr(line.decode("latin-1")) in str(caught.value)


@pytest.mark.parametrize(
    "line", [b"2001:db8::1/32", b"::/129", b"::/", b"fe80::1%eth0", b"10.0.0.0/8", b":::", b"\xff"]
)
def test_a_line_that_is_no_ipv6_subnet_is_named(line: bytes) -> None:
    with pytest.raises(ListError) as caught:
        subnets6_of(b"::1\n" + line)
    assert repr(line.decode("latin-1")) in str(caught.value)


@pytest.mark.parametrize("thorough", [False, True])
def test_names(monkeypatch: pytest.MonkeyPatch, thorough: bool) -> None:
    if thorough:
        monkeypatch.setattr(namesets, "fingerprint", namesets._thorough)  # pyright: ignore[reportPrivateUsage]
    names = names_of(b".Example.com\nonly.Example.org\n.com.au\nonly.example.org")
    assert len(names) == 3
    for inside in (
        b"example.com",
        b"EXAMPLE.com",
        b"a.b.example.com",
        b"only.example.org",
        b"x.com.au",
    ):
        assert names.contains(inside), inside
    for outside in (
        b"",
        b".",
        b"com",
        b"xexample.com",
        b"a.only.example.org",
        b"example.org",
        b"example.com.x",
        b"au",
    ):
        assert not names.contains(outside), outside


def test_names_with_everything_below_them() -> None:
    names = names_of(b"example.com\n.example.org", below=True)
    for inside in (b"example.com", b"a.example.com", b"example.org", b"a.b.example.org"):
        assert names.contains(inside), inside
    assert not names.contains(b"com")


def test_no_names_at_all() -> None:
    assert not names_of(b"").contains(b"a")
    assert not names_of(b"").contains(b"")


def test_answers_for_many_names_are_those_of_a_plain_set() -> None:
    source = random.Random(1)
    members = {b"%x.example" % source.randrange(1 << 24) for _ in range(50_000)}
    names = names_of(b"\n".join(members))
    assert len(names) == len(members)
    assert all(map(names.contains, members))
    others = [b"%x.example" % source.randrange(1 << 24) for _ in range(20_000)]
    assert all(names.contains(name) == (name in members) for name in others)


def test_a_set_is_there_until_it_is_freed() -> None:
    sets = MatchSets()
    four, six, names = (
        sets.make_subnets4(),
        sets.make_subnets6(),
        sets.make_names(False),
    )
    assert len(sets) == 3
    for number, text in ((four, b"10.0.0.0/8"), (six, b"::1"), (names, b"a")):
        sets.add(number, text)
        sets.seal(number)
    assert len(sets) == 3
    assert sets.has_ip4(four, ip4("10.1.1.1"))
    assert sets.has_ip6(six, 0, 1)
    assert sets.has_name(names, b"A")
    for number in (four, six, names, 99):
        sets.free(number)
    assert len(sets) == 0
    with pytest.raises(LuaCallError):
        sets.has_ip4(four, 1)
    with pytest.raises(LuaCallError):
        sets.has_ip6(six, 0, 1)
    with pytest.raises(LuaCallError):
        sets.has_name(names, b"")


def test_a_bad_list_keeps_nothing() -> None:
    sets = MatchSets()
    number = sets.make_subnets4()
    sets.add(number, b"10.0.0.0/8")
    with pytest.raises(LuaCallError, match="invalid subnet 'x'"):
        sets.add(number, b"x")
    assert len(sets) == 0


def test_a_set_can_be_asked_only_once_it_is_complete_and_then_takes_no_more() -> None:
    sets = MatchSets()
    number = sets.make_names(True)
    sets.add(number, b"a.test")
    with pytest.raises(LuaCallError, match="gone"):
        sets.has_name(number, b"a.test")
    sets.add(number, b"b.test")
    sets.seal(number)
    assert sets.has_name(number, b"x.a.test")
    assert sets.has_name(number, b"x.b.test")
    with pytest.raises(LuaCallError, match="gone"):
        sets.add(number, b"c.test")
    with pytest.raises(LuaCallError, match="gone"):
        sets.seal(number)


BIG = """
    local nets, names = {}, {}
    for i = 0, 4999 do
        nets[#nets + 1] = string.format("10.%d.%d.0/24", i // 256, i % 256)
        names[#names + 1] = string.format(".Host%d.example", i)
    end
"""


@pytest.mark.parametrize("version", LUA_VERSIONS)
def test_lua_uses_a_set_for_a_big_list_and_lets_it_go(version: LuaVersion) -> None:
    lua = Script(version)
    lua.run("require('libruleset')")
    code = (
        BIG
        + """
        local m, d, h = inet.subnet(nets), match.domain(names), match.domaintree(table.concat(names, "\\n"))
        local ip = neosocksd.parse_ipv4
        _G.held = { m, d, h }
        return m(ip("10.0.1.7")), m(ip("10.19.135.255")), m(ip("10.19.136.0")), m(nil),
            d("a.HOST77.Example:80"), d("host77.example.:80"), d("host5000.example:80"), d("example:80"), d("junk"),
            h("x.host1.example:1")
    """
    )
    assert lua.values(code) == "true,true,false,false,true,true,false,false,false,true"
    sets = [o for o in gc.get_objects() if type(o) is MatchSets and len(o)]
    assert [len(o) for o in sets] == [3]
    lua.run("held = nil _G.held = nil collectgarbage() collectgarbage()")
    # The next use frees them, and at the latest the tick: a finalizer must not.
    lua.run("require('libruleset').tick(0)")
    assert len(sets[0]) == 0


def test_after_a_large_list_the_tick_gives_memory_back() -> None:
    lua = Script()
    lua.run("require('libruleset')")
    lua.run("_G.m = match.domain(('.example.org\\n'):rep(200000) .. '.example.com')")
    lua.run("require('libruleset').tick(0)")
    assert lua.values("return m('www.example.com:80'), m('example.net:80')") == "true,false"


def test_an_error_in_a_big_list_names_line_and_place() -> None:
    lua = Script()
    lua.run("require('libruleset')")
    code = BIG + "nets[4000] = '10.0.0.1/8'\ninet.subnet(nets)"
    error = lua.error(code)
    assert "host bits set in subnet '10.0.0.1/8'" in error
    assert error.startswith("(invoke):8: ")


def test_a_machine_with_sets_can_be_dropped() -> None:
    for _ in range(5):
        lua = Script()
        lua.run(
            "require('libruleset')"
            + BIG
            + "_G.m = { inet.subnet(nets), match.domain(names), regex.compile('a') }"
        )
        del lua
        gc.collect()


ENDING = """
from neosocksd_lua_ruleset.trial import Script
lua = Script()
lua.run("require('libruleset') local t = {} for i = 1, 3000 do t[i] = '.h' .. i end"
    " _G.m = { match.domain(t), regex.compile('a') }")
lua.itself = lua
"""


def test_a_process_that_ends_with_sets_ends_in_good_order() -> None:
    subprocess.run(
        [sys.executable, "-c", ENDING],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_what_a_list_of_100_000_costs() -> None:
    nets = b"\n".join(
        b"%d.%d.%d.0/24" % (1 + i // 65536, i // 256 % 256, i % 256) for i in range(0, 200_000, 2)
    )
    names = b"\n".join(b".host%d.example.com" % i for i in range(100_000))
    begin = time.process_time()
    subnets, known = subnets4_of(nets), names_of(names)
    assert time.process_time() - begin < 5
    assert len(subnets) == len(known) == 100_000
    begin = time.process_time()
    for i in range(10_000):
        subnets.contains(i * 429_000)
        known.contains(b"www.host%d.example.com" % i)
    assert (time.process_time() - begin) / 10_000 < 100e-6


def test_the_memory_that_stays_is_eight_bytes_a_member() -> None:
    names = b"\n".join(b".host%d.example.com" % i for i in range(100_000))
    tracemalloc.start()
    try:
        known = names_of(names)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(known) == 100_000
    assert size < 100_000 * 12


GROWTH = """
import sys

from neosocksd_lua_ruleset.trial import Script

def peak():
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0])

matcher, path = sys.argv[1:]
lua = Script(time_limit=0)
lua.run("require('libruleset')")
before = peak()
lua.run(f"local f = io.open('{path}') local text = f:read('a') f:close() _G.m = {matcher}(text)")
print((peak() - before) // 1024)
"""


@pytest.mark.parametrize(
    ("matcher", "entry"),
    [
        ("match.exact", "www%d.example.com:443"),
        ("match.host", "www%d.example.com"),
        ("match.domain", ".www%d.example.com"),
        ("inet6.subnet", "2001:db8::%d:0:0/96"),
    ],
)
def test_a_list_takes_little_memory_while_it_loads(
    matcher: str, entry: str, tmp_path: Path
) -> None:
    """A list is to take 75 MiB for a million entries; this one is a third of that."""
    number = (i if ":%d:" not in entry else i % 10000 for i in range(333_000))
    (tmp_path / "list").write_text("\n".join(entry % i for i in number))
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, matcher, str(tmp_path / "list")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 45
