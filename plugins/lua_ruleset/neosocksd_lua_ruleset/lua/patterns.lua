-- Lua's patterns, matched in Lua: slower than the functions of C by a factor of fifty or so, but the time limit reaches here. `strings.lua`
-- sends what could run long in C.
--
-- A pattern becomes a chain of functions, one an item, each of which takes a place in the subject and gives the place after the
-- match of itself and all that follows it, or nil.

local bridge = ...
local guard = bridge.load("guard")

local byte, char, find, raw_gsub, sub = string.byte, string.char, string.find, string.gsub, string.sub
local concat, error, select, setmetatable, tointeger, type, unpack =
    table.concat, error, select, setmetatable, math.tointeger, type, table.unpack

local patterns = {}

-- Raised where the script called the string function.
local function fail(message) error(guard.place() .. message, 0) end

-- Where the single item at *at* ends: the place after a character, a class, a set. Nil and what is wrong where it does not.
function patterns.item_end(pattern, at)
    local item = sub(pattern, at, at)
    if item == "%" then
        if at == #pattern then return nil, "malformed pattern (ends with '%')" end
        return at + 2
    end
    if item ~= "[" then return at + 1 end
    at = at + 1
    if sub(pattern, at, at) == "^" then at = at + 1 end
    repeat
        if at > #pattern then return nil, "malformed pattern (missing ']')" end
        at = at + (sub(pattern, at, at) == "%" and 2 or 1)
    until sub(pattern, at, at) == "]"
    return at + 1
end

local function end_of(pattern, at)
    local stop, message = patterns.item_end(pattern, at)
    if not stop then fail(message) end
    return stop
end

-- The bytes that an item takes, as C sees it.
local sets = setmetatable({}, { __mode = "v" })

local function set_of(item)
    local set = sets[item]
    if not set then
        set = {}
        for value = 0, 255 do
            if find(char(value), "^" .. item .. "$") then set[value] = true end
        end
        sets[item] = set
    end
    return set
end

