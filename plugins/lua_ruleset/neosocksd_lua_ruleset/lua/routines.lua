-- Asynchronous routines: coroutines from a pool, what they wait for, and who they belong to.
--
-- A routine that waits stands under an id in `waiting`; Python knows the id, and calls `wake(id, …)` on the main state when the
-- time has come. A yield may be received by anybody (a script may resume coroutines itself), so a routine that was resumed by
-- somebody else while it waits for Python yields again.

local bridge = ...
local guard = bridge.load("guard")

local error, getmetatable, gsub, next, pack, setmetatable, tostring, traceback, type, unpack =
    error, debug.getmetatable, string.gsub, next, table.pack, setmetatable, tostring, debug.traceback, type, table.unpack
local isyieldable, running, status, yield =
    coroutine.isyieldable, coroutine.running, coroutine.status, coroutine.yield
local close, create, pcall, resume, xpcall = guard.close, guard.create, guard.pcall, guard.resume, guard.xpcall
local owners, hook = guard.owners, guard.hook
local cancel_native = bridge.native("cancel")
local log_native = bridge.native("log_error")

local MAX_IDLE = 256

local routines = { active = 0, peak = 0 }

-- What os.exit ends the running script with. It is no failure, so it is not logged.
local ENDED = "the script has ended the server"
routines.ENDED = ENDED

local waiting = {} -- by id: { co = coroutine, task = its routine }
local waits = setmetatable({}, { __mode = "k" }) -- by coroutine: the id it waits under
local last_id = 0
local idle = {} -- parked workers
local num_idle = 0

local JOB, DONE = {}, {} -- nobody else can send these

-- An error object as a text that is never empty.
local function describe(value)
    if type(value) == "string" then return value end
    local ok, text = pcall(tostring, value)
    if ok and type(text) == "string" and type(value) ~= "nil" and type(value) ~= "table" then
        return text
    end
    if ok and type(value) == "table" and (getmetatable(value) or {}).__tostring then
        return text
    end
    if not ok and type(text) == "string" then return text end -- what __tostring raised
    return "(error object is a " .. type(value) .. " value)"
end
routines.describe = describe

function routines.log(where, value)
    if value == ENDED then return end
    log_native(where .. ": " .. describe(value))
end

local tracing = bridge.options.traceback
function routines.set_traceback(on) tracing = on end

local function trace(value)
    if value ~= ENDED then log_native(traceback(describe(value), 2)) end
    return value
end

-- pcall(f, …) that logs the traceback of an error if that is asked for. It catches what ends a script, too: a routine that is ended so must be settled.
local function protected(f, ...)
    if tracing then return xpcall(f, trace, ...) end
    return pcall(f, ...)
end
routines.protected = protected

-- Calls finish(…) so that it cannot yield: there is a C function between it and the coroutine.
local function finish_with(finish, ...)
    local results, ok, message = pack(...), true, nil
    gsub("-", "-", function()
        ok, message = protected(finish, unpack(results, 1, results.n))
        return nil
    end)
    if not ok then routines.log("error in the finish function of a routine", message) end
end

local function awaken(token, ...)
    if token ~= JOB then return awaken(yield()) end -- resumed by somebody who holds a finished routine
    return ...
end

local function park(co, ...)
    owners[co] = nil
    routines.active = routines.active - 1
    if num_idle < MAX_IDLE then
        num_idle = num_idle + 1
        idle[num_idle] = co
    end
    return awaken(yield(...))
end

local work

-- A job is over: tell, park, and go on with the next.
local function settle(task, co, ...)
    if task.settle == nil then
        finish_with(task.finish, ...)
        return work(park(co))
    end
    if task.detached then
        task.settle(task, ...)
        return work(park(co))
    end
    return work(park(co, DONE, ...))
end

function work(task, f, ...)
    return settle(task, running(), protected(f, ...))
end

local function body(_, ...) return work(...) end

