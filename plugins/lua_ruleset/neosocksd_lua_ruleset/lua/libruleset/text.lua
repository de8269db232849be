-- Output, log, recent events, and small additions to `string` and `table`.

local G = _G

local concat, date, error, floor, format, gsub, lower, pack, select, sub, tostring, type =
    table.concat, os.date, error, math.floor, string.format, string.gsub, string.lower, table.pack, select, string.sub, tostring, type
local getinfo = debug and debug.getinfo
local print = print

local INFO = 6 -- the loglevel from which on the log is printed

local text = {}

-- RFC 3339, local time with its numeric offset: 2024-05-01T12:00:00+02:00.
function text.format_timestamp(t)
    local seconds = t and floor(t) or nil
    local stamp = date("%Y-%m-%dT%H:%M:%S%z", seconds)
    return (gsub(stamp, "([+-]%d%d)(%d%d)$", "%1:%2"))
end
local format_timestamp = text.format_timestamp

function text.printf(...) return print(format(...)) end

local function is_verbose()
    local config = G.config
    local level = config and config.loglevel
    return type(level) == "number" and level >= INFO
end

-- Where the caller of the log function stands. Call it from that function itself.
local function place()
    local info = getinfo and getinfo(3, "Sl")
    if not info or info.currentline <= 0 then return "?" end
    return info.short_src .. ":" .. info.currentline
end

local function write(source, message)
    if is_verbose() then
        print(format_timestamp(neosocksd.now()) .. " " .. source .. " " .. message)
    end
end

local function join(...)
    local pieces = pack(...)
    for i = 1, pieces.n do pieces[i] = tostring(pieces[i]) end
    return concat(pieces, "\t", 1, pieces.n)
end

-- An event goes to the log and to `recent_events`, where equal neighbours are one entry with a count.
local function record(source, message)
    write(source, message)
    local events = G.recent_events
    if not events then return end
    local now, newest = neosocksd.now(), events:get(1)
    if newest and newest.message == message and newest.source == source then
        newest.count, newest.time = newest.count + 1, now
    else
        events:push({ time = now, source = source, message = message, count = 1 })
    end
end

function text.log(...)
    if is_verbose() then
        local source = place()
        write(source, join(...))
    end
end

function text.logf(...)
    if is_verbose() then
        local source = place()
        write(source, format(...))
    end
end

function text.evlog(...)
    local source = place()
    record(source, join(...))
end

function text.evlogf(...)
    local source = place()
    record(source, format(...))
end

-- An event of the rules: *source* is the line of the script that it comes from.
function text.event(source, ...) record(source, format(...)) end

-- The most recent events as lines, newest first; *filter* is a plain text that each must contain.
function text.describe_events(limit, filter)
    local lines, events = {}, G.recent_events
    if not events then return lines end
    for _, event in events:iter() do
        if #lines >= limit then break end
        if not filter or event.message:find(filter, 1, true) then
            local times = event.count > 1 and " (x" .. event.count .. ")" or ""
            lines[#lines + 1] = format_timestamp(event.time) .. " " .. event.source .. " " .. event.message .. times
        end
    end
    return lines
end

-- A Lua pattern for a lower-case text: its letters are lower case too, its classes stay as they are.
function text.folded(pattern)
    return (gsub(pattern, "%%?.", function(piece)
        return #piece == 1 and lower(piece) or nil
    end))
end

function text.startswith(s, prefix)
    text.expect("string", s, 1, "startswith")
    text.expect("string", prefix, 2, "startswith")
    return sub(s, 1, #prefix) == prefix
end

function text.endswith(s, suffix)
    text.expect("string", s, 1, "endswith")
    text.expect("string", suffix, 2, "endswith")
    return suffix == "" or sub(s, -#suffix) == suffix
end

-- t[k1][k2]…, nil as soon as a step is nil.
function text.get(t, ...)
    for i = 1, select("#", ...) do
        if t == nil then return nil end
        t = t[(select(i, ...))]
    end
    return t
end

-- The argument, or an error with the position of who called the function that calls this.
function text.expect(kind, value, index, name)
    if type(value) ~= kind then
        error("bad argument #" .. index .. " to '" .. name .. "' (" .. kind .. " expected, got " .. type(value) .. ")", 3)
    end
    return value
end

-- The same for what a matcher lists, a text or a table. It is called one function further in.
function text.expect_list(value, name)
    if type(value) ~= "string" and type(value) ~= "table" then
        error("bad argument #1 to '" .. name .. "' (string or table expected, got " .. type(value) .. ")", 4)
    end
    return value
end

return text
