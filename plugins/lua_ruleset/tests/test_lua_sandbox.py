"""What a script reaches: nothing of Python, no bytecode, and in the sandbox nothing outside."""

from pathlib import Path
from typing import Literal

import pytest

from neosocksd_lua_ruleset.calls import ScriptError
from neosocksd_lua_ruleset.testing import MakeEngine

Lua = Literal["5.3", "5.4", "5.5"]

VERSIONS: tuple[Lua, ...] = ("5.3", "5.4", "5.5")

ESCAPES = [
    "python.eval('1')",
    "python.builtins.open",
    "require('python')",
    "package.loaded.python.eval",
    "as_attrgetter(print)",
    "as_itemgetter(print)",
]


@pytest.mark.parametrize("code", ESCAPES)
def test_python_is_not_there(engine: MakeEngine, code: str) -> None:
    with pytest.raises(ScriptError):
        engine().invoke(("local x = " + code).encode())


SEARCH = b"""
    -- Every Python object that the debug library finds is a function that cannot be opened.
    local seen, found = {}, {}
    local function visit(value)
        if seen[value] then return end
        local kind = type(value)
        if kind ~= "table" and kind ~= "function" and kind ~= "userdata" and kind ~= "thread" then return end
        seen[value] = true
        if kind == "userdata" and debug.getmetatable(value) and debug.getmetatable(value).__metatable == "locked" then
            found[#found + 1] = value
        end
        if kind == "table" then for k, v in next, value do visit(k) visit(v) end end
        if kind == "function" then
            local i = 1
            while true do
                local name, v = debug.getupvalue(value, i)
                if not name then break end
                visit(v) i = i + 1
            end
        end
        visit(debug.getmetatable(value))
    end
    visit(_G)
    visit(debug.getregistry())
    assert(#found > 10, #found)
    for _, object in ipairs(found) do
        assert(getmetatable(object) == "locked")
        assert(not pcall(setmetatable, object, {}))
        for _, name in ipairs({ "__class__", "__globals__", "__self__", "__call__", "gi_frame", "__traceback__", "func_code" }) do
            assert(not pcall(function() return object[name] end), name)
            assert(not pcall(function() object[name] = 1 end), name)
        end
        assert(not pcall(function() return object[1] end))
        assert(not pcall(function() return #object end))
        assert(not pcall(function() return object .. "" end))
        assert(not tostring(object):find("<"), tostring(object))
    end"""


@pytest.mark.parametrize("lua", VERSIONS)
def test_what_of_python_the_debug_library_finds_is_closed(engine: MakeEngine, lua: str) -> None:
    engine(lua=lua).invoke(SEARCH)


# bytecode, C modules


@pytest.mark.parametrize(
    "code",
    [
        "assert(load('\\27Lua'))",
        "assert(load('\\27Lua', 'x', 'b'))",
        "assert(load('\\27Lua', 'x', 'bt'))",
        "assert(load(function() return '\\27Lua' end))",
        "string.dump(print)",
        "assert(package.loadlib('libc.so.6', '*'))",
        "require('socket.core')",
    ],
)
@pytest.mark.parametrize("sandbox", [False, True])
def test_bytecode_and_c_modules_are_refused(engine: MakeEngine, code: str, sandbox: bool) -> None:
    with pytest.raises(ScriptError):
        engine(sandbox=sandbox).invoke(code.encode())


def test_bytecode_files_are_refused(engine: MakeEngine, tmp_path: Path) -> None:
    (tmp_path / "code.lua").write_bytes(b"\x1bLua")
    for code in (
        f"assert(loadfile('{tmp_path}/code.lua'))",
        f"dofile('{tmp_path}/code.lua')",
        f"package.path = '{tmp_path}/?.lua' require('code')",
    ):
        with pytest.raises(ScriptError, match="binary chunk"):
            engine().invoke(code.encode())


def test_load_takes_an_environment(engine: MakeEngine) -> None:
    engine().invoke(
        b"assert(load('return x', 'n', 't', { x = 7 })() == 7 and load('return print')() == print)"
    )
    engine().invoke(b"assert(not pcall(load('return x', 'n', 't', nil)))")


