-- Runs of scripts: how Python's calls enter and leave the machine, with their limits of time and memory.

local bridge = ...
local guard, routines = bridge.load("guard"), bridge.load("routines")

local collectgarbage, max = collectgarbage, math.max
local enter, end_limit, arm, disarm = guard.enter, guard.leave, bridge.arm, bridge.disarm

local options = bridge.options
local time_limit, load_limit = options.time_limit, options.load_time_limit
local soft_limit = options.soft_limit -- in KiB
local threshold = soft_limit
bridge.set_hard_limit(options.hard_limit)

local runs = {}

-- Begins a run of scripts, with their limits.
function runs.begin()
    enter(time_limit)
    arm()
end

-- Ends a run of scripts. Above the soft limit of memory a collection is forced; while much is alive, not at every call.
function runs.leave(...)
    end_limit()
    disarm()
    if threshold > 0 and collectgarbage("count") > threshold then
        collectgarbage("collect")
        threshold = max(soft_limit, collectgarbage("count") * 1.1)
    end
    return ...
end

local begin, leave = runs.begin, runs.leave

-- f as a run of scripts.
function runs.guarded(f)
    return function(...)
        begin()
        return leave(f(...))
    end
end

-- f as a run that must not fail for lack of memory.
function runs.closing(f)
    return function(...)
        enter(time_limit)
        return leave(f(...))
    end
end

-- f as a run that loads a script.
function runs.loading(f)
    return function(...)
        enter(load_limit)
        return leave(f(...))
    end
end

-- Takes over new limits: seconds, KiB of memory from which on to collect, whether there is a hard limit.
function runs.configure_limits(time, load_time, soft, hard, traceback)
    time_limit, load_limit = time, load_time
    soft_limit, threshold = soft, soft
    bridge.set_hard_limit(hard)
    routines.set_traceback(traceback)
end

return runs
