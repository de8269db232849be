-- Doubts about rules: what cannot work, or is never tried. What libruleset has made it has noted, see libruleset/made.lua.

local bridge = ...
local made, doubt_of_proxy = bridge.load("libruleset/made"), bridge.native("doubt_of_proxy")
local note_of = made.note_of

local G = _G
local getmetatable, next, rawget, tostring, type = debug.getmetatable, next, rawget, tostring, type

local MOST_RULES, MOST_PARTS, DEEPEST = 10000, 100, 8

local TEXT, INTEGER, INTEGERS = "the address as text", "an IPv4 address as an integer", "an IPv6 address as two integers"
local ASKS = { text = TEXT, ipv4 = INTEGER, ipv6 = INTEGERS }
local GIVES = { route = "ipv4", route6 = "ipv6" } -- the others give the text

local FORM = "{ matcher, action, tag }"

local function is_callable(value)
    local meta = getmetatable(value)
    return type(value) == "function" or type(meta) == "table" and rawget(meta, "__call") ~= nil
end

-- The name under which *library* has *value*: who wrote it has left out the call.
local function name_in(library, value)
    local t = rawget(G, library)
    if type(t) ~= "table" or value == nil then return nil end
    for name, factory in next, t do
        if factory == value then return library .. "." .. name end
    end
end

-- Gives what is noted of *value* if it can be called.
local function check_part(what, value, library, example, tell)
    local name = name_in(library, value)
    if name then
        tell("the " .. what .. " is " .. name .. " itself, which is to be called: " .. name .. "(...)")
    elseif is_callable(value) then
        return note_of(value)
    else
        local got = value == nil and "missing" or "a " .. type(value)
        tell("the " .. what .. " is " .. got .. ", expected what " .. example .. " gives")
    end
end

local function is_action(note) return note.actions or note.weighted end

local function is_matcher(note) return note.asks or note.matchers end

-- Calls check(part, told) for each in a list.
local function each(list, what, check, tell)
    for i = 1, MOST_PARTS do
        local part = rawget(list, i)
        if part == nil then return end
        check(part, function(doubt) tell("in its " .. what .. " " .. i .. ", " .. doubt) end)
    end
end

local function check_matcher(value, given, tell, depth)
    local note = check_part("matcher", value, "match", "match.exact(...) or the like", tell)
    if not note then return end
    if is_action(note) then tell("an action stands where the matcher should: " .. FORM) end
    if note.doubt then tell("the matcher " .. note.doubt) end
    if ASKS[note.asks] and note.asks ~= given then
        tell("the matcher wants " .. ASKS[note.asks] .. " and is given " .. ASKS[given])
    end
    if note.matchers and depth < DEEPEST then
        each(note.matchers, "part", function(part, told) check_matcher(part, given, told, depth + 1) end, tell)
    end
end

local function check_action(value, tell, depth)
    local note = check_part("action", value, "rule", "rule.direct() or the like", tell)
    if not note then return end
    if is_matcher(note) then tell("a matcher stands where the action should: " .. FORM) end
    local proxies = note.proxies or {}
    for i = #proxies, 1, -1 do -- as in a decision, the last one first
        local _, doubt = doubt_of_proxy(proxies[i])
        if doubt then tell("proxy " .. #proxies + 1 - i .. ": " .. doubt) end
    end
    if depth == DEEPEST then return end
    each(note.actions or {}, "turn", function(part, told) check_action(part, told, depth + 1) end, tell)
    each(note.weighted or {}, "turn", function(entry, told)
        if type(entry) ~= "table" or type(rawget(entry, 1)) ~= "number" then
            told("it is no { weight, action }")
        else
            check_action(rawget(entry, 2), told, depth + 1)
        end
    end, tell)
end

local function check_tag(tag, tell)
    if tag ~= nil and type(tag) ~= "string" then tell("the tag is a " .. type(tag) .. ", expected a string") end
end

local function check_fields(rule, most, form, tell)
    for key in next, rule do
        if type(key) ~= "number" or key < 1 or key > most then
            local name = type(key) == "string" and key or "[" .. tostring(key) .. "]"
            tell("it has a field " .. name .. ", which nothing reads: " .. form)
            return
        end
    end
end

local function check_rule(rule, given, tell)
    if type(rule) ~= "table" then
        tell("it is a " .. type(rule) .. ", expected " .. FORM)
        return
    end
    check_fields(rule, 3, FORM, tell)
    local first, action = rawget(rule, 1), rawget(rule, 2)
    if action ~= nil and type(action) ~= "string" then
        check_matcher(first, given, tell, 0)
        check_action(action, tell, 0)
    else -- a function that gives the action
        local note = check_part("matcher", first, "match", "match.exact(...) or the like", tell)
        if note and is_matcher(note) then tell("it has a matcher and no action: " .. FORM) end
        if note and is_action(note) then tell("it has an action and no matcher: " .. FORM) end
    end
    check_tag(rawget(rule, 3), tell)
end

-- Where a rule stands in the script, as far as something in it was made there.
local function place_of(rule)
    for i = 2, 1, -1 do
        local note = type(rule) == "table" and note_of(rawget(rule, i))
        if note and note.place ~= "" then return " (" .. note.place .. ")" end
    end
    return ""
end

local function matches_all(rule)
    local note, action = note_of(rawget(rule, 1)), rawget(rule, 2)
    return note and note.asks == "any" and action ~= nil and type(action) ~= "string"
end

-- What stands behind a hole in the list, or under a name, is never come to.
local function check_rest(name, rules, count, tell)
    for key in next, rules do
        if type(key) ~= "number" then
            tell(name .. " has a field " .. tostring(key) .. ", expected a list of rules")
            return
        elseif key > count then
            tell(name .. ", rule " .. count + 1 .. ": it is nil, and those after it are never tried")
            return
        end
    end
end

local rules_of = {}

rules_of.note_of = note_of

function rules_of.check_rules(name, rules, tell)
    if type(rules) ~= "table" then
        tell(name .. " is a " .. type(rules) .. ", expected a table of rules")
        return
    end
    for i = 1, MOST_RULES do
        local rule = rawget(rules, i)
        if rule == nil then
            check_rest(name, rules, i - 1, tell)
            return
        end
        local function told(doubt) tell(name .. ", rule " .. i .. place_of(rule) .. ": " .. doubt) end
        check_rule(rule, GIVES[name] or "text", told)
        if type(rule) == "table" and matches_all(rule) and rawget(rules, i + 1) ~= nil then
            told("it matches everything, so those after it are never tried")
            return
        end
    end
end

function rules_of.check_default(default, tell)
    if type(default) ~= "table" then
        check_action(default, function(doubt) tell("route_default: " .. doubt) end, 0)
        return
    end
    if type(rawget(default, 1)) == "table" then
        rules_of.check_rules("route_default", default, tell)
        return
    end
    local function told(doubt) tell("route_default" .. place_of(default) .. ": " .. doubt) end
    if rawget(default, 2) == nil or type(rawget(default, 2)) == "string" then
        check_fields(default, 2, "{ action, tag }", told)
        check_action(rawget(default, 1), told, 0)
    else
        check_rule(default, "text", told)
    end
end

return rules_of