-- Starts f(…) as the routine *task* in a coroutine of the pool; gives the coroutine and what the first step yielded.
local function launch(task, f, ...)
    local co
    while num_idle > 0 and not co do
        co = idle[num_idle]
        idle[num_idle] = nil
        num_idle = num_idle - 1
        if status(co) ~= "suspended" then co = nil end
    end
    if not co then
        co = create(body)
        hook(co)
    end
    task.co = co
    owners[co] = task
    local active = routines.active + 1
    routines.active = active
    if active > routines.peak then routines.peak = active end
    return co, resume(co, JOB, task, f, ...)
end

-- Starts a request's or a call's routine. If it ends at once gives true and what protected(f, …) gave; otherwise nil,
-- and task.settle(task, ok, …) is called at its end.
local function first_step(task, _, ok, token, ...)
    if token == DONE then return true, ... end
    if not ok then
        routines.active = routines.active - 1
        return true, false, token
    end
    task.detached = true
    return nil
end

-- Counts the routines that live; those that nobody can resume any more are gone without a word.
function routines.count()
    local count = 0
    for co, task in next, owners do
        if task.co == co then count = count + 1 end
    end
    routines.active = count
    return count
end

function routines.run(task, f, ...)
    return first_step(task, launch(task, f, ...))
end

-- neosocksd.async: finish(pcall(f, …)) in a routine of its own.
function routines.async(finish, f, ...)
    local co, ok, message = launch({ finish = finish }, f, ...)
    guard.check()
    if not ok then
        routines.active = routines.active - 1
        return nil, message
    end
    return co
end

local function suspend(entry)
    yield()
    while not entry.results do yield() end
    return unpack(entry.results, 1, entry.results.n)
end

-- Waits for an operation: start(id, …), a native function, begins it, and wake(id, …) ends it. Called by the API function, which the
-- script called. Gives what `wake` was given.
function routines.await(start, ...)
    local co, main = running()
    if main then error("not in asynchronous routine", 3) end
    if not isyieldable() then error("attempt to yield across a C-call boundary", 3) end
    last_id = last_id + 1
    local id = last_id
    local ok, message = start(id, ...)
    if not ok then error(message, 3) end
    local task = owners[co]
    local entry = { co = co, task = task }
    waiting[id], waits[co] = entry, id
    if task then
        local ids = task.ids
        if not ids then
            ids = {}
            task.ids = ids
        end
        ids[id] = true
    end
    return suspend(entry)
end

-- The routine that runs, nil outside of all.
function routines.current() return owners[running()] end

local function forget(id)
    local entry = waiting[id]
    if not entry then return nil end
    waiting[id], waits[entry.co] = nil, nil
    if entry.task then entry.task.ids[id] = nil end
    return entry
end

local function resumed(entry, ok, message)
    if not ok and not (entry.task and entry.task.co == entry.co) then
        routines.log("error in a coroutine", message)
    end
end

-- What the routine under *id* waited for has happened.
function routines.wake(id, ...)
    local entry = forget(id)
    if not entry then return end
    entry.results = pack(...)
    if status(entry.co) == "suspended" then resumed(entry, resume(entry.co)) end
end

local function stop_waiting(co)
    local id = waits[co]
    if id then
        forget(id)
        cancel_native(id)
    end
end
guard.on_close = stop_waiting

-- Ends a routine that nobody wants any more, with all that it waits for. Its to-be-closed variables are closed.
function routines.cancel(task)
    local abandoned = { task.co }
    for id in next, task.ids or {} do
        local entry = waiting[id]
        if entry.co ~= task.co then abandoned[#abandoned + 1] = entry.co end
    end
    for i = #abandoned, 1, -1 do
        local co = abandoned[i]
        stop_waiting(co)
        if owners[co] == task then
            owners[co] = nil
            if co == task.co then routines.active = routines.active - 1 end
            if close and status(co) == "suspended" then
                local ok, message = close(co)
                if not ok then routines.log("error while a routine was closed", message) end
            end
        end
    end
end

-- Ends everything that waits for Python.
function routines.abandon()
    local tasks, others = {}, {}
    for _, entry in next, waiting do
        if entry.task then tasks[entry.task] = true else others[#others + 1] = entry.co end
    end
    for task in next, tasks do routines.cancel(task) end
    for _, co in next, others do
        stop_waiting(co)
        if close and status(co) == "suspended" then close(co) end
    end
end

return routines
