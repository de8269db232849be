-- Actions, and load balancing over them. An action is given the address, and how many decisions were made for the request.
-- Proxies are given in the order of dialling; a decision names the last one first.

local bridge = ...
local text, address = bridge.load("libruleset/text"), bridge.load("libruleset/address")
local decisions, made = bridge.load("libruleset/decisions"), bridge.load("libruleset/made")
local join, split, ipv4, ipv6 = address.join, address.split, address.ipv4, address.ipv6
local default, decide_again, MAX_ROUNDS = decisions.default, decisions.again, decisions.MAX_ROUNDS
local note, check_pattern = made.note, bridge.load("patterns").check

local error, floor, gsub, huge, lower, select, type, unpack =
    error, math.floor, string.gsub, math.huge, string.lower, select, type, table.unpack

local rule = {}

local function reversed(...)
    local count, made = select("#", ...), {}
    for i = 1, count do
        local proxy = select(i, ...)
        if type(proxy) ~= "string" then error("a proxy must be a string, got " .. type(proxy), 3) end
        made[count + 1 - i] = proxy
    end
    return made
end

function rule.direct()
    return note(function(addr) return addr end, { actions = {} })
end

function rule.reject()
    return note(function() return nil end, { actions = {} })
end

function rule.default()
    return note(function(addr, round)
        -- A default that says "default" would never end.
        round = (round or 0) + 1
        if round > MAX_ROUNDS then return nil end
        return default(addr, round)
    end, { actions = {} })
end

-- Looks the host up and decides again; an address goes as it is.
function rule.resolve()
    local function action(addr, round)
        local host, port = split(addr)
        if not host then return nil end
        if ipv4(host) or ipv6(host) then return addr end
        local found = await.resolve(host)
        if not found then return nil end
        return decide_again(action, join(found, port), round)
    end
    return note(action, { actions = {} })
end

-- Another destination; where its host or its port is empty, that of the request.
function rule.redirect(destination, ...)
    text.expect("string", destination, 1, "redirect")
    local new_host, new_port = split(destination)
    if not new_host then error("bad argument #1 to 'redirect' (host:port expected)", 2) end
    local proxies = reversed(...)
    if new_host ~= "" and new_port ~= "" then
        return note(function() return destination, unpack(proxies) end, { actions = {}, proxies = proxies })
    end
    return note(function(addr)
        local host, port = split(addr)
        if not host then return nil end
        if new_host ~= "" then host = new_host end
        if new_port ~= "" then port = new_port end
        return join(host, port), unpack(proxies)
    end, { actions = {}, proxies = proxies })
end

function rule.proxy(...)
    local proxies = reversed(...)
    return note(function(addr) return addr, unpack(proxies) end, { actions = {}, proxies = proxies })
end

-- t[k] as an action, looked up at each request; without it the request is rejected.
function rule.maybe(t, k)
    text.expect("table", t, 1, "maybe")
    return note(function(...)
        local action = t[k]
        if not action then return nil end
        return action(...)
    end, { actions = {} })
end

-- Gives a function that replaces the pattern in an address as string.gsub does, in which letters have no case, as in matchers; what
-- does not match stays as it was written.
local function replacer(pattern, replacement, name)
    if type(pattern) ~= "string" then
        error("bad argument #1 to '" .. name .. "' (string expected, got " .. type(pattern) .. ")", 3)
    end
    check_pattern(pattern)
    if replacement == nil then error("bad argument #2 to '" .. name .. "' (value expected)", 3) end
    pattern = text.folded(pattern)
    return function(addr)
        local replaced, count = gsub(lower(addr), pattern, replacement)
        return count > 0 and replaced or addr
    end
end

-- The address with the pattern replaced.
function rule.rewrite(pattern, replacement, ...)
    local replace, proxies = replacer(pattern, replacement, "rewrite"), reversed(...)
    return note(function(addr) return replace(addr), unpack(proxies) end, { actions = {}, proxies = proxies })
end

-- The same, and the rules decide about the new address.
function rule.loopback(pattern, replacement)
    local replace = replacer(pattern, replacement, "loopback")
    local function action(addr, round) return decide_again(action, replace(addr), round) end
    return note(action, { actions = {} })
end

-- Load balancing: actions that take turns. The tables are read at each request, so they may change.

local lb = {}

function lb.roundrobin(t)
    text.expect("table", t, 1, "roundrobin")
    local last = 0
    return note(function(...)
        local count = #t
        if count == 0 then return nil end
        last = last % count + 1
        return t[last](...)
    end, { actions = t })
end

local function is_whole(weight) return weight % 1 == 0 end

-- What a weight is multiplied with, so that a cycle has about *cyclesize* turns. Fractions need one.
local function scale_of(t, cyclesize)
    local sum, all_whole = 0, true
    for i = 1, #t do
        local weight = t[i][1]
        if weight > 0 and weight < huge then
            sum = sum + weight
            all_whole = all_whole and is_whole(weight)
        end
    end
    if sum == 0 or not cyclesize and all_whole then return 1 end
    return (cyclesize or 100) / sum
end

-- Interleaved weighted round robin over {{weight, action}, …}: in round r of a cycle, each whose weight is at least r has a turn.
-- Weights of 0 and below take no part.
function lb.iwrr(t, cyclesize)
    text.expect("table", t, 1, "iwrr")
    if cyclesize ~= nil then text.expect("number", cyclesize, 2, "iwrr") end
    local round, last, scale = 1, 0, 1
    local function turns(entry)
        local weight = entry[1]
        if not (weight > 0 and weight < huge) then return 0 end
        if scale == 1 then return weight end
        local scaled = floor(weight * scale + 0.5)
        return scaled < 1 and 1 or scaled
    end
    return note(function(...)
        -- To the end of this round, then at most one whole round of the next cycle.
        for _ = 1, 3 do
            if last == 0 then scale = scale_of(t, cyclesize) end
            for i = last + 1, #t do
                if turns(t[i]) >= round then
                    last = i
                    return t[i][2](...)
                end
            end
            round, last = last > 0 and round + 1 or 1, 0
        end
        round = 1
        return nil
    end, { weighted = t })
end

return { rule = rule, lb = lb }
