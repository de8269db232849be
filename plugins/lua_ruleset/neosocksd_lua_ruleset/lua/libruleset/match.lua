-- Matchers over "host:port", and their combinations. Names are compared without regard to case.

local bridge = ...
local text, address = bridge.load("libruleset/text"), bridge.load("libruleset/address")
local matchsets, patterns = bridge.load("matchsets"), bridge.load("patterns")
local note = bridge.load("libruleset/made").note

local error, find, gsub, lower, match, pcall, sub, tonumber, type =
    error, string.find, string.gsub, string.lower, string.match, pcall, string.sub, tonumber, type
local entries, lines, split, folded = address.entries, address.lines, address.split, text.folded

local matchers = {}

-- Matches everything.
function matchers.any()
    return note(function() return true end, { asks = "any" })
end

local function about_text(matcher, doubt) return note(matcher, { asks = "text", doubt = doubt }) end

local PORT = "^[^:]*:%d*$" -- one colon: an IPv6 address has more

-- What is odd about the names that a matcher lists, nil if nothing is: such a name matches no request.
local function odd_name(list)
    for i = 1, #list do
        local entry = list[i]
        if find(entry, "*", 1, true) then
            return "has " .. entry .. ", and * is no wildcard: .a.b in match.domain is a.b and every name below it"
        end
        if find(entry, PORT) then
            return "has " .. entry .. ", which ends in a port: match.exact and match.port are for ports"
        end
    end
    return nil
end

local function without_port(list)
    for i = 1, #list do
        if not find(list[i], ":%d+$") then
            return "has " .. list[i] .. ", which has no port: match.host is for a host with any port"
        end
    end
    return nil
end

-- A set of names outside of Lua; `below` as the native one has it.
local function big_set(pieces, below)
    local ok, has = pcall(matchsets.names, pieces, below)
    if not ok then error(has, 4) end
    return has
end

local function big_names(pieces, below)
    local has = big_set(pieces, below)
    return function(text)
        local _, _, name = split(text)
        return name ~= nil and has(name)
    end
end

-- Without the lines that begin with a dot: the set takes them for domains.
local function without_domains(text)
    return (gsub("\n" .. text, "\n%s*%.[^\n]*", ""))
end

local CUT = 65536

-- The same texts, changed, in pieces of whole lines and about CUT bytes: of a long one a changed copy would take several times its memory.
local function changed(texts, change)
    local text, at
    return function()
        if not text then text, at = texts(), 1 end
        if not text then return nil end
        local last = find(text, "\n", at + CUT, true) or #text
        local piece = sub(text, at, last)
        at = last + 1
        if at > #text then text = nil end
        return change(piece)
    end
end

-- The whole text, "host:port".
function matchers.exact(spec)
    local list, pieces = entries(spec, "exact")
    if not list then
        local matcher = big_set(changed(pieces, without_domains), false)
        return about_text(matcher)
    end
    local known = {}
    for i = 1, #list do known[lower(list[i])] = true end
    return about_text(function(text)
        return known[lower(text)] == true
    end, without_port(list))
end

-- A name as `split` gives it: the dot that may end a full name is no part of it.
local function without_dot(name)
    return #name > 1 and sub(name, -1) == "." and sub(name, 1, -2) or name
end

-- Without brackets around addresses.
local function bare_hosts(text)
    return (gsub(without_domains(text), "\n%s*%[([^%]\n]*)%]", "\n%1"))
end

-- This very host, a name or an address.
function matchers.host(spec)
    local list, pieces = entries(spec, "host")
    if not list then
        local matcher = big_names(changed(pieces, bare_hosts), false)
        return about_text(matcher)
    end
    local known = {}
    for i = 1, #list do
        local name = lower(list[i])
        known[match(name, "^%[(.*)%]$") or without_dot(name)] = true
    end
    return about_text(function(text)
        local _, _, name = split(text)
        return name ~= nil and known[name] == true
    end, odd_name(list))
end

-- By a table of names, each standing for all below it: the name itself, then what follows its first dot, …
local function lies_below(tops, name)
    local at = 0
    repeat
        if tops[sub(name, at + 1)] then return true end
        at = find(name, ".", at + 1, true)
    until not at
    return false
end

local function domains(name, is_tree)
    return function(spec)
        local list, pieces = entries(spec, name)
        if not list then
            local matcher = big_names(pieces, is_tree)
            return about_text(matcher)
        end
        local alone, tops, has_alone = {}, {}, false
        for i = 1, #list do
            local entry = without_dot(lower(list[i]))
            if sub(entry, 1, 1) == "." then
                tops[sub(entry, 2)] = true
            elseif is_tree then
                tops[entry] = true
            else
                alone[entry], has_alone = true, true
            end
        end
        return about_text(function(text)
            local _, _, host = split(text)
            if not host then return false end
            return has_alone and alone[host] == true or lies_below(tops, host)
        end, odd_name(list))
    end
