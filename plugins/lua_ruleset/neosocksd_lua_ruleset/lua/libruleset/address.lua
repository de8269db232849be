-- Addresses as "host:port", subnets, and the matchers over integers.

local bridge = ...
local matchsets = bridge.load("matchsets")
local expect_list = bridge.load("libruleset/text").expect_list
local note = bridge.load("libruleset/made").note

local concat, error, find, gmatch, lower, match, pcall, sub, tonumber, type =
    table.concat, error, string.find, string.gmatch, string.lower, string.match, pcall, string.sub, tonumber, type

-- From so many entries, or bytes of text, on a list is kept outside of Lua.
local MANY, LONG = 2000, 65536

-- So many entries of a big table become one text: never all of them, which would take as much memory again.
local PIECE = 4096

local address = { sweep = matchsets.sweep }

local last, last_host, last_port, last_name

-- Host without brackets, port, both as sent, and the host's name to compare with: in lower case, without a final dot.
-- nil if the text is no "host:port". One address is asked about many times, so the last answer is kept.
function address.split(text)
    if text ~= last then
        local host, port = match(text, "^(.*):([^:]*)$")
        if not host or find(host, ":", 1, true) and sub(host, 1, 1) ~= "[" then return nil end
        host = match(host, "^%[(.*)%]$") or host
        local name = lower(host)
        if sub(name, -1) == "." then name = sub(name, 1, -2) end
        last, last_host, last_port, last_name = text, host, port, name
    end
    return last_host, last_port, last_name
end

-- "host:port", with brackets where the host is an IPv6 address.
function address.join(host, port)
    if find(host, ":", 1, true) and sub(host, 1, 1) ~= "[" then return "[" .. host .. "]:" .. port end
    return host .. ":" .. port
end

-- An IPv4 address as an integer, nil for anything else; quick to say no to a name.
function address.ipv4(host)
    if not find(host, "^[%d.]+$") then return nil end
    return neosocksd.parse_ipv4(host)
end

-- An IPv6 address as two integers, nil for anything else.
function address.ipv6(host)
    if not find(host, ":", 1, true) then return nil end
    return neosocksd.parse_ipv6(host)
end

local function once(text)
    return function()
        local piece = text
        text = nil
        return piece
    end
end

local function in_pieces(list)
    local at, count = 1, #list
    return function()
        if at > count then return nil end
        local first = at
        at = first + PIECE
        return concat(list, "\n", first, at - 1 < count and at - 1 or count)
    end
end

-- The entries of a text, one a line; empty lines, and those that begin with #, are none.
function address.lines(text)
    local next_line = gmatch(text, "[^\n]+")
    return function()
        for line in next_line do
            local entry = match(line, "^%s*(.-)%s*$")
            if entry ~= "" and sub(entry, 1, 1) ~= "#" then return entry end
        end
    end
end

