-- The time limit: a count hook on every coroutine that is made, and the functions that must not swallow its error.
--
-- A hook belongs to one coroutine, so `coroutine.create` and `wrap` set it; the error that it raises would be caught by a
-- script's own `pcall` in a loop, so everything that catches errors raises it again until the script has been left.

local bridge = ...

local error, getinfo, gsub, select, sethook, setmetatable, status, sub =
    error, debug.getinfo, string.gsub, select, debug.sethook, setmetatable, coroutine.status, string.sub
local close, create, resume, running, wrap =
    coroutine.close, coroutine.create, coroutine.resume, coroutine.running, coroutine.wrap
local pcall, xpcall = pcall, xpcall
local check, monotonic = bridge.check, bridge.monotonic

local INSTRUCTIONS = 300  -- between two looks at the clock
local FEW = 10             -- where these took long
local SLOW = 0.05          -- seconds
local UNITS = 1e6          -- of work in C between two looks: bytes, steps, elements

-- Files that keep the books, of routines, of who waits for a future, and of what Python holds for us: what they have begun they finish. And
-- those that these call for it.
local BOOKS = {}
for _, name in ipairs({
    "api", "boot", "callbacks", "calls", "check", "entry", "guard", "handles", "libruleset/futures", "loading", "matchsets", "packages", "regex",
    "routines", "runs", "shell",
}) do
    BOOKS["=neosocksd/" .. name] = true
end

local interrupted -- the error that ends the script that runs now
local allowed     -- its time in seconds
local started     -- when it was first looked at
local looked      -- and when last
local spent = 0   -- units of work in C since then

local guard = {}

-- Where the script stands: the line of the innermost function that is not ours.
function guard.place()
    for level = 2, 300 do
        local info = getinfo(level, "Sl")
        if not info then break end
        if info.currentline > 0 and sub(info.short_src, 1, 10) ~= "neosocksd/" then
            return info.short_src .. ":" .. info.currentline .. ": "
        end
    end
    return ""
end

-- Looks at the clock, and ends the script whose time is over; gives the seconds since the last look. *hooked*: a hook looks, which may have
-- come upon any function.
local function look(hooked)
    if not allowed then return 0 end
    local now = monotonic()
    if not started then started, looked = now, now end
    if now - started > allowed then
        if hooked and BOOKS[getinfo(3, "S").source] then return 2 * SLOW end -- it is looked again soon
        interrupted = interrupted or guard.place() .. "time limit of " .. allowed .. " seconds exceeded"
        error(interrupted, 0)
    end
    local passed = now - looked
    looked, spent = now, 0
    return passed
end

local function hook()
    local passed = look(true)
    -- A few instructions can take long, if they join strings of many megabytes, say: then it is looked after each few.
    if passed > SLOW then
        sethook(guard.careful_hook, "", FEW)
    end
end

function guard.careful_hook()
    if look(true) < SLOW / 10 then sethook(hook, "", INSTRUCTIONS) end
end

-- Instructions that make long strings cause collections. So after each of them it is looked at once: an object that nothing refers to is
-- finalized, and is given its finalizer again, which takes no memory. No hook runs in a finalizer, but its instructions count, so
-- that any greater number could always come to its end in there.
local cycle = {}
function cycle.__gc(object)
    if allowed then sethook(guard.careful_hook, "", 1) end
    setmetatable(object, cycle)
end
setmetatable({}, cycle)

-- What pcall(f, …) gave for a function of C of that name, which calls nothing of the script: its results, or its error at the place where the
-- script called it.
function guard.relocated(name, ok, ...)
    if ok then return ... end
    local message = gsub((...), "'%?'", "'" .. name .. "'", 1)
    error(guard.place() .. message, 0)
end

-- To be called with what a function of C may cost, before or after it.
function guard.spend(units)
    spent = spent + units
    if spent > UNITS then look() end
end

-- Begins a run of scripts; *seconds* is nil or 0 where they may take any time.
function guard.enter(seconds)
    interrupted, started, guard.now, spent = nil, nil, nil, 0
    allowed = seconds and seconds > 0 and seconds or nil
end

-- Ends a run: what the machine does by itself has no limit.
function guard.leave() allowed = nil end

-- Ends the running script with an error that it cannot catch.
function guard.interrupt(message)
    interrupted = message
    error(message, 0)
end

guard.hook = function(co) sethook(co, hook, "", INSTRUCTIONS) end
guard.pcall, guard.xpcall, guard.resume, guard.create, guard.close = pcall, xpcall, resume, create, close
guard.getinfo = getinfo

local function pass(ok, ...)
    if not ok and interrupted then error(interrupted, 0) end
    return ok, ...
end

-- Goes on only if the running script has not been ended.
function guard.check()
    if interrupted then error(interrupted, 0) end
end

function _G.pcall(...)
    if select("#", ...) == 0 then check.bad(1, "pcall", "value expected") end
    return pass(pcall(...))
end

function _G.xpcall(f, handler, ...)
    check.of_type("function", handler, 2, "xpcall")
    return pass(xpcall(f, function(message)
        -- No hook runs in the handler of an error that the hook raised.
        if interrupted then return message end
        return handler(message)
    end, ...))
end

function coroutine.resume(co, ...)
    check.of_type("thread", co, 1, "resume")
    return pass(resume(co, ...))
end

-- Which routine a coroutine works for: the one in which it was made.
local owners = setmetatable({}, { __mode = "k" })
guard.owners = owners

function coroutine.create(f)
    check.of_type("function", f, 1, "create")
    local co = create(f)
    sethook(co, hook, "", INSTRUCTIONS)
    owners[co] = owners[running()]
    return co
end

function coroutine.wrap(f)
    check.of_type("function", f, 1, "wrap")
    local owner = owners[running()]
    return wrap(function(...)
        sethook(hook, "", INSTRUCTIONS)
        owners[running()] = owner
        return f(...)
    end)
end

if close then
    guard.on_close = function() end
    function coroutine.close(co)
        check.of_type("thread", co, 1, "close")
        if status(co) == "suspended" then guard.on_close(co) end
        return pass(guard.relocated("close", pcall(close, co)))
    end
end

sethook(hook, "", INSTRUCTIONS)

return guard