end

-- ".a.b" is a.b and every name below it; "a.b" is that name alone.
matchers.domain = domains("domain", false)

-- "a.b" and ".a.b" are both a.b and every name below it.
matchers.domaintree = domains("domaintree", true)

local function port_of(value, level)
    local port = tonumber(value)
    if not port or port < 0 or port > 65535 or port % 1 ~= 0 then
        error("bad argument to 'port' (a port from 0 to 65535 expected)", level or 3)
    end
    return port
end

local function range_of(from, to)
    local first, last = port_of(from, 4), port_of(to, 4)
    if first > last then error("bad argument to 'port' (the range ends before it begins)", 3) end
    return { first, last }
end

-- One port, a range, or a list of both: port(80), port(8000, 8999), port({ 80, 443, { 8000, 8999 } }).
function matchers.port(from, to)
    local ports, ranges = {}, {}
    if type(from) == "table" then
        for i = 1, #from do
            local entry = from[i]
            if type(entry) == "table" then
                ranges[#ranges + 1] = range_of(entry[1], entry[2])
            else
                ports[port_of(entry)] = true
            end
        end
    elseif to ~= nil then
        ranges[1] = range_of(from, to)
    else
        ports[port_of(from)] = true
    end
    return about_text(function(text)
        local _, digits = split(text)
        local port = digits and tonumber(digits)
        if not port then return false end
        if ports[port] then return true end
        for i = 1, #ranges do
            if ranges[i][1] <= port and port <= ranges[i][2] then return true end
        end
        return false
    end)
end

-- The patterns that a matcher's argument lists. They stay in Lua, however many there are.
local function patterns_of(spec, name)
    if type(spec) == "string" then
        if not find(spec, "\n", 1, true) then return { spec } end
        local list = {}
        for entry in lines(spec) do list[#list + 1] = entry end
        return list
    end
    text.expect_list(spec, name)
    return spec
end

local function any_of(list, test)
    if #list == 1 then
        local only = list[1]
        return about_text(function(text) return test(only, lower(text)) end)
    end
    return about_text(function(text)
        text = lower(text)
        for i = 1, #list do
            if test(list[i], text) then return true end
        end
        return false
    end)
end

-- A Lua pattern, or one of several, that is found in the text.
function matchers.pattern(spec)
    local list, folds = patterns_of(spec, "pattern"), {}
    for i = 1, #list do
        if type(list[i]) ~= "string" then
            error("bad argument #1 to 'pattern' (entry " .. i .. " is a " .. type(list[i]) .. ")", 2)
        end
        patterns.check(list[i])
        folds[i] = folded(list[i])
    end
    return any_of(folds, function(pattern, text) return find(text, pattern) ~= nil end)
end

local function compiled(spec)
    return type(spec) == "table" and type(spec.find) == "function"
end

-- An extended regular expression, or one of several, that is found in the text; compiled ones are taken as they are.
function matchers.regex(spec)
    local list = compiled(spec) and { spec } or patterns_of(spec, "regex")
    local expressions, flags = {}, regex.EXTENDED | regex.ICASE | regex.NEWLINE
    for i = 1, #list do
        local expression = list[i]
        if type(expression) == "string" then
            local ok, made = pcall(regex.compile, expression, flags)
            if not ok then error(made, 2) end
            expression = made
        elseif not compiled(expression) then
            error("bad argument #1 to 'regex' (entry " .. i .. " is a " .. type(expression) .. ")", 2)
        end
        expressions[i] = expression
    end
    return any_of(expressions, function(expression, text) return expression:find(text) ~= nil end)
end

local BRACKETS = {
    d = "[0-9]", D = "[^0-9]", w = "[[:alnum:]_]", W = "[^[:alnum:]_]", s = "[[:space:]]", S = "[^[:space:]]",
}
local INSIDE = { d = "0-9", w = "[:alnum:]_", s = "[:space:]" }

-- \d \D \w \W \s \S as bracket expressions. Inside brackets the first, third and fifth work.
function matchers.compat(s)
    text.expect("string", s, 1, "compat")
    local out, at, inside = {}, 1, false
    while at <= #s do
        local char = sub(s, at, at)
        local escape = char == "\\" and sub(s, at + 1, at + 1)
        local class = inside and match(s, "^%[[:.=].-[:.=]%]", at)
        if escape then
            out[#out + 1] = (inside and INSIDE or BRACKETS)[escape] or inside and "\\" or "\\" .. escape
            at = at + ((not inside or INSIDE[escape]) and 2 or 1)
        elseif class then
            out[#out + 1] = class
            at = at + #class
        elseif not inside and char == "[" then
            local opening = match(s, "^%[%^?%]?", at)
            out[#out + 1], inside = opening, true
            at = at + #opening
        else
            if char == "]" then inside = false end
            out[#out + 1] = char
            at = at + 1
        end
    end
    return table.concat(out)
end

return matchers
