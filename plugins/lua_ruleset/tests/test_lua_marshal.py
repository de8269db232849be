"""marshal(...): the very bytes that it writes, what it refuses, and that Lua reads it back."""

import pytest

from neosocksd_lua_ruleset.trial import Script


@pytest.mark.parametrize(
    ("values", "written"),
    [
        # several values, with commas between them
        ("", ""),
        ("nil", "nil"),
        ("nil, nil", "nil,nil"),
        ("true, false", "true,false"),
        ('"a", 1, nil', '"a",1,nil'),
        # integers: decimal below 10^12, else hexadecimal
        ("0", "0"),
        ("-7", "-7"),
        ("999999999999", "999999999999"),
        ("-999999999999", "-999999999999"),
        ("1000000000000", "0xe8d4a51000"),
        ("-1000000000000", "-0xe8d4a51000"),
        ("math.maxinteger", "0x7fffffffffffffff"),
        ("math.mininteger", "0x8000000000000000"),
        ("math.mininteger + 1", "-0x7fffffffffffffff"),
        # floats: C99 hexadecimal
        ("3.5", "0x1.cp+1"),
        ("1.0", "0x1p+0"),
        ("-0.1", "-0x1.999999999999ap-4"),
        ("1e300", "0x1.7e43c8800759cp+996"),
        ("1/0", "1/0"),
        ("-1/0", "-1/0"),
        ("0/0", "0/0"),
        ("0.0", "0"),
        ("-0.0", "-0.0"),
        # strings: control bytes in three digits, a newline behind a backslash
        ('""', '""'),
        (r'"a\0b"', r'"a\000b"'),
        (r'"\0001"', r'"\0001"'),
        (r'"\r\t\127"', r'"\013\009\127"'),
        (r'"a\nb"', '"a\\\nb"'),
        (r'"\"\\"', r'"\"\\"'),
        (r'"\128\255"', '"\x80\xff"'),
        # tables: a comma after each element, the array part first and without keys
        ("{}", "{}"),
        ("{1, 2, 3}", "{1,2,3,}"),
        ('{"b", ["c"] = "d"}', '{"b",["c"]="d",}'),
        ("{[2] = 2}", "{[2]=2,}"),
        ("{1, nil, 3}", "{1,[3]=3,}"),
        ("{[0] = 0, [-1] = 1}", None),
        ("{[1.5] = true}", "{[0x1.8p+0]=true,}"),
        ("{[true] = false}", "{[true]=false,}"),
        ("{[{}] = 1}", "{[{}]=1,}"),
        ("{{{}}}", "{{{},},}"),
        # the documentation's example
        ('"a", {"b", ["c"] = "d"}', '"a",{"b",["c"]="d",}'),
    ],
)
def test_marshal_writes(lua: Script, values: str, written: str | None) -> None:
    if written is None:
        written = lua.values(f"local t = load('return ' .. marshal({values}))() return t")
    assert lua.values(f"return {values}") == written


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("print", "function"),
        ("coroutine.create(print)", "thread"),
        ("io.stdout", "userdata"),
        ("{{{print}}}", "function"),
        ("{[print] = 1}", "function"),
    ],
)
def test_marshal_raises_at_the_call_for_what_has_no_text(
    lua: Script, value: str, kind: str
) -> None:
    assert lua.error(f"\nmarshal({value})") == f"(invoke):2: unable to marshal a {kind}"


@pytest.mark.parametrize("build", ["t.t = t", "t[1] = {t}", "t[t] = 1", "local u = {t} t.a = {u}"])
def test_marshal_raises_for_a_cycle(lua: Script, build: str) -> None:
    error = lua.error(f"local t = {{}} {build} marshal(t)")
    assert error == "(invoke):1: unable to marshal a table that contains itself"


def test_marshal_writes_a_shared_table_twice(lua: Script) -> None:
    assert lua.values("local s = {1} return {s, s}, s") == "{{1,},{1,},},{1,}"


def test_marshal_ignores_metatables(lua: Script) -> None:
    code = (
        "return setmetatable({1}, {__index = {2, 3}, __len = function() return 9 end, __tostring = error,"
        " __pairs = error, __call = error})"
    )
    assert lua.values(code) == "{1,}"


def test_lua_reads_back_what_marshal_wrote(lua: Script) -> None:
    code = """
        local all = {}
        for byte = 0, 255 do all[#all + 1] = string.char(byte) end
        local bytes = table.concat(all)
        local values = { bytes, bytes .. "1", 2^53, 0.1, math.mininteger, { deep = { { 1 } } } }
        local again = load("return " .. marshal(values), "", "t", {})()
        for i = 1, 5 do
            assert(again[i] == values[i] and math.type(again[i]) == math.type(values[i]), i)
        end
        return again[6].deep[1][1], marshal(again) == marshal(values)
    """
    assert lua.values(code) == "1,true"


def test_marshal_of_ten_thousand_elements_is_read_back(lua: Script) -> None:
    code = """
        local t = {}
        for i = 1, 10000 do t[i] = { "host" .. i, i } end
        return #load("return " .. marshal(t))()
    """
    assert lua.values(code) == "10000"


def test_a_table_deeper_than_the_stack_is_an_error_and_nothing_worse(lua: Script) -> None:
    error = lua.error("local t = {} for _ = 1, 1e6 do t = {t} end marshal(t)")
    assert "stack overflow" in error
    assert lua.values("return 1") == "1"
