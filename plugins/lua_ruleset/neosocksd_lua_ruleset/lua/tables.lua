-- The table functions of C over many elements, which no hook can interrupt: what they cost is added to what the script has spent, and where
-- that could be long they are given something of Lua to call.

local bridge = ...
local guard = bridge.load("guard")

local type = type
local concat, move, sort = table.concat, table.move, table.sort
local check, pcall, relocated, spend = bridge.check, guard.pcall, guard.relocated, guard.spend

local MANY = 1e5 -- elements

function table.concat(...)
    local text = relocated("concat", pcall(concat, ...))
    spend(#text)
    return text
end

-- Many elements are compared by a function of Lua, which takes longer, and which a hook can interrupt.
function table.sort(t, before)
    check.of_type("table", t, 1, "sort")
    if before == nil and #t > MANY then
        return sort(t, function(a, b) return a < b end)
    end
    return sort(t, before)
end

-- Many are moved by a loop of Lua.
function table.move(from, first, last, at, to)
    if type(first) ~= "number" or type(last) ~= "number" or last - first < MANY then
        return relocated("move", pcall(move, from, first, last, at, to))
    end
    relocated("move", pcall(move, from, 1, 0, at, to)) -- checks the other arguments
    local target = to or from
    if at > last or at <= first or target ~= from then
        for i = 0, last - first do target[at + i] = from[first + i] end
    else
        for i = last - first, 0, -1 do target[at + i] = from[first + i] end
    end
    return target
end

return true
