-- time.*: POSIX clocks, in seconds.

local bridge = ...

local error = error

local function clock(name)
    local read = bridge.native(name)
    return function()
        local ok, now = read()
        if not ok then error(now, 2) end
        return now
    end
end

local time = {
    monotonic = clock("clock_monotonic"), -- CLOCK_MONOTONIC
    process = clock("clock_process"), -- CLOCK_PROCESS_CPUTIME_ID
    thread = clock("clock_thread"), -- CLOCK_THREAD_CPUTIME_ID
    wall = clock("clock_wall"), -- CLOCK_REALTIME
}
time.unix = time.wall

local monotonic, check = time.monotonic, bridge.check

local function since(begin, ...) return monotonic() - begin, ... end

-- The time that f(…) takes, by the monotonic clock, then what it returns. f may await.
function time.measure(f, ...)
    check.callable(f, 1, "measure")
    return since(monotonic(), f(...))
end

_G.time = time
package.loaded.time = time

return time
