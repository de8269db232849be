-- Counts the objects of the machine: tables, functions, userdata, threads and strings that can be reached. A little at a time, for a
-- machine may have many. What scripts do meanwhile may be counted or not; what they drop is not kept for the count.

local debug = debug
local getinfo, getlocal, getmetatable, getregistry, getupvalue, getuservalue =
    debug.getinfo, debug.getlocal, debug.getmetatable, debug.getregistry, debug.getupvalue, debug.getuservalue
local next, pcall, setmetatable, type = next, pcall, setmetatable, type

local MOST = 65536 -- so that what is remembered stays small: more are not counted
local SHORT = 40 -- bytes of a string that Lua has once only
local DEEPEST = 200 -- calls of a thread that are looked into

local IS_OBJECT = { table = true, ["function"] = true, userdata = true, thread = true }
local WEAK_KEYS, WEAK_VALUES = { __mode = "k" }, { __mode = "v" }

-- The count that is under way; `seen` is nil between two. The object at 0 of those that wait is a table that is gone through.
local seen, pending, waiting, total
local key -- how far that table has been

local function meet(value)
    local kind = type(value)
    if kind == "string" then
        if #value > SHORT then
            total = total + 1
        elseif not seen[value] then
            seen[value], total = true, total + 1
        end
    elseif IS_OBJECT[kind] and not seen[value] then
        seen[value], total = true, total + 1
        waiting = waiting + 1
        pending[waiting] = value
    end
end

local look_into = {
    table = function(t)
        pending[0], key = t, nil
        meet(getmetatable(t))
    end,
    ["function"] = function(f)
        for i = 1, 255 do
            local name, value = getupvalue(f, i)
            if not name then return end
            meet(value)
        end
    end,
    userdata = function(u)
        meet(getmetatable(u))
        meet((getuservalue(u)))
    end,
    thread = function(thread)
        for level = 0, DEEPEST do
            local info = getinfo(thread, level, "f")
            if not info then return end
            meet(info.func)
            for i = 1, 255 do
                local name, value = getlocal(thread, level, i)
                if not name then break end
                meet(value)
            end
        end
    end,
}

local function begin()
    seen, pending = setmetatable({}, WEAK_KEYS), setmetatable({}, WEAK_VALUES)
    waiting, total, key = 0, 0, nil
    seen[seen], seen[pending] = true, true
    meet(getregistry())
    meet(getmetatable(""))
end

local function finish()
    seen, pending, key = nil, nil, nil
    return true, total
end

local census = {}

-- Goes on counting for so many values; gives whether that was all, and how many objects there are so far.
function census.step(values)
    if not seen then begin() end
    for _ = 1, values do
        if total >= MOST then return finish() end
        local current = pending[0]
        if current then
            -- It fails where a script has taken the key away since.
            local ok, found, value = pcall(next, current, key)
            if ok and found ~= nil then
                key = found
                meet(found)
                meet(value)
            else
                pending[0] = nil
            end
        elseif waiting == 0 then
            return finish()
        else
            local object = pending[waiting]
            pending[waiting], waiting = nil, waiting - 1
            if object ~= nil then look_into[type(object)](object) end
        end
    end
    return false, total
end

return census
