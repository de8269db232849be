-- Bounds on functions of C that no hook can interrupt.

local bridge = ...

local error, type = error, type
local rep = string.rep

local LONGEST = 1 << 28 -- bytes

-- string.rep makes no string of more than 256 MiB.
function string.rep(text, count, separator)
    if type(text) == "string" and type(count) == "number" then
        local size = #text + (type(separator) == "string" and #separator or 0)
        if size * 1.0 * count > LONGEST then error("resulting string too large", 2) end
    end
    return rep(text, count, separator)
end

-- Patterns: each item that may take anything, as `.-`, multiplies the work by the number of places at which the rest may go on, should it
-- not match in the end. Where three or more of them come to more than a few seconds of work, the pattern is refused.

local BROAD = { ["."] = true, ["%A"] = true, ["%D"] = true, ["%S"] = true, ["%W"] = true, ["%a"] = true, ["%w"] = true }
local STEPS = 8e7

local sub, find, match, gmatch, gsub = string.sub, string.find, string.match, string.gmatch, string.gsub
local known, num_known = {}, 0

-- The character that must follow at *at*, past the ends of captures; "" where that is not a plain one.
local function literal_at(pattern, at)
    local char = sub(pattern, at, at)
    while char == "(" or char == ")" do
        at = at + 1
        char = sub(pattern, at, at)
    end
    local suffix = sub(pattern, at + 1, at + 1)
    if find(char, "^[%w%s_:;,/=<>@#&|\"'!~`{}]$") and not find(suffix, "^[*+?-]$") then return char end
    return ""
end

-- For each item that may take anything, the character that must follow it.
local function loops_of(pattern)
    local loops, at = {}, 1
    while at <= #pattern do
        local item = sub(pattern, at, at)
        if item == "%" then
            item = sub(pattern, at, at + 1)
        elseif item == "[" then
            local stop = find(pattern, "]", at + (sub(pattern, at + 1, at + 1) == "^" and 3 or 2), true)
            item = sub(pattern, at, stop or #pattern)
        end
        at = at + #item
        local suffix = sub(pattern, at, at)
        if suffix == "*" or suffix == "+" or suffix == "-" then
            at = at + 1
            if BROAD[item] or #item > 2 then loops[#loops + 1] = literal_at(pattern, at) end
        end
    end
    return loops
end

local function places(subject, char)
    if char == "" then return #subject end
    local count, at = 1, 0
    while true do
        at = find(subject, char, at + 1, true)
        if not at then return count end
        count = count + 1
    end
end

local function permit(subject, pattern)
    if type(pattern) ~= "string" or type(subject) ~= "string" then return end
    local loops = known[pattern]
    if not loops then
        loops = loops_of(pattern)
        if num_known >= 1000 then known, num_known = {}, 0 end
        known[pattern], num_known = loops, num_known + 1
    end
    if #loops < 3 then return end
    local steps = sub(pattern, 1, 1) == "^" and 1.0 or #subject / (#loops + 1)
    for i = 1, #loops do
        -- The innermost loop looks at every place.
        steps = steps * places(subject, i < #loops and loops[i] or "") / i
    end
    if steps > STEPS then
        error("pattern too complex for a subject of " .. #subject .. " bytes", 3)
    end
end

function string.find(subject, pattern, init, plain)
    if not plain then permit(subject, pattern) end
    return find(subject, pattern, init, plain)
end

function string.match(subject, pattern, init)
    permit(subject, pattern)
    return match(subject, pattern, init)
end

function string.gmatch(subject, pattern, ...)
    permit(subject, pattern)
    return gmatch(subject, pattern, ...)
end

function string.gsub(subject, pattern, ...)
    permit(subject, pattern)
    return gsub(subject, pattern, ...)
end

return true
