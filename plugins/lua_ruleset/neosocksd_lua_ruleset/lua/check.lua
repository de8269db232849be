-- Argument checks with the wording of Lua's own, but that an argument which is missing is called nil. Each raises at the place
-- where the API function was called: call them from that function itself, with the argument, its number, and the function's name.

local error, math_type, tointeger, getmetatable, select, tonumber, tostring, type =
    error, math.type, math.tointeger, debug.getmetatable, select, tonumber, tostring, type

local check = {}

local function bad(index, name, message)
    error("bad argument #" .. index .. " to '" .. name .. "' (" .. message .. ")", 4)
end

local function expected(value, index, name, what)
    error("bad argument #" .. index .. " to '" .. name .. "' (" .. what .. " expected, got " .. type(value) .. ")", 4)
end

function check.bad(index, name, message)
    error("bad argument #" .. index .. " to '" .. name .. "' (" .. message .. ")", 3)
end

-- A string, or a number as one.
function check.string(value, index, name)
    local kind = type(value)
    if kind == "string" then return value end
    if kind == "number" then return tostring(value) end
    expected(value, index, name, "string")
end

-- Strings, and no numbers: code, an address, and the proxies to it, of which there may be any number.
function check.strings(name, ...)
    for i = 1, select("#", ...) do
        local value = select(i, ...)
        if type(value) ~= "string" then expected(value, i, name, "string") end
    end
end

-- A number, or a string that is one.
function check.number(value, index, name)
    if type(value) == "number" then return value end
    local number = type(value) == "string" and tonumber(value)
    if number then return number end
    expected(value, index, name, "number")
end

-- A number without a fractional part, as an integer.
function check.integer(value, index, name)
    if math_type(value) == "integer" then return value end
    local number = value
    if type(value) == "string" then number = tonumber(value) end
    if type(number) ~= "number" then expected(value, index, name, "number") end
    local integer = tointeger(number)
    if not integer then bad(index, name, "number has no integer representation") end
    return integer
end

-- A function, or something that can be called.
function check.callable(value, index, name)
    if type(value) == "function" then return value end
    local meta = getmetatable(value)
    if type(meta) == "table" and meta.__call then return value end
    expected(value, index, name, "function")
end

-- A value of just that type.
function check.of_type(kind, value, index, name)
    if type(value) == kind then return value end
    expected(value, index, name, kind)
end

return check
