-- The entries for code of others: posted code, and remote calls.

local bridge = ...
local runs, routines, packages = bridge.load("runs"), bridge.load("routines"), bridge.load("packages")

local setmetatable = setmetatable
local pcall, protected, describe = bridge.load("guard").pcall, routines.protected, routines.describe
local guarded, closing = runs.guarded, runs.closing
local marshal = bridge.load("marshal")
local G = _G

local entry = {}

local function environment() return setmetatable({}, { __index = G }) end

entry.invoke = guarded(function(text)
    local chunk, message = packages.compile(text, "=(invoke)", environment())
    if not chunk then return false, message end
    local ok, failure = protected(chunk)
    if not ok then return false, describe(failure) end
    return true
end)

local calls = {}
local answer = bridge.native("answer")

-- The outcome of a call: what is sent back, or what went wrong.
local function results_of(ok, ...)
    if not ok then return false, describe((...)) end
    local good, text = pcall(marshal, true, ...)
    if not good then return false, describe(text) end
    return true, "return " .. text
end

local function settle_call(task, ...)
    calls[task.call] = nil
    answer(task.call, results_of(...))
end

local function first_result(task, over, ...)
    if over then return "done", results_of(...) end
    calls[task.call] = task
    return "pending"
end

-- Runs code in a routine, and marshals what it returns.
entry.call = guarded(function(call, text)
    local chunk, message = packages.compile(text, "=(rpc)", environment())
    if not chunk then return "bad", message end
    local task = { call = call, settle = settle_call }
    return first_result(task, routines.run(task, chunk))
end)

entry.cancel_call = closing(function(call)
    local task = calls[call]
    if task then
        calls[call] = nil
        routines.cancel(task)
    end
end)

return entry
