-- Big lists, kept outside of Lua: sets of names and of subnets. libruleset's matchers use them from some thousand entries on.
--
-- A set is a function that tells whether something is a member; when nobody holds it any more, the set goes too.

local bridge = ...

local collectgarbage, error, setmetatable = collectgarbage, error, setmetatable
local handles = bridge.load("handles")
local release, sweep = handles.release, handles.sweep
local free = bridge.native("matchset_free")

local meta = {
    __gc = function(handle) release(free, handle[1]) end,
}

local trim = bridge.native("matchset_trim")
local LARGE = 1 << 20 -- bytes of a list's text
local is_large = false -- whether such a list was made lately

local matchsets = {}

-- Frees the sets that nobody holds, and gives back the memory that the making of large ones has left.
function matchsets.sweep()
    if not is_large then return sweep() end
    is_large = false
    collectgarbage()
    sweep()
    trim()
end

local add, seal = bridge.native("matchset_add"), bridge.native("matchset_seal")

local function must(ok, ...)
    if not ok then error((...), 0) end
    return ...
end

-- Gives a function(pieces, …) that makes a set of the lines of texts: `pieces` gives one text after the other, and then nil.
-- It raises, without a position, for a line that is no member.
local function kind(make, has)
    make, has = bridge.native(make), bridge.native(has)
    return function(pieces, ...)
        matchsets.sweep()
        local number, size = must(make(...)), 0
        local handle = setmetatable({ number }, meta)
        for text in pieces do
            must(add(number, text))
            size = size + #text
        end
        must(seal(number))
        is_large = size >= LARGE
        return function(...)
            if handles.first <= handles.last then sweep() end
            return must(has(handle[1], ...))
        end
    end
end

matchsets.names = kind("matchset_names", "matchset_has_name") -- (pieces, below)
matchsets.subnets4 = kind("matchset_subnets4", "matchset_has_ip4")
matchsets.subnets6 = kind("matchset_subnets6", "matchset_has_ip6")

return matchsets