-- A compiled pattern: `run(subject, at)` gives the end of a match that begins there; the captures stand in `starts` and `stops` then.
local function compile(pattern, anchored)
    local subject
    local starts, stops = {}, {}
    local POSITION = {}

    local repeats = {
        ["*"] = function(set, rest)
            return function(at)
                local last = at
                while set[byte(subject, last)] do last = last + 1 end
                repeat
                    local stop = rest(last)
                    if stop then return stop end
                    last = last - 1
                until last < at
                return nil
            end
        end,
        ["-"] = function(set, rest)
            return function(at)
                while true do
                    local stop = rest(at)
                    if stop then return stop end
                    if not set[byte(subject, at)] then return nil end
                    at = at + 1
                end
            end
        end,
        ["?"] = function(set, rest)
            return function(at)
                return set[byte(subject, at)] and rest(at + 1) or rest(at)
            end
        end,
        [""] = function(set, rest)
            return function(at)
                if set[byte(subject, at)] then return rest(at + 1) end
                return nil
            end
        end,
    }
    repeats["+"] = function(set, rest) return repeats[""](set, repeats["*"](set, rest)) end

    local function open(index, rest, kind)
        return function(at)
            local start, stop = starts[index], stops[index]
            starts[index], stops[index] = at, kind
            local done = rest(at)
            if not done then starts[index], stops[index] = start, stop end
            return done
        end
    end

    local function close(index, rest)
        return function(at)
            stops[index] = at
            local done = rest(at)
            if not done then stops[index] = nil end
            return done
        end
    end

    local function balance(first, last, rest)
        return function(at)
            if byte(subject, at) ~= first then return nil end
            local depth, place = 1, at + 1
            while true do
                local value = byte(subject, place)
                if not value then return nil end
                if value == last then
                    depth = depth - 1
                    if depth == 0 then return rest(place + 1) end
                elseif value == first then
                    depth = depth + 1
                end
                place = place + 1
            end
        end
    end

    local function frontier(set, rest)
        return function(at)
            local before, here = byte(subject, at - 1) or 0, byte(subject, at) or 0
            if at == 1 then before = 0 end
            if not set[before] and set[here] then return rest(at) end
            return nil
        end
    end

    local function again(index, rest)
        return function(at)
            if stops[index] == POSITION then return nil end
            local text = sub(subject, starts[index], stops[index] - 1)
            if sub(subject, at, at + #text - 1) == text then return rest(at + #text) end
            return nil
        end
    end

    local function finish(at) return at end

    local function at_end(at) return at == #subject + 1 and at or nil end

    local num_captures, opened = 0, {}

    -- The function for what begins at *at* of the pattern.
    local function build(at)
        if at > #pattern then return finish end
        local item = sub(pattern, at, at)
        local following = sub(pattern, at + 1, at + 1)
        if item == "(" then
            num_captures = num_captures + 1
            local index = num_captures
            if num_captures > 32 then fail("too many captures") end
            if following == ")" then return open(index, build(at + 2), POSITION) end
            opened[#opened + 1] = index
            return open(index, build(at + 1), nil)
        elseif item == ")" then
            local index = opened[#opened]
            if not index then fail("invalid pattern capture") end
            opened[#opened] = nil
            return close(index, build(at + 1))
        elseif item == "$" and at == #pattern then
            return at_end
        elseif item == "%" and following == "b" then
            if at + 3 > #pattern then fail("malformed pattern (missing arguments to '%b')") end
            return balance(byte(pattern, at + 2), byte(pattern, at + 3), build(at + 4))
        elseif item == "%" and following == "f" then
            if sub(pattern, at + 2, at + 2) ~= "[" then fail("missing '[' after '%f' in pattern") end
            local stop = end_of(pattern, at + 2)
            return frontier(set_of(sub(pattern, at + 2, stop - 1)), build(stop))
        elseif item == "%" and find(following, "^%d$") then
            local index, is_open = tointeger(following + 0), false
            for i = 1, #opened do is_open = is_open or opened[i] == index end
            if index == 0 or index > num_captures or is_open then
                fail("invalid capture index %" .. following)
            end
            return again(index, build(at + 2))
        end
        local stop = end_of(pattern, at)
        local set = set_of(sub(pattern, at, stop - 1))
        local suffix = sub(pattern, stop, stop)
        if suffix ~= "" and find("*+-?", suffix, 1, true) then
            return repeats[suffix](set, build(stop + 1))
        end
        return repeats[""](set, build(stop))
    end

    local first = build(anchored and 2 or 1)
    if #opened > 0 then fail("unfinished capture") end

    local compiled = { anchored = anchored }

    function compiled.run(text, at)
        subject = text
        return first(at)
    end

    -- The capture of that index in the last match.
    local function capture(text, index)
        if stops[index] == POSITION then return starts[index] end
        return sub(text, starts[index], stops[index] - 1)
    end

    -- The captures of the match that was found last; the whole match where the pattern has none.
    function compiled.captures(text, start, stop)
        if num_captures == 0 then return { sub(text, start, stop - 1) }, 1 end
        local found = {}
        for index = 1, num_captures do found[index] = capture(text, index) end
        return found, num_captures
    end

    compiled.has_captures = function() return num_captures > 0 end
    return compiled
end

local compiled_patterns = setmetatable({}, { __mode = "v" })

local function compiled_of(pattern, can_anchor)
    local anchored = can_anchor and sub(pattern, 1, 1) == "^"
    local key = (anchored and "^" or "-") .. pattern
    local compiled = compiled_patterns[key]
    if not compiled then
        compiled = compile(pattern, anchored)
        compiled_patterns[key] = compiled
    end
    return compiled
end

-- Where the first match from *init* on begins and ends.
local function search(subject, compiled, init)
    local last = compiled.anchored and init or #subject + 1
    for at = init, last do
        local stop = compiled.run(subject, at)
        if stop then return at, stop end
    end
    return nil
end

local function start_of(subject, init)
    init = init or 1
    if init < 0 then init = #subject + init + 1 end
    return init < 1 and 1 or init
end

-- Raises what is wrong with a pattern; a match that fails before it comes to that would not.
function patterns.check(pattern) compiled_of(pattern, true) end

-- Each as the function of that name in the library of strings, its arguments checked already.

function patterns.find(subject, pattern, init)
    init = start_of(subject, init)
    if init > #subject + 1 then return nil end
    local compiled = compiled_of(pattern, true)
    local start, stop = search(subject, compiled, init)
    if not start then return nil end
    if not compiled.has_captures() then return start, stop - 1 end
    local captures, count = compiled.captures(subject, start, stop)
    return start, stop - 1, unpack(captures, 1, count)
end

function patterns.match(subject, pattern, init)
    init = start_of(subject, init)
    if init > #subject + 1 then return nil end
    local compiled = compiled_of(pattern, true)
    local start, stop = search(subject, compiled, init)
    if not start then return nil end
    local captures, count = compiled.captures(subject, start, stop)
    return unpack(captures, 1, count)
end

function patterns.gmatch(subject, pattern, init)
    local compiled = compiled_of(pattern, false)
    local at, last_stop = start_of(subject, init), nil
    return function()
        while at <= #subject + 1 do
            local stop = compiled.run(subject, at)
            if stop and stop ~= last_stop then
                local captures, count = compiled.captures(subject, at, stop)
                at, last_stop = stop, stop
                return unpack(captures, 1, count)
            end
            at = at + 1
        end
        return nil
    end
end

-- A replacement text with what its escapes stand for.
local function expand(replacement, whole, captures, count)
    return (raw_gsub(replacement, "%%(.?)", function(escape)
        if escape == "%" then return "%" end
        if escape == "0" then return whole end
        local index = find(escape, "^%d$") and tointeger(escape + 0)
        if not index then fail("invalid use of '%' in replacement string") end
        if index > count then fail("invalid capture index %" .. index) end
        return captures[index]
    end))
end

local function replaced(replacement, whole, captures, count)
    local value
    if type(replacement) == "table" then
        value = replacement[captures[1]]
    elseif type(replacement) == "function" then
        value = replacement(unpack(captures, 1, count))
    else
        return expand(replacement, whole, captures, count)
    end
    if not value then return whole end
    if type(value) ~= "string" and type(value) ~= "number" then
        fail("invalid replacement value (a " .. type(value) .. ")")
    end
    return value
end

function patterns.gsub(subject, pattern, replacement, most)
    local compiled = compiled_of(pattern, true)
    if type(replacement) == "number" then replacement = replacement .. "" end
    local pieces, num_pieces, num_matches = {}, 0, 0
    local at, last_stop = 1, nil
    while not most or num_matches < most do
        local stop = compiled.run(subject, at)
        if stop and stop ~= last_stop then
            num_matches = num_matches + 1
            local captures, count = compiled.captures(subject, at, stop)
            num_pieces = num_pieces + 1
            pieces[num_pieces] = replaced(replacement, sub(subject, at, stop - 1), captures, count)
            at, last_stop = stop, stop
        elseif at <= #subject then
            num_pieces = num_pieces + 1
            pieces[num_pieces] = sub(subject, at, at)
            at = at + 1
        else
            break
        end
        if compiled.anchored then break end
    end
    pieces[num_pieces + 1] = sub(subject, at)
    return concat(pieces), num_matches
end

return patterns
