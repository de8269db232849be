-- The entries for callbacks: decisions about requests, and what is called outside of routines.

local bridge = ...
local runs, routines = bridge.load("runs"), bridge.load("routines")

local select, tostring, type, unpack = select, tostring, type, table.unpack
local protected, describe, ENDED = routines.protected, routines.describe, routines.ENDED
local begin, leave, guarded, closing = runs.begin, runs.leave, runs.guarded, runs.closing
local G = _G

local entry = {}

local function call_ruleset(name, ...) return G.ruleset[name](...) end

local function call_optional(name, ...)
    local ruleset = G.ruleset
    if ruleset == nil then return nil end
    local f = ruleset[name]
    if f == nil then return nil end
    return f(...)
end


local requests = {} -- routines of requests that are not decided yet

local function not_a_string(name, index, value)
    return "error", "ruleset." .. name .. " returned a " .. type(value) .. " as value "
        .. index .. ", expected a string"
end

-- What a handler returned, as a kind and texts.
local function judge(task, ok, first, ...)
    if not ok and first ~= ENDED then return "error", describe(first) end
    if not ok or first == nil or task.forwarded then return "reject" end -- where it was forwarded the client has its answer
    local name = task.name
    if type(first) ~= "string" then return not_a_string(name, 1, first) end
    local count = select("#", ...)
    if count == 0 then return "forward", first end
    local values, last = { ... }, 0
    for i = 1, count do
        local value = values[i]
        if value ~= nil then
            if type(value) ~= "string" then return not_a_string(name, i + 1, value) end
            if last ~= i - 1 then return not_a_string(name, i, nil) end
            last = i
        end
    end
    if last > 64 then return "error", "ruleset." .. name .. " returned a chain of " .. last .. " proxies" end
    return "forward", first, unpack(values, 1, last)
end

local decide = bridge.native("decide")

local function settle_request(task, ...)
    requests[task.request] = nil
    decide(task.request, judge(task, ...))
end

local function first_answer(task, over, ...)
    if over then return judge(task, ...) end
    if task.forwarded then return "reject" end
    requests[task.request] = task
    return "pending"
end

-- Asks ruleset[name](address, username, password) for a decision about a request.
function entry.route(request, name, address, username, password)
    begin()
    local task = { request = request, name = name, settle = settle_request }
    return leave(first_answer(task, routines.run(task, call_ruleset, name, address, username, password)))
end

entry.wake = guarded(function(id, ...) routines.wake(id, ...) end)

-- Nobody waits for the decision any more. If the request was granted by await.forward, its routine may go on.
function entry.release(request) requests[request] = nil end

entry.cancel = closing(function(request)
    local task = requests[request]
    if task then
        requests[request] = nil
        routines.cancel(task)
    end
end)

-- The other callbacks, which run outside of routines.

local function text_or_nil(name, ok, value)
    if not ok and value ~= ENDED then return false, describe(value) end
    if not ok or value == nil then return true, nil end
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" then
        return false, "ruleset." .. name .. " returned a " .. kind .. ", expected a string"
    end
    return true, tostring(value)
end

local function callback(name)
    return guarded(function(...)
        return text_or_nil(name, protected(call_optional, name, ...))
    end)
end

entry.stats, entry.metrics, entry.healthy = callback("stats"), callback("metrics"), callback("healthy")

entry.tick = guarded(function(now)
    local ok, message = protected(call_optional, "tick", now)
    if not ok then routines.log("ruleset.tick", message) end
end)
-- The server stops: nothing that a routine waits for will happen.
entry.abandon = closing(function()
    requests = {}
    routines.abandon()
end)

return entry
