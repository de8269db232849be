-- What a ruleset that loads may still have wrong: misspelt names, rules that cannot work or are never tried. They are told, and change nothing.
--
-- Tables are read raw: what a script computes when it is asked is not asked for here.

local bridge = ...
local parts = bridge.load("doubts_of_rules")
local note_of, check_rules, check_default = parts.note_of, parts.check_rules, parts.check_default

local G, package = _G, package
local find, lower, next, rawget, type, sub = string.find, string.lower, next, rawget, type, string.sub

local CALLBACKS = { "resolve", "route", "route6", "tick", "stats", "metrics", "healthy", "authenticate" }
local RULES = { "redirect_name", "redirect", "redirect6", "route", "route6" }
local TABLES = { "redirect_name", "redirect", "redirect6", "route", "route6", "route_default", "hosts", "secrets" }
local MOST_DOUBTS, MOST_ENTRIES = 10, 10000

-- Whether one slip of the finger makes one name of the other: a letter too many, another one, or two of them swapped.
local function is_near(a, b)
    if #a > #b then a, b = b, a end
    local at = 1
    while at <= #a and sub(a, at, at) == sub(b, at, at) do at = at + 1 end
    if #a ~= #b then return #b - #a == 1 and sub(a, at) == sub(b, at + 1) end
    local swapped = sub(a, at + 1, at + 1) .. sub(a, at, at) .. sub(a, at + 2)
    return sub(a, at + 1) == sub(b, at + 1) or swapped == sub(b, at)
end

local function set_of(names)
    local set = {}
    for i = 1, #names do set[names[i]] = true end
    return set
end

-- Whether the script has set t[name] itself: libruleset's callbacks are there before it could.
local function has(t, name)
    local value = rawget(t, name)
    local note = note_of(value)
    return value ~= nil and not (note and note.is_default)
end

-- Names in *t*, of values of *kind*, that look like one of *names* which *t* lacks.
local function misspelt(t, kind, names, tell)
    local known = set_of(names)
    for name, value in next, t do
        if type(name) == "string" and type(value) == kind and not known[name] then
            for i = 1, #names do
                if not has(t, names[i]) and is_near(name, names[i]) then
                    tell(name, names[i])
                    break
                end
            end
        end
    end
end

-- Calls check(key, value) for what stands in the global table of that name.
local function each(name, check, tell)
    local t = rawget(G, name)
    if t == nil then return end
    if type(t) ~= "table" then
        tell(name .. " is a " .. type(t) .. ", expected a table")
        return
    end
    local count = 0
    for key, value in next, t do
        count = count + 1
        if count > MOST_ENTRIES then return end
        check(key, value)
    end
end

local function check_hosts(tell)
    each("hosts", function(name, address)
        if type(name) ~= "string" then
            tell("hosts: a name is a " .. type(name) .. ", expected { name = address }")
        elseif type(address) ~= "string" then
            tell("hosts: the address of " .. name .. " is a " .. type(address) .. ", expected a string")
        elseif name ~= lower(name) then
            tell("hosts: " .. name .. " is not in lower case, as names are when they are looked for")
        elseif find(address, "^[^:]*:%d*$") then
            tell("hosts: the address of " .. name .. " ends in a port; that of the request is kept")
        end
    end, tell)
end

local function check_secrets(tell)
    each("secrets", function(user, secret)
        if type(user) ~= "string" then
            tell("secrets: a user is a " .. type(user) .. ", expected { user = password }")
        elseif type(secret) ~= "string" and type(secret) ~= "boolean" then
            tell("secrets: the password of " .. user .. " is a " .. type(secret) .. ", expected a string, or true for any")
        end
    end, tell)
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
    check_hosts(tell)
    check_secrets(tell)
    return found
end

return doubts
