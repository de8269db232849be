-- await.*: what a routine can wait for.

local bridge = ...
local routines, check = bridge.load("routines"), bridge.check

local error, load = error, load
local await_operation, current, check_strings = routines.await, routines.current, check.strings

local await = {}

local execute, forward, invoke, resolve, sleep, decide =
    bridge.native("await_execute"), bridge.native("await_forward"), bridge.native("await_invoke"),
    bridge.native("await_resolve"), bridge.native("await_sleep"), bridge.native("decide")

-- Pauses the routine for at least so many seconds, 0 to 1e9.
function await.sleep(seconds)
    seconds = check.number(seconds, 1, "sleep")
    if not (seconds >= 0 and seconds <= 1e9) then check.bad(1, "sleep", "interval out of range") end
    await_operation(sleep, seconds)
end

-- Pauses the routine until the events that are ready have been served.
function await.idle() await_operation(sleep, 0) end

-- The address of a name; nil if it has none.
function await.resolve(name)
    name = check.string(name, 1, "resolve")
    local address = await_operation(resolve, name)
    return address
end

-- Runs a command by /bin/sh; gives what os.execute does. If the routine is abandoned the command is killed.
function await.execute(command)
    command = check.string(command, 1, "execute")
    local ok, what, status = await_operation(execute, command)
    return ok, what, status
end

-- Runs code on another server. true and a function that gives its results, or false and a message.
function await.invoke(code, address, ...)
    check_strings("invoke", code, address, ...)
    local ok, text = await_operation(invoke, code, address, ...)
    if not ok then return false, text end
    local f, message = load(text, "=(rpc)", "t", {})
    if not f then return false, message end
    return true, f
end

-- Connects the request of this handler now. true: the session relays. false and a message: another way may be tried.
function await.forward(...)
    local task = current()
    if not task or not task.request then error("await.forward: not in a request handler", 2) end
    if task.forwarded then error("await.forward: the request has been forwarded already", 2) end
    if (...) == nil then
        task.forwarded = true
        if task.detached then decide(task.request, "reject") end
        return nil
    end
    check_strings("forward", ...)
    local ok, message = await_operation(forward, task.request, ...)
    if ok then
        task.forwarded = true
        return true
    end
    return false, message
end

_G.await = await
package.loaded.await = await

return await
