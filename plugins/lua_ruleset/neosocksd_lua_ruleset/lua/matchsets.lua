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

-- Gives a function(text, …) that makes a set of text's lines. It raises, without a position, for a line that is no member.
local function kind(make, has)
    make, has = bridge.native(make), bridge.native(has)
    return function(text, ...)
        matchsets.sweep()
        is_large = #text >= LARGE
        local ok, number = make(text, ...)
        if not ok then error(number, 0) end
        local handle = setmetatable({ number }, meta)
        return function(...)
            if handles.count > 0 then sweep() end
            local known, answer = has(handle[1], ...)
            if not known then error(answer, 0) end
            return answer
        end
    end
end

matchsets.names = kind("matchset_names", "matchset_has_name") -- (text, below)
matchsets.subnets4 = kind("matchset_subnets4", "matchset_has_ip4")
matchsets.subnets6 = kind("matchset_subnets6", "matchset_has_ip6")

return matchsets
