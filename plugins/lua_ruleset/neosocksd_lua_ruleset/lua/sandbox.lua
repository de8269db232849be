-- What a script loses with `sandbox = true`: everything that reaches outside of it.

local bridge = ...
local check, guard, packages = bridge.check, bridge.load("guard"), bridge.load("packages")

local error, getinfo, raw_collect, raw_setmetatable, rawget, tostring, type =
    error, debug.getinfo, collectgarbage, setmetatable, rawget, tostring, type
local pcall, relocated = guard.pcall, guard.relocated

io, loadfile, dofile = nil, nil, nil
package.loaded.io = nil

-- `require` finds what is loaded, what is in package.preload, and what is built in: no files. It goes on using the package table that scripts
-- do not have.
packages.without_files()
package = { loaded = package.loaded, preload = package.preload, replace = package.replace }
package.loaded.package = package

local ABOVE = 2 -- levels of the stack between a script and the function of C

-- Tells where, not which function: among those on the stack are entries of ours, which begin a time limit anew.
local function info_of(thread, at, what)
    local info
    if type(thread) == "thread" then
        info = relocated("getinfo", pcall(getinfo, thread, at, what))
    else
        at, what = thread, at
        if type(at) ~= "function" then
            at = check.integer(at, 1, "getinfo")
            if at >= 0 then at = at + ABOVE end
        end
        info = relocated("getinfo", pcall(getinfo, at, what))
    end
    if info then info.func = nil end
    return info
end

debug = { getinfo = info_of, traceback = debug.traceback }
package.loaded.debug = debug
os = { clock = os.clock, date = os.date, difftime = os.difftime, time = os.time }
package.loaded.os = os
await.execute = nil

local ALLOWED = { collect = true, count = true, step = true, isrunning = true }

function _G.collectgarbage(option, ...)
    if option ~= nil and not ALLOWED[option] then
        error("collectgarbage: '" .. tostring(option) .. "' is not allowed in the sandbox", 2)
    end
    return raw_collect(option, ...)
end

function _G.setmetatable(t, meta)
    if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
        error("setmetatable: '__gc' is not allowed in the sandbox", 2)
    end
    return raw_setmetatable(t, meta)
end

return true