# the whole library, and the sandbox


def test_the_whole_standard_library_is_there(engine: MakeEngine) -> None:
    names = [
        "io.open",
        "io.popen",
        "os.execute",
        "os.getenv",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.exit",
        "debug.sethook",
        "debug.getupvalue",
        "loadfile",
        "dofile",
        "collectgarbage",
        "coroutine.close",
        "utf8.char",
        "table.move",
        "math.tointeger",
        "string.pack",
        "package.searchpath",
        "require",
    ]
    engine().invoke("".join(f"assert({name}, '{name}')\n" for name in names).encode())


@pytest.mark.parametrize(
    "code",
    [
        "io.open('/etc/passwd')",
        "require('io').open('/etc/passwd')",
        "os.execute('true')",
        "os.exit(9)",
        "os.getenv('HOME')",
        "os.remove('x')",
        "loadfile('/etc/passwd')",
        "dofile('/etc/passwd')",
        "debug.sethook()",
        "debug.getregistry()",
        "debug.getupvalue(print, 1)",
        "debug.setmetatable('', {})",
        "collectgarbage('stop')",
        "collectgarbage('generational')",
        "setmetatable({}, { __gc = function() while true do end end })",
        "await.execute('true')",
        "os.tmpname()",
        "os.rename('x', 'y')",
        "os.setlocale('C')",
        "assert(package.path)",
        "assert(package.cpath)",
        "assert(package.config)",
        "assert(package.searchers)",
        "assert(package.loaded.package.searchers)",
        "assert(require('package').searchers)",
        "package.searchpath('passwd', '/etc/?')",
    ],
)
def test_the_sandbox_takes_away_what_reaches_outside(engine: MakeEngine, code: str) -> None:
    with pytest.raises(ScriptError):
        engine(sandbox=True).invoke(code.encode())


@pytest.mark.parametrize("lua", VERSIONS)
def test_require_reads_no_files_in_the_sandbox(
    engine: MakeEngine, lua: str, tmp_path: Path
) -> None:
    (tmp_path / "beside.lua").write_text("return 1")
    (tmp_path / "ruleset.lua").write_text("""
        found = pcall(require, "beside")
        package.preload.mine = function() return 7 end
        return {}""")
    machine = engine(lua=lua)
    machine.load_file(tmp_path / "ruleset.lua")
    machine.invoke(b"assert(found)")
    machine = engine(lua=lua, sandbox=True)
    machine.load_file(tmp_path / "ruleset.lua")
    machine.invoke(b"assert(not found and require('mine') == 7 and require('libruleset'))")


@pytest.mark.parametrize("lua", VERSIONS)
def test_getinfo_of_the_sandbox_tells_where_and_gives_no_function(
    engine: MakeEngine, lua: str
) -> None:
    engine(lua=lua, sandbox=True).invoke(b"""
        local function inner() return debug.getinfo(1, "n").name, debug.getinfo(2, "Sl") end
        local name, caller = inner()
        assert(name == "inner" and caller.short_src == "(invoke)" and caller.currentline == 3)
        assert(debug.getinfo(print).what == "C" and debug.getinfo(1000) == nil)
        for level = 0, 20 do
            local info = debug.getinfo(level)
            if not info then break end
            assert(info.func == nil)
        end
        assert(debug.getinfo(1, "f").func == nil and debug.getinfo(inner, "f").func == nil)""")
    for wrong in ("debug.getinfo({})", "debug.getinfo(1, '?')"):
        with pytest.raises(ScriptError, match=r"\(invoke\):1: bad argument #. to 'getinfo'"):
            engine(lua=lua, sandbox=True).invoke(wrong.encode())


def test_what_stays_in_the_sandbox(engine: MakeEngine) -> None:
    engine(sandbox=True).invoke(b"""
        assert(os.time() > 0 and os.clock() >= 0 and os.date() and debug.traceback() and debug.getinfo(1))
        assert(collectgarbage("count") > 0 and collectgarbage() == 0)
        assert(setmetatable({}, { __index = { x = 1 } }).x == 1)
        assert(neosocksd.now() > 0 and zlib.uncompress(zlib.compress("x")) == "x")""")
