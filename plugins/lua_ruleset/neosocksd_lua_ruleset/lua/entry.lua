-- The functions that Python calls. Each runs on the main state, outside every coroutine, takes and gives primitives only,
-- and raises nothing that a script could cause.

local bridge = ...
local guard, runs, routines = bridge.load("guard"), bridge.load("runs"), bridge.load("routines")
local handles, census = bridge.load("handles"), bridge.load("census")

local collectgarbage, next, unpack = collectgarbage, next, table.unpack

-- What scripts use. Each sets its globals.
for _, name in ipairs({ "packages", "marshal", "regex", "time", "zlib", "api", "await", "shell" }) do
    bridge.load(name)
end

local list = {}

local function offer(name, f)
    list[#list + 1] = name
    list[#list + 1] = f
end

for _, part in ipairs({ "callbacks", "loading", "calls" }) do
    for name, f in next, bridge.load(part) do offer(name, f) end
end

offer("configure_limits", runs.configure_limits)
offer("collect", function()
    collectgarbage("collect")
    handles.sweep()
end)
offer("close", function()
    guard.enter(nil)
    bridge.close()
end)
offer("census", census.step)
offer("measure", function() return routines.count(), routines.peak end)

-- Gives all of them, each with its name before it.
return function() return unpack(list) end
