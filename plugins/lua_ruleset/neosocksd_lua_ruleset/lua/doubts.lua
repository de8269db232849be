-- What a ruleset that loads may still have wrong: misspelt names, and rules that cannot work. They are told, and change nothing.
--
-- Tables are read raw: what a script computes when it is asked is not asked for here.

local G, package = _G, package
local getmetatable, next, rawget, type, sub = debug.getmetatable, next, rawget, type, string.sub

local CALLBACKS = { "resolve", "route", "route6", "tick", "stats", "metrics", "healthy", "authenticate" }
local RULES = { "redirect_name", "redirect", "redirect6", "route", "route6" }
local TABLES = { "redirect_name", "redirect", "redirect6", "route", "route6", "route_default", "hosts", "secrets" }
local MOST_DOUBTS, MOST_RULES = 10, 10000

-- Whether one slip of the finger makes one name of the other: a letter too many, another one, or two of them swapped.
local function is_near(a, b)
    if #a > #b then a, b = b, a end
    local at = 1
    while at <= #a and sub(a, at, at) == sub(b, at, at) do at = at + 1 end
    if #a ~= #b then return #b - #a == 1 and sub(a, at) == sub(b, at + 1) end
    local swapped = sub(a, at + 1, at + 1) .. sub(a, at, at) .. sub(a, at + 2)
    return sub(a, at + 1) == sub(b, at + 1) or swapped == sub(b, at)
end

local function is_callable(value)
    local meta = getmetatable(value)
    return type(value) == "function" or type(meta) == "table" and rawget(meta, "__call") ~= nil
end

local function set_of(names)
    local set = {}
    for i = 1, #names do set[names[i]] = true end
    return set
end

-- Names in *t*, of values of *kind*, that look like one of *names* which *t* lacks.
local function misspelt(t, kind, names, tell)
    local known = set_of(names)
    for name, value in next, t do
        if type(name) == "string" and type(value) == kind and not known[name] then
            for i = 1, #names do
                if rawget(t, names[i]) == nil and is_near(name, names[i]) then
                    tell(name, names[i])
                    break
                end
            end
        end
    end
end

-- The name under which *library* has *value*: who wrote it has left out the call.
local function name_in(library, value)
    local t = rawget(G, library)
    if type(t) ~= "table" or value == nil then return nil end
    for name, factory in next, t do
        if factory == value then return library .. "." .. name end
    end
end

local function check_part(what, value, library, example, tell)
    local name = name_in(library, value)
    if name then
        tell("the " .. what .. " is " .. name .. " itself, which is to be called: " .. name .. "(...)")
    elseif not is_callable(value) then
        tell("the " .. what .. " is a " .. type(value) .. ", expected what " .. example .. " gives")
    end
end

local function check_action(value, tell) check_part("action", value, "rule", "rule.direct() or the like", tell) end

local function check_rule(rule, tell)
    if type(rule) ~= "table" then
        tell("it is a " .. type(rule) .. ", expected { matcher, action, tag }")
        return
    end
    check_part("matcher", rawget(rule, 1), "match", "match.exact(...) or the like", tell)
    local action, tag = rawget(rule, 2), rawget(rule, 3)
    if action ~= nil and type(action) ~= "string" then check_action(action, tell) end
    if tag ~= nil and type(tag) ~= "string" then tell("the tag is a " .. type(tag) .. ", expected a string") end
end

local function check_rules(name, rules, tell)
    if type(rules) ~= "table" then
        tell(name .. " is a " .. type(rules) .. ", expected a table of rules")
        return
    end
    for i = 1, MOST_RULES do
        local rule = rawget(rules, i)
        if rule == nil then return end
        check_rule(rule, function(doubt) tell(name .. ", rule " .. i .. ": " .. doubt) end)
    end
end

local function check_default(default, tell)
    local function told(doubt) tell("route_default: " .. doubt) end
    if type(default) ~= "table" then
        check_action(default, told)
    elseif type(rawget(default, 1)) == "table" then
        check_rules("route_default", default, tell)
    elseif rawget(default, 2) == nil or type(rawget(default, 2)) == "string" then
        check_action(rawget(default, 1), told)
    else
        check_rule(default, told)
    end
end

local doubts = {}

-- The doubts about *ruleset*, which has just been loaded, each a line of text.
function doubts.about(ruleset)
    local found = {}
    local function tell(doubt)
        if #found < MOST_DOUBTS then found[#found + 1] = doubt end
    end
    misspelt(ruleset, "function", CALLBACKS, function(name, meant)
        tell("ruleset." .. name .. " is no callback; is ruleset." .. meant .. " meant?")
    end)
    if package.loaded["libruleset.decisions"] == nil then return found end
    misspelt(G, "table", TABLES, function(name, meant)
        tell(name .. " is no table of rules; is " .. meant .. " meant?")
    end)
    for i = 1, #RULES do
        local rules = rawget(G, RULES[i])
        if rules ~= nil then check_rules(RULES[i], rules, tell) end
    end
    local default = rawget(G, "route_default")
    if default ~= nil then check_default(default, tell) end
    return found
end

return doubts
