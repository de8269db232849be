-- neosocksd.*: what a script asks of the server.

local bridge = ...
local guard, routines, check = bridge.load("guard"), bridge.load("routines"), bridge.check

local collectgarbage, error, find, match, pack, tointeger, tonumber, traceback =
    collectgarbage, error, string.find, string.match, table.pack, math.tointeger, tonumber, debug.traceback

local native = {}
for _, name in ipairs({
    "config", "resolve", "splithostport", "parse_ipv6", "set_interval", "invoke", "statistics", "clock",
    "log_error", "exit",
}) do
    native[name] = bridge.native(name)
end

local neosocksd = {}

local function fields(ok, ...)
    if not ok then error((...), 3) end
    local list, made = pack(...), {}
    for i = 1, list.n, 2 do made[list[i]] = list[i + 1] end
    return made
end

-- The configuration in force, a table of fields.
function neosocksd.config()
    local made = fields(native.config())
    return made
end

-- Raw statistics, a table of counters.
function neosocksd.stats()
    local made = fields(native.statistics())
    made.bytes_allocated = collectgarbage("count") * 1024 // 1 | 0
    made.num_thread_active, made.num_thread_peak = routines.count(), routines.peak
    return made
end

-- Looks a name up, and blocks the whole server until it is found. nil on failure.
function neosocksd.resolve(name)
    name = check.string(name, 1, "resolve")
    local ok, address = native.resolve(name)
    if not ok then error(address, 2) end
    return address
end

-- Host and port of an address, two strings.
function neosocksd.splithostport(address)
    address = check.string(address, 1, "splithostport")
    local ok, host, port = native.splithostport(address)
    if not ok then error(host, 2) end
    return host, port
end

local DOTTED = "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$"
local ZERO = "%f[%d]0%d" -- before a number, which some read as octal

-- An IPv4 address as an integer; nil if it is none. In Lua, since every request for an address asks for it.
function neosocksd.parse_ipv4(text)
    text = check.string(text, 1, "parse_ipv4")
    local a, b, c, d = match(text, DOTTED)
    if not a or find(text, ZERO) then return nil end
    a, b, c, d = tointeger(tonumber(a)), tointeger(tonumber(b)), tointeger(tonumber(c)), tointeger(tonumber(d))
    if a > 255 or b > 255 or c > 255 or d > 255 then return nil end
    return a << 24 | b << 16 | c << 8 | d
end

-- An IPv6 address as two integers, the high half first; nil if it is none.
function neosocksd.parse_ipv6(text)
    text = check.string(text, 1, "parse_ipv6")
    local _, high, low = native.parse_ipv6(text)
    if high == nil then return nil end
    return high, low
end

-- Calls ruleset.tick every so many seconds; with a negative number whenever there is nothing else to do; 0 stops it.
function neosocksd.setinterval(seconds)
    seconds = check.number(seconds, 1, "setinterval")
    local ok, message = native.set_interval(seconds)
    if not ok then error(message, 2) end
end

-- Starts finish(pcall(func, …)) as a routine; gives its coroutine, or nil and an error.
function neosocksd.async(finish, func, ...)
    check.callable(finish, 1, "async")
    check.callable(func, 2, "async")
    return routines.async(finish, func, ...)
end

-- Runs code on another server, reached through proxies of which the last is dialled first. Failures are dropped.
function neosocksd.invoke(code, address, ...)
    check.strings("invoke", code, address, ...)
    local ok, message = native.invoke(code, address, ...)
    if not ok then error(message, 2) end
end

-- Unix time of the event that is being served, in seconds.
function neosocksd.now()
    local now = guard.now
    if not now then
        local _, seconds = native.clock()
        now = seconds
        guard.now = now
    end
    return now
end

-- A message handler for xpcall: logs the traceback of an error and hands the error on.
function neosocksd.traceback(message)
    native.log_error(traceback(routines.describe(message), 2))
    return message
end

-- The server stops in good order, with that exit status.
function os.exit(code)
    local status = 0
    if code == false then
        status = 1
    elseif code ~= nil and code ~= true then
        status = check.integer(code, 1, "exit")
    end
    native.exit(status)
    guard.interrupt(routines.ENDED)
end

io.stdout:setvbuf("line") -- what a script prints is seen at once, also where it goes into a file or a pipe

_G.neosocksd = neosocksd
package.loaded.neosocksd = neosocksd

return neosocksd
