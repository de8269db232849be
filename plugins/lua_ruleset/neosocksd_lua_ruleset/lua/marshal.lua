-- marshal(...): values as Lua source, separated by commas. The text is plain data, for `load` with an empty environment.
--
-- Metatables are ignored, so that what is written does not depend on code; what a table shares is written twice.

local concat, error, format, gsub, math_type, next, pcall, rawget, select, type =
    table.concat, error, string.format, string.gsub, math.type, next, pcall, rawget, select, type

local HUGE, MININTEGER = math.huge, math.mininteger
local DECIMAL_BELOW = 10 ^ 12 // 1 | 0

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\\n" }
for byte = 0, 127 do
    local char = string.char(byte)
    if (byte < 32 or byte == 127) and not ESCAPES[char] then ESCAPES[char] = format("\\%03d", byte) end
end

local function write_string(value)
    return '"' .. gsub(value, '[\0-\31\127"\\]', ESCAPES) .. '"'
end

local function write_integer(value)
    if -DECIMAL_BELOW < value and value < DECIMAL_BELOW then return format("%d", value) end
    if value == MININTEGER then return format("0x%x", value) end
    if value < 0 then return format("-0x%x", -value) end
    return format("0x%x", value)
end

local function write_float(value)
    if value ~= value then return "0/0" end
    if value == HUGE then return "1/0" end
    if value == -HUGE then return "-1/0" end
    if value == 0 then return 1 / value < 0 and "-0.0" or "0" end
    return format("%a", value)
end

local function write_number(value)
    if math_type(value) == "integer" then return write_integer(value) end
    return write_float(value)
end

local writers = {
    ["nil"] = function() return "nil" end,
    boolean = function(value) return value and "true" or "false" end,
    number = write_number,
    string = write_string,
}

-- Appends the value's text to out[n + 1], …; gives the new n. `open` holds the tables that are being written.
local function write(out, n, value, open)
    local kind = type(value)
    local writer = writers[kind]
    if writer then
        out[n + 1] = writer(value)
        return n + 1
    end
    if kind ~= "table" then error({ "unable to marshal a " .. kind }, 0) end
    if open[value] then error({ "unable to marshal a table that contains itself" }, 0) end
    open[value] = true
    n = n + 1
    out[n] = "{"
    local count = 0
    while true do
        local item = rawget(value, count + 1)
        if item == nil then break end
        count = count + 1
        n = write(out, n, item, open) + 1
        out[n] = ","
    end
    for key, item in next, value do
        if not (math_type(key) == "integer" and 1 <= key and key <= count) then
            out[n + 1] = "["
            n = write(out, n + 1, key, open) + 1
            out[n] = "]="
            n = write(out, n, item, open) + 1
            out[n] = ","
        end
    end
    out[n + 1] = "}"
    open[value] = nil
    return n + 1
end

local function write_all(out, ...)
    local n, open = 0, {}
    for i = 1, select("#", ...) do
        if i > 1 then
            n = n + 1
            out[n] = ","
        end
        n = write(out, n, (select(i, ...)), open)
    end
end

-- The values as Lua source. Raises for functions, userdata, threads, and for a table that contains itself.
function _G.marshal(...)
    local out = {}
    local ok, failure = pcall(write_all, out, ...)
    if ok then return concat(out) end
    if type(failure) == "table" then failure = failure[1] end
    error(failure, 2)
end

return _G.marshal
