-- Modules: where `require` looks, text chunks only, `package.replace`, and what a failed load leaves behind (nothing).

local bridge = ...
local guard = bridge.load("guard")
local check = bridge.check

local error, next, open, raw_load, raw_loadfile, rawset, select, tostring, type =
    error, next, io.open, load, loadfile, rawset, select, tostring, type
local loaded, preload, searchpath = package.loaded, package.preload, package.searchpath
local pcall = guard.pcall
local G, package = _G, package

local packages = {}

local function unless_interrupted(...)
    guard.check() -- the error may have been raised in the function that gives the text
    return ...
end

-- Bytecode can crash the interpreter, so chunks are text.
function _G.load(chunk, name, mode, ...)
    if mode ~= nil then mode = check.string(mode, 3, "load") end
    if name ~= nil then name = check.string(name, 2, "load") end
    local kind = type(chunk)
    if kind ~= "string" and kind ~= "number" then check.of_type("function", chunk, 1, "load") end
    if mode and not mode:find("t", 1, true) then
        return nil, "attempt to load a text chunk (mode is '" .. mode .. "')"
    end
    if select("#", ...) > 0 then return unless_interrupted(raw_load(chunk, name, "t", (...))) end
    return unless_interrupted(raw_load(chunk, name, "t"))
end

function _G.loadfile(name, mode, ...)
    if name ~= nil then name = check.string(name, 1, "loadfile") end
    if mode ~= nil then mode = check.string(mode, 2, "loadfile") end
    if mode and not mode:find("t", 1, true) then
        return nil, "attempt to load a text chunk (mode is '" .. mode .. "')"
    end
    if select("#", ...) > 0 then return raw_loadfile(name, "t", (...)) end
    return raw_loadfile(name, "t")
end

function _G.dofile(name)
    if name ~= nil then name = check.string(name, 1, "dofile") end
    local chunk, message = raw_loadfile(name, "t")
    if not chunk then error(message, 0) end
    return chunk()
end

string.dump = function() error("unable to dump given function: bytecode is not supported", 2) end
package.loadlib = function() return nil, "C modules are not supported", "absent" end
package.cpath = ""
package.path = "?.lua"

local function search_file(name)
    local path, tried = searchpath(name, package.path)
    if not path then return "\n\t" .. tried:gsub("^%s+", "") end
    local chunk, message = raw_loadfile(path, "t")
    if not chunk then
        error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. message, 0)
    end
    return chunk, path
end

local BUILT_IN = { libruleset = true }

-- The modules that come with us; a file of that name on the path wins.
local function search_built_in(name)
    local text = BUILT_IN[name] and bridge.source(name)
    if not text then return nil end
    local chunk, message = raw_load(text, "@" .. name .. ".lua", "t")
    if not chunk then error(message, 0) end
    return function() return chunk(name, bridge) end, ":built-in:"
end

local search_preload = package.searchers[1]
package.searchers = { search_preload, search_file, search_built_in }

-- From now on `require` reads no files.
function packages.without_files()
    package.searchers = { search_preload, search_built_in }
end

local function copy(t)
    local made = {}
    for key, value in next, t do made[key] = value end
    return made
end

local function put_back(t, before)
    for key in next, copy(t) do
        if before[key] == nil then rawset(t, key, nil) end
    end
    for key, value in next, before do rawset(t, key, value) end
end

-- Gives what call(f, …) does, a protected call; if that fails, the globals and the loaded modules are as they were.
function packages.attempt(call, f, ...)
    local globals, modules = copy(G), copy(loaded)
    local function keep(ok, ...)
        if not ok then
            put_back(G, globals)
            put_back(loaded, modules)
        end
        return ok, ...
    end
    return keep(call(f, ...))
end

function packages.compile(text, name, env)
    if env then return raw_load(text, name, "t", env) end
    return raw_load(text, name, "t")
end

local function replace(name, chunk)
    local value = chunk(name)
    if value == nil then value = true end
    local before = loaded[name]
    loaded[name] = value
    if before ~= nil and G[name] == before then G[name] = value end
    return value
end

-- Puts what chunk(name) returns in the place of a loaded module, and of the global that refers to it.
function package.replace(name, chunk)
    name = check.string(name, 1, "replace")
    if type(chunk) == "string" then
        local compiled, message = raw_load(chunk, "=" .. name, "t")
        if not compiled then error(message, 2) end
        chunk = compiled
    else
        check.callable(chunk, 2, "replace")
    end
    local ok, value = packages.attempt(pcall, replace, name, chunk)
    if not ok then error(value, 0) end
    return value
end

packages.replace = replace

return packages
