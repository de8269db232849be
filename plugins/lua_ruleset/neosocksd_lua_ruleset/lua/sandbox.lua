-- What a script loses with `sandbox = true`: everything that reaches outside of it.

local error, raw_collect, raw_setmetatable, rawget, tostring, type =
    error, collectgarbage, setmetatable, rawget, tostring, type

io, loadfile, dofile = nil, nil, nil
package.loaded.io = nil
debug = { getinfo = debug.getinfo, traceback = debug.traceback }
package.loaded.debug = debug
os = { clock = os.clock, date = os.date, difftime = os.difftime, time = os.time }
package.loaded.os = os
package.loadlib = nil
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
