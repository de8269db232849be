-- Rule tables: how they are followed to a decision, and combinations of matchers.

local bridge = ...
local text, address = bridge.load("libruleset/text"), bridge.load("libruleset/address")
local made = bridge.load("libruleset/made")
local join, split, ipv4, ipv6 = address.join, address.split, address.ipv4, address.ipv6

local G = _G
local note = made.note
local error, type = error, type

local decisions = {}

-- Decisions for one request; a rule may start the next one.
local MAX_ROUNDS = 16
decisions.MAX_ROUNDS = MAX_ROUNDS

-- The action, and its tag, of the first rule that matches: `{matcher, action, tag}`, or `{f, tag}` with f(…) giving action and tag.
local function follow(chain, ...)
    if not chain then return nil end
    local i = 1
    local entry = chain[1]
    while entry ~= nil do
        local first, action, tag = entry[1], entry[2], entry[3]
        if action == nil or type(action) == "string" then
            local found, found_tag = first(...)
            if found == true then error("rule " .. i .. " of a table has a matcher and no action", 0) end
            if found then return found, found_tag or action end
        elseif first(...) then
            return action, tag
        end
        i = i + 1
        entry = chain[i]
    end
    return nil
end

local function apply(action, tag, addr, round)
    if tag then text.event(made.place_of(action), "%s: %s", tag, addr) end
    return action(addr, round)
end

-- What route_default says: `{action, tag}`, a rule, a list of rules, or an action; without it, the address as it is.
function decisions.default(addr, round)
    local rule = G.route_default
    if rule == nil then return addr end
    if type(rule) ~= "table" then return rule(addr, round) end
    if type(rule[1]) == "table" then
        local action, tag = follow(rule, addr)
        if action then return apply(action, tag, addr, round) end
        return nil
    end
    local action, tag = rule[1], rule[2]
    if tag ~= nil and type(tag) ~= "string" then
        if action(addr) then return apply(tag, rule[3], addr, round) end
        return nil
    end
    return apply(action, tag, addr, round)
end

local default = decisions.default

local function by_address(chain, addr, round, ...)
    local action, tag = follow(chain, ...)
    if action then return apply(action, tag, addr, round) end
    return default(addr, round)
end

local decide = {}
decisions.decide = decide

function decide.route(addr, round)
    local action, tag = follow(G.redirect, addr)
    if action then return apply(action, tag, addr, round) end
    return by_address(G.route, addr, round, neosocksd.parse_ipv4((split(addr))))
end

function decide.route6(addr, round)
    local action, tag = follow(G.redirect6, addr)
    if action then return apply(action, tag, addr, round) end
    return by_address(G.route6, addr, round, neosocksd.parse_ipv6((split(addr))))
end

-- The text may hold an address too: an HTTP client's request is not told apart by type.
function decide.resolve(addr, round)
    local action, tag = follow(G.redirect_name, addr)
    if action then return apply(action, tag, addr, round) end
    local host, port, name = split(addr)
    if not host then return default(addr, round) end
    local hosts = G.hosts
    local known = hosts and (hosts[host] or hosts[name])
    if known then
        addr = join(known, port)
        host = split(addr)
    end
    local ip = ipv4(host)
    if ip then return by_address(G.route, addr, round, ip) end
    local high, low = ipv6(host)
    if high then return by_address(G.route6, addr, round, high, low) end
    return default(addr, round)
end

-- Decides again, by what the address is now; *action* asks for it.
function decisions.again(action, addr, round)
    round = (round or 0) + 1
    if round > MAX_ROUNDS then
        text.event(made.place_of(action), "rules go round in circles: %s", addr)
        return nil
    end
    local host = split(addr)
    if not host then return nil end
    if ipv4(host) then return decide.route(addr, round) end
    if ipv6(host) then return decide.route6(addr, round) end
    return decide.resolve(addr, round)
end

-- Combinations.

local composite = {}
decisions.composite = composite

function composite.inverse(f)
    if f == nil then error("bad argument #1 to 'inverse' (matcher expected, got nil)", 2) end
    return note(function(...) return not f(...) end, { matchers = { f } })
end

function composite.anyof(t)
    text.expect("table", t, 1, "anyof")
    return note(function(...)
        for i = 1, #t do
            if t[i](...) then return true end
        end
        return false
    end, { matchers = t })
end

function composite.allof(t)
    text.expect("table", t, 1, "allof")
    return note(function(...)
        for i = 1, #t do
            if not t[i](...) then return false end
        end
        return true
    end, { matchers = t })
end

-- t[k] as a matcher, looked up at each match; nil and false match nothing.
function composite.maybe(t, k)
    text.expect("table", t, 1, "maybe")
    return function(...)
        local f = t[k]
        if not f then return false end
        return f(...)
    end
end

-- t[k] as a rule table, looked up at each match; what it finds is the action.
function composite.subchain(t, k)
    text.expect("table", t, 1, "subchain")
    return function(...) return follow(t[k], ...) end
end

return decisions
