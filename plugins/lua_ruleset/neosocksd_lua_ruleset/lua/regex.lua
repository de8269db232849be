-- regex.*: POSIX regular expressions, leftmost-longest, over bytes.
--
-- A compiled expression is an empty table; what it stands for is held by number, and given back when it is collected.

local bridge = ...

local byte, collectgarbage, error, select, setmetatable, sub, type, unpack =
    string.byte, collectgarbage, error, select, setmetatable, string.sub, type, table.unpack
local native_compile, native_search, native_free =
    bridge.native("regex_compile"), bridge.native("regex_search"), bridge.native("regex_free")
local check, handles = bridge.check, bridge.load("handles")
local release, sweep = handles.release, handles.sweep

local regex = { EXTENDED = 1, ICASE = 2, NEWLINE = 4, NOSUB = 8 }
local ALL = 15
local DEFAULT = regex.EXTENDED | regex.NEWLINE

local numbers = setmetatable({}, { __mode = "k" }) -- by object
local is_multiline = setmetatable({}, { __mode = "k" })
local known = setmetatable({}, { __mode = "v" }) -- by flags and pattern: an expression never changes
local alive, MANY = 0, 10000

local meta = { __index = regex, __name = "regex", __metatable = "regex" }

function meta.__gc(object)
    local number = numbers[object]
    if number then
        numbers[object], alive = nil, alive - 1
        release(native_free, number)
    end
end

function meta.__tostring() return "regex" end

-- An expression for the pattern; flags is a sum of the constants. Raises for a pattern that is none.
function regex.compile(pattern, flags)
    pattern = check.string(pattern, 1, "compile")
    if flags == nil then
        flags = DEFAULT
    else
        flags = check.integer(flags, 2, "compile")
        if flags & ~ALL ~= 0 then check.bad(2, "compile", "invalid flags") end
    end
    local key = flags .. ":" .. pattern
    local object = known[key]
    if object then return object end
    -- Lua does not see what an expression weighs, so a collection may be overdue.
    if alive >= MANY then
        collectgarbage()
        if alive >= MANY then error("too many regular expressions", 2) end
    end
    sweep()
    local ok, number = native_compile(pattern, flags)
    if not ok then error("invalid regular expression: " .. number, 2) end
    object = setmetatable({}, meta)
    numbers[object], is_multiline[object] = number, flags & regex.NEWLINE ~= 0 or nil
    known[key], alive = object, alive + 1
    return object
end

local function number_of(object, name)
    local number = object ~= nil and numbers[object]
    if not number then
        error("bad argument #1 to '" .. name .. "' (regex expected, got "
            .. type(object) .. ")", 3)
    end
    return number
end

-- The offset that a position means, as string.find has it; nil beyond the end.
local function offset_of(init, size)
    if init > 0 then
        if init > size + 1 then return nil end
        return init - 1
    end
    if init == 0 or init < -size then return 0 end
    return size + init
end

local function found(ok, first, last)
    if not ok then error(first, 3) end
    if not first then return nil end
    return first + 1, last
end

-- Start and end of the leftmost-longest match from init on; nil if there is none. `^` matches at init.
function regex.find(object, s, init)
    local number = number_of(object, "find")
    s = check.string(s, 2, "find")
    local offset = 0
    if init ~= nil then
        init = check.integer(init, 3, "find")
        offset = offset_of(init, #s)
        if not offset then return nil end
        if offset > 0 then
            local first, last = found(native_search(number, sub(s, offset + 1), 0, true))
            if not first then return nil end
            return first + offset, last + offset
        end
    end
    local first, last = found(native_search(number, s, 0, true))
    if not first then return nil end
    return first, last
end

-- The texts of match and groups, from their offsets; nil for a group that took no part.
local function texts(s, ok, ...)
    if not ok then error((...), 3) end
    local count = select("#", ...)
    if count == 0 then return nil end
    local first, last = ...
    if count == 2 then return sub(s, first + 1, last) end
    local offsets, pieces = { ... }, {}
    for i = 1, count, 2 do
        if offsets[i] >= 0 then pieces[(i + 1) // 2] = sub(s, offsets[i] + 1, offsets[i + 1]) end
    end
    return unpack(pieces, 1, count // 2)
end

local function one(...) return ... end

-- The match and its groups; nil if there is none.
function regex.match(object, s, init)
    local number = number_of(object, "match")
    s = check.string(s, 2, "match")
    if init ~= nil then
        init = check.integer(init, 3, "match")
        local offset = offset_of(init, #s)
        if not offset then return nil end
        if offset > 0 then s = sub(s, offset + 1) end
    end
    return one(texts(s, native_search(number, s, 0, true)))
end

local NEWLINE = byte("\n")

-- An iterator over all matches, each with its groups. `^` matches at the beginning, and of lines with the flag NEWLINE.
function regex.gmatch(object, s)
    local number = number_of(object, "gmatch")
    s = check.string(s, 2, "gmatch")
    local multiline = is_multiline[object]
    local offset, previous, size = 0, -1, #s

    local function step(ok, first, last, ...)
        if not ok then error(first, 4) end
        if not first then
            offset = size + 1
            return nil
        end
        if first == last and last == previous then
            -- Nothing, right behind the match before: that one has it already.
            offset = first + 1
            return false
        end
        offset, previous = last > first and last or last + 1, last
        return texts(s, true, first, last, ...)
    end

    local function search()
        local at_line = offset == 0 or multiline and byte(s, offset) == NEWLINE or false
        return native_search(number, s, offset, at_line)
    end

    local function go_on(first, ...)
        if first ~= false then return first, ... end
        if offset > size then return nil end
        return go_on(step(search()))
    end

    return function()
        -- The object stays alive as long as its iterator does.
        if object == nil or offset > size then return nil end
        return go_on(step(search()))
    end
end

_G.regex = regex
package.loaded.regex = regex

return regex
