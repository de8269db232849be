-- Bounds on the string functions of C, which no hook can interrupt.
--
-- What a call costs at most is estimated before it, and is added to what the script has spent (guard.spend). A pattern that could cost
-- more than MAX_STEPS is matched by patterns.lua, where the time limit reaches.

local bridge = ...
local guard, patterns = bridge.load("guard"), bridge.load("patterns")
local check = bridge.check

local error, math_type, max, min, next, tonumber, type, utf8 =
    error, math.type, math.max, math.min, next, tonumber, type, utf8
local find, format, gmatch, gsub, match, rep, sub =
    string.find, string.format, string.gmatch, string.gsub, string.match, string.rep, string.sub
local pcall, relocated, spend = guard.pcall, guard.relocated, guard.spend

local MAX_SIZE = 1 << 28 -- of a string that one call makes, in bytes
local MAX_STEPS = 1e7    -- of one call in C: some ten milliseconds

-- string.rep makes no string of more than 256 MiB.
function string.rep(text, count, separator)
    if type(text) == "string" and type(count) == "number" then
        local size = (#text + (type(separator) == "string" and #separator or 0)) * 1.0 * count
        if size > MAX_SIZE then error("resulting string too large", 2) end
        spend(size)
    end
    return relocated("rep", pcall(rep, text, count, separator))
end

function string.format(...)
    local text = relocated("format", pcall(format, ...))
    spend(#text)
    return text
end

for _, name in ipairs({ "lower", "reverse", "upper" }) do
    local change = string[name]
    string[name] = function(text)
        if type(text) ~= "string" then text = check.string(text, 1, name) end
        spend(#text)
        return change(text)
    end
end

for name in next, utf8 do
    local read = utf8[name]
    if type(read) == "function" and name ~= "char" and name ~= "codes" then
        utf8[name] = function(text, ...)
            if type(text) == "string" then spend(#text) end
            return relocated(name, pcall(read, text, ...))
        end
    end
end

-- A text that is no number has to be read to its end to be told.
function _G.tonumber(...)
    local value = ...
    if type(value) == "string" then spend(#value) end
    return relocated("tonumber", pcall(tonumber, ...))
end

-- What a pattern may try.

local SPECIAL = "[%^%$*+?.(%[%%-]" -- without any of these a pattern is a text that is searched for
local LITERAL = "^[^%^$()%%.%[%]*+?-]$"

-- The character that must stand where the rest of the pattern from *at* on matches, past the marks of captures: "$" for the end of the
-- subject, false where the match is complete, nil where it cannot be told.
local function follower(pattern, at)
    local char = sub(pattern, at, at)
    while char == "(" or char == ")" do
        at = at + 1
        char = sub(pattern, at, at)
    end
    if char == "" then return false end
    if char == "$" and at == #pattern then return "$" end
    local suffix = sub(pattern, at + 1, at + 1)
    if find(char, LITERAL) and suffix ~= "*" and suffix ~= "?" and suffix ~= "-" then return char end
    return nil
end

-- The repetitions of a pattern, with what must follow each, whether it is anchored, and what it begins with.
local function shape_of(pattern)
    local anchored = sub(pattern, 1, 1) == "^"
    local at = anchored and 2 or 1
    local shape = { anchored = anchored, first = follower(pattern, at) or nil, exponent = anchored and 0 or 1, factor = #pattern * 1.0 }
    shape.is_plain = not find(pattern, SPECIAL)
    while at <= #pattern do
        local item = sub(pattern, at, at)
        if item == "(" or item == ")" then
            at = at + 1
        elseif find(pattern, "^%%b..", at) then
            shape[#shape + 1] = { kind = "balance" }
            shape.exponent = shape.exponent + 1
            at = at + 4
        else
            if find(pattern, "^%%f%[", at) then at = at + 2 end
            local stop = patterns.item_end(pattern, at) or #pattern + 1
            item = sub(pattern, at, stop - 1)
            local suffix = sub(pattern, stop, stop)
            at = stop
            if suffix == "?" then
                shape[#shape + 1] = { kind = "option" }
                shape.factor = shape.factor * 2
                at = at + 1
            elseif suffix == "*" or suffix == "+" or suffix == "-" then
                at = at + 1
                shape[#shape + 1] = { kind = "loop", item = item, follower = follower(pattern, at) }
                shape.exponent = shape.exponent + 1
            elseif find(item, "^%%%d$") then -- a capture again
                shape[#shape + 1] = { kind = "balance" }
                shape.exponent = shape.exponent + 1
            end
        end
    end
    return shape
end

local shapes, num_shapes = {}, 0

local function known_shape(pattern)
    local shape = shapes[pattern]
    if not shape then
        if num_shapes >= 1000 then shapes, num_shapes = {}, 0 end
        shape = shape_of(pattern)
        shapes[pattern], num_shapes = shape, num_shapes + 1
    end
    return shape
end

local function occurrences(subject, char)
    local count, at = 0, 0
    while true do
        at = find(subject, char, at + 1, true)
        if not at then return count end
        count = count + 1
    end
end

-- The most characters that stand in a row and that *item* takes.
local function longest_run(subject, item)
    local longest = 0
    for run in gmatch(subject, item .. "+") do longest = max(longest, #run) end
    return longest
end

-- At how many of *length* + 1 places the rest may be tried.
local function places(subject, length, char)
    if char == false or char == "$" then return 1 end
    if char == nil then return length + 1 end
    return min(length + 1, occurrences(subject, char))
end

-- The steps that a search may take at most: a repetition goes over its run, and tries the rest at each place where that may begin.
local function steps_of(subject, shape)
    local size, rest = #subject, 1.0
    for i = #shape, 1, -1 do
        local part = shape[i]
        if part.kind == "balance" then
            rest = size + rest
        elseif part.kind == "option" then
            rest = 1 + 2 * rest
        else
            local length = longest_run(subject, part.item)
            rest = length + 1 + places(subject, length, part.follower) * rest
        end
    end
    if shape.anchored then return rest end
    return (shape.first and shape.first ~= "$" and occurrences(subject, shape.first) or size + 1) * rest + size
end

-- Whether C may do it.
local function is_short(subject, pattern)
    local size = #subject + 1
    local shape = known_shape(pattern)
    if shape.is_plain then
        spend(size)
        return true
    end
    local steps = size ^ shape.exponent * shape.factor
    if steps > MAX_STEPS then
        spend(size * #shape) -- for the estimate
        steps = steps_of(subject, shape)
    end
    if steps > MAX_STEPS then return false end
    spend(steps + size)
    return true
end

-- The bytes that a replacement makes of a subject at most: every capture is a part of its match.
local function check_size(subject, replacement)
    local _, escapes = gsub(replacement, "%%%d", "")
    if (#subject + 1.0) * (#replacement + escapes) > MAX_SIZE then error("resulting string too large", 3) end
end

-- Each checks its arguments as C does, but that the error stands where the script made the call.

function string.find(subject, pattern, init, plain)
    if type(subject) ~= "string" then subject = check.string(subject, 1, "find") end
    if type(pattern) ~= "string" then pattern = check.string(pattern, 2, "find") end
    if init ~= nil and math_type(init) ~= "integer" then init = check.integer(init, 3, "find") end
    if plain or is_short(subject, pattern) then
        return relocated("find", pcall(find, subject, pattern, init, plain))
    end
    return patterns.find(subject, pattern, init)
end

function string.match(subject, pattern, init)
    if type(subject) ~= "string" then subject = check.string(subject, 1, "match") end
    if type(pattern) ~= "string" then pattern = check.string(pattern, 2, "match") end
    if init ~= nil and math_type(init) ~= "integer" then init = check.integer(init, 3, "match") end
    if is_short(subject, pattern) then return relocated("match", pcall(match, subject, pattern, init)) end
    return patterns.match(subject, pattern, init)
end

function string.gmatch(subject, pattern, init)
    if type(subject) ~= "string" then subject = check.string(subject, 1, "gmatch") end
    if type(pattern) ~= "string" then pattern = check.string(pattern, 2, "gmatch") end
    if init ~= nil and math_type(init) ~= "integer" then init = check.integer(init, 3, "gmatch") end
    if is_short(subject, pattern) then return gmatch(subject, pattern, init) end
    return patterns.gmatch(subject, pattern, init)
end

local CALLED = { table = true, ["function"] = true } -- what may raise errors of its own

function string.gsub(subject, pattern, replacement, most)
    if type(subject) ~= "string" then subject = check.string(subject, 1, "gsub") end
    if type(pattern) ~= "string" then pattern = check.string(pattern, 2, "gsub") end
    if most ~= nil and math_type(most) ~= "integer" then most = check.integer(most, 4, "gsub") end
    local called = CALLED[type(replacement)]
    if not called then
        if type(replacement) == "number" then replacement = replacement .. "" end
        if type(replacement) ~= "string" then
            check.bad(3, "gsub", "string/function/table expected, got " .. type(replacement))
        end
        check_size(subject, replacement)
    end
    if not is_short(subject, pattern) then return patterns.gsub(subject, pattern, replacement, most) end
    if called then return gsub(subject, pattern, replacement, most) end
    return relocated("gsub", pcall(gsub, subject, pattern, replacement, most))
end

return true
