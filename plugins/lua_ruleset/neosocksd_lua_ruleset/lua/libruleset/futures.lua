-- Routines with results: async, futures, callbacks as awaits, and calls of named functions on other servers.

local bridge = ...
local text = bridge.load("libruleset/text")
local expect = text.expect

local error, format, load, pack, pcall, select, setmetatable, tostring, type, unpack =
    error, string.format, load, table.pack, pcall, select, setmetatable, tostring, type, table.unpack
local isyieldable, resume, running, status, yield =
    coroutine.isyieldable, coroutine.resume, coroutine.running, coroutine.status, coroutine.yield

local futures = {}

-- Who waits for a future is resumed from here, one after the other. A routine that ends thereby settles its own future, whose
-- waiters join the queue: so a long chain of futures needs no deep stack.
local queue, first, last = {}, 1, 0
local busy -- the event in which the queue is being worked off

local function work_off()
    while first <= last do
        local waiter = queue[first]
        queue[first] = nil
        first = first + 1
        if waiter.is_waiting and status(waiter.co) == "suspended" then
            local ok, message = resume(waiter.co)
            if not ok then text.evlogf("error in a coroutine: %s", tostring(message)) end
        end
    end
    first, last = 1, 0
end

local function notify(waiters)
    for i = 1, #waiters do
        last = last + 1
        queue[last] = waiters[i]
    end
    -- If the loop was ended by the time limit, `busy` names an event that is over.
    local event = neosocksd.now()
    if busy == event then return end
    busy = event
    local ok, message = pcall(work_off)
    busy = nil
    if not ok then error(message, 0) end
end

local Future = {}
Future.__index = Future
Future.__name = "future"

local function new_future() return setmetatable({ waiters = {} }, Future) end

local function settle(future, ...)
    if future.results then return end
    future.results = pack(...)
    local waiters = future.waiters
    future.waiters = nil
    if #waiters > 0 then notify(waiters) end
end

local function wait_for(future, level)
    if future.results then return end
    local co, is_main = running()
    if is_main or not isyieldable() then error("not in asynchronous routine", level + 1) end
    local waiter = { co = co, is_waiting = true }
    future.waiters[#future.waiters + 1] = waiter
    -- Somebody else may resume the coroutine too.
    repeat yield() until future.results
    waiter.is_waiting = false
end

-- Waits for the routine's end: true and what it returned, or false and its error.
function Future:get()
    wait_for(self, 2)
    return unpack(self.results, 1, self.results.n)
end

-- Starts f(…) as a routine, which runs until it first awaits.
function futures.async(f, ...)
    if type(f) ~= "function" then expect("function", f, 1, "async") end
    local future = new_future()
    local co, message = neosocksd.async(function(...) settle(future, ...) end, f, ...)
    if not co then settle(future, false, message) end
    return future
end

-- f(callback, …) in a routine: gives what the callback is called with, be it at once or later. Only its first call counts.
function futures.callback(f, ...)
    if type(f) ~= "function" then expect("function", f, 1, "callback") end
    local _, is_main = running()
    if is_main then error("not in asynchronous routine", 2) end
    local future = new_future()
    f(function(...) settle(future, ...) end, ...)
    wait_for(future, 2)
    return unpack(future.results, 1, future.results.n)
end

-- The values that `marshal` wrote. The text is run as Lua in an empty environment.
function futures.unmarshal(s)
    expect("string", s, 1, "unmarshal")
    local chunk, message = load("return " .. s, "=(unmarshal)", "t", {})
    if not chunk then error(message, 2) end
    return chunk()
end

local function target_of(target, name)
    if type(target) == "string" then return { target } end
    if type(target) ~= "table" or type(target[1]) ~= "string" then
        error("bad argument #1 to '" .. name .. "' ({address, proxies...} expected)", 3)
    end
    return target
end

-- ",a,b" for the arguments, nothing for none. What cannot be marshalled is an error where the API function was called.
local function marshalled(...)
    if select("#", ...) == 0 then return "" end
    local ok, values = pcall(marshal, ...)
    if not ok then error(values, 3) end
    return "," .. values
end

local RPC = "local f=rpc[%s] if not f then return false,%s end return pcall(f%s)"
local MESSAGE = "local f=msgh[%s] if f then f(select(2,nil%s)) end"

-- What came back: true, then what the code returned, which is pcall's result.
local function answered(ok, ...)
    if not ok then return false, (...) end
    return ...
end

-- rpc[func](…) on another server. true and its results, or false and a message.
function futures.rpcall(target, func, ...)
    target = target_of(target, "rpcall")
    expect("string", func, 2, "rpcall")
    local code = format(RPC, marshal(func), marshal("no such function: rpc." .. func), marshalled(...))
    local ok, result = await.invoke(code, unpack(target))
    if not ok then return false, result end
    return answered(result())
end

-- msgh[func](…) on another server; nothing comes back, and a message that cannot be delivered is lost.
function futures.sendmsg(target, func, ...)
    target = target_of(target, "sendmsg")
    expect("string", func, 2, "sendmsg")
    neosocksd.invoke(format(MESSAGE, marshal(func), marshalled(...)), unpack(target))
end

return futures
