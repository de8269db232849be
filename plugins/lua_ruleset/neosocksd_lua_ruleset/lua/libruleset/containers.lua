-- `list`, a sequence with methods, and `rlist`, a ring that forgets its oldest element.

local error, floor, format, getmetatable, ipairs, select, setmetatable, type =
    error, math.floor, string.format, getmetatable, ipairs, select, setmetatable, type
local table_concat, table_insert, table_remove, table_sort, table_unpack =
    table.concat, table.insert, table.remove, table.sort, table.unpack

local list = {}
list.__index = list
list.__name = "list"

-- Makes the table itself a list; without one, an empty list.
function list:new(t)
    if t == nil then t = {} end
    if type(t) ~= "table" then error("bad argument #1 to 'new' (table expected, got " .. type(t) .. ")", 2) end
    return setmetatable(t, list)
end

-- Whether t is a list.
function list:check(t) return type(t) == "table" and getmetatable(t) == list end

-- Adds the elements of each table, and other values as they are, at the end.
function list:append(...)
    for i = 1, select("#", ...) do
        local more = select(i, ...)
        if type(more) == "table" then
            local count = #self
            for k = 1, #more do self[count + k] = more[k] end
        else
            self[#self + 1] = more
        end
    end
    return self
end

-- As table.insert.
function list:insert(...) table_insert(self, ...) end

-- Adds a formatted text at the end.
function list:insertf(...) self[#self + 1] = format(...) end

-- As table.remove.
function list:remove(...) return table_remove(self, ...) end

-- Replaces each element by f(element).
function list:map(f)
    for i = 1, #self do self[i] = f(self[i]) end
    return self
end

function list:reverse()
    local i, k = 1, #self
    while i < k do
        self[i], self[k] = self[k], self[i]
        i, k = i + 1, k - 1
    end
    return self
end

-- As table.sort.
function list:sort(...)
    table_sort(self, ...)
    return self
end

-- As table.unpack.
function list:unpack(...) return table_unpack(self, ...) end

-- As table.concat.
function list:concat(...) return table_concat(self, ...) end

-- for i, v in l:iter()
function list:iter() return ipairs(self) end

-- A plain table with the same elements.
function list:totable()
    local plain = {}
    for i = 1, #self do plain[i] = self[i] end
    return plain
end

local rlist = {}
rlist.__index = rlist
rlist.__name = "rlist"

-- A ring for *cap* elements. *t* is a sequence, or another ring, whose elements are pushed from the oldest on.
function rlist:new(cap, t)
    cap = type(cap) == "number" and floor(cap) or error("bad argument #1 to 'new' (number expected)", 2)
    if cap < 1 then error("bad argument #1 to 'new' (capacity must be positive)", 2) end
    local ring = setmetatable({ pos = 0, len = 0, cap = cap }, rlist)
    if rlist:check(t) then
        for i = t.len, 1, -1 do ring:push(t:get(i)) end
    elseif t ~= nil then
        for i = 1, #t do ring:push(t[i]) end
    end
    return ring
end

-- Whether t is a ring.
function rlist:check(t) return type(t) == "table" and getmetatable(t) == rlist end

-- The element takes the place of the oldest one when the ring is full. `pos` is where the newest stands.
function rlist:push(value)
    local pos = self.pos % self.cap + 1
    self[pos], self.pos = value, pos
    if self.len < self.cap then self.len = self.len + 1 end
end

-- get(1) is the newest, get(-1) the oldest element; nil beyond them.
function rlist:get(i)
    local len = self.len
    if i < 0 then i = len + 1 + i end
    if i < 1 or i > len then return nil end
    return self[(self.pos - i) % self.cap + 1]
end

local function older(ring, i)
    i = i + 1
    if i <= ring.len then return i, ring:get(i) end
end

-- for i, v in r:iter(), newest first.
function rlist:iter() return older, self, 0 end

return { list = list, rlist = rlist }