-- What a matcher's argument lists: a text of one line is one entry, of several lines an entry each.
-- Gives a table of strings, or for a big list nil and a function that gives one text after the other with an entry a line, then nil.
function address.entries(spec, name)
    if type(spec) == "string" then
        if spec == "" then return {} end
        if not find(spec, "\n", 1, true) then return { spec } end
        if #spec >= LONG then return nil, once(spec) end
        local list = {}
        for entry in address.lines(spec) do list[#list + 1] = entry end
        return list
    end
    expect_list(spec, name)
    local count = #spec
    for i = 1, count do
        if type(spec[i]) ~= "string" then
            error("bad argument #1 to '" .. name .. "' (entry " .. i .. " is a " .. type(spec[i]) .. ")", 3)
        end
    end
    if count >= MANY then return nil, in_pieces(spec) end
    return spec
end

local function mask32(prefix) return 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF end

local function masks64(prefix)
    if prefix >= 64 then return -1, prefix == 64 and 0 or -1 << (128 - prefix) end
    return prefix == 0 and 0 or -1 << (64 - prefix), 0
end

local function prefix_of(digits, width)
    if #digits > 3 or find(digits, "^0%d") then return nil end
    local prefix = tonumber(digits)
    return prefix <= width and prefix or nil
end

local function read_cidr(text)
    local host, digits = match(text, "^([^/]*)/(%d+)$")
    local net, prefix = host and neosocksd.parse_ipv4(host), host and prefix_of(digits, 32)
    if not net or not prefix then return nil, "invalid subnet '" .. text .. "'" end
    if net & ~mask32(prefix) ~= 0 then return nil, "host bits set in subnet '" .. text .. "'" end
    return net, prefix
end

local function read_cidr6(text)
    local host, digits = match(text, "^([^/]*)/(%d+)$")
    local prefix, high, low = host and prefix_of(digits, 128), nil, nil
    if prefix then high, low = neosocksd.parse_ipv6(host) end
    if not high then return nil, "invalid subnet '" .. text .. "'" end
    local high_mask, low_mask = masks64(prefix)
    if high & ~high_mask ~= 0 or low & ~low_mask ~= 0 then
        return nil, "host bits set in subnet '" .. text .. "'"
    end
    return high, low, prefix
end

-- "192.0.2.0/24" gives 0xC0000200, 24.
function address.parse_cidr(text)
    if type(text) ~= "string" then error("bad argument #1 to 'parse_cidr' (string expected)", 2) end
    local net, prefix = read_cidr(text)
    if not net then error(prefix, 2) end
    return net, prefix
end

-- "2001:db8::/32" gives 0x20010DB800000000, 0, 32.
function address.parse_cidr6(text)
    if type(text) ~= "string" then error("bad argument #1 to 'parse_cidr6' (string expected)", 2) end
    local high, low, prefix = read_cidr6(text)
    if not high then error(low, 2) end
    return high, low, prefix
end

-- In a list an address stands for itself.
local function with_prefix(entry, prefix)
    return find(entry, "/", 1, true) and entry or entry .. prefix
end

-- By length of prefix, the nets of that length: a look-up takes one step for each length that occurs.
local function small4(list)
    local nets, lengths = {}, {}
    for i = 1, #list do
        local net, prefix = read_cidr(with_prefix(list[i], "/32"))
        if not net then error(prefix, 3) end
        local mask = mask32(prefix)
        if not nets[mask] then
            nets[mask] = {}
            lengths[#lengths + 1] = mask
        end
        nets[mask][net] = true
    end
    return function(ip)
        if not ip then return false end
        for i = 1, #lengths do
            local mask = lengths[i]
            if nets[mask][ip & mask] then return true end
        end
        return false
    end
end

local function small6(list)
    local nets, lengths = {}, {}
    for i = 1, #list do
        local high, low, prefix = read_cidr6(with_prefix(list[i], "/128"))
        if not high then error(low, 3) end
        local group = nets[prefix]
        if not group then
            local high_mask, low_mask = masks64(prefix)
            group = { high_mask, low_mask, {} }
            nets[prefix] = group
            lengths[#lengths + 1] = group
        end
        local halves = group[3][high] or {}
        group[3][high] = halves
        halves[low] = true
    end
    return function(high, low)
        if not high then return false end
        for i = 1, #lengths do
            local group = lengths[i]
            local halves = group[3][high & group[1]]
            if halves and halves[low & group[2]] then return true end
        end
        return false
    end
end

local function subnets(small, big, asks)
    return function(spec)
        local list, pieces = address.entries(spec, "subnet")
        if list then
            local matcher = small(list)
            return note(matcher, { asks = asks })
        end
        local ok, has = pcall(big, pieces)
        if not ok then error(has, 2) end
        return note(function(...)
            if not ... then return false end
            return has(...)
        end, { asks = asks })
    end
end

-- inet.subnet("192.0.2.0/24"), inet.subnet({…}), inet.subnet("…\n…"): whether an integer lies in one of them.
address.inet = { subnet = subnets(small4, matchsets.subnets4, "ipv4") }

-- The same for the two halves of an IPv6 address.
address.inet6 = { subnet = subnets(small6, matchsets.subnets6, "ipv6") }

return address
