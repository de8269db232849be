-- The entries that load scripts: the ruleset, its modules, the configuration.

local bridge = ...
local runs, routines, packages = bridge.load("runs"), bridge.load("routines"), bridge.load("packages")
local doubts = bridge.load("doubts")

local error, next, sub, tostring, type, unpack = error, next, string.sub, tostring, type, table.unpack
local protected, describe = routines.protected, routines.describe
local enter, leave, loading = bridge.load("guard").enter, runs.leave, runs.loading
local G, package = _G, package

local entry = {}

local function install(chunk, name)
    local value = chunk("ruleset")
    if type(value) ~= "table" then
        error(sub(name, 2) .. ": the ruleset returned a " .. type(value) .. ", expected a table", 0)
    end
    G.ruleset = value
end

-- Runs a ruleset's chunk; it takes the place of the one in force if it returns a table.
entry.load = loading(function(text, name)
    local chunk, message = packages.compile(text, name)
    if not chunk then return false, message end
    local ok, failure = packages.attempt(protected, install, chunk, name)
    if not ok then return false, describe(failure) end
    return true
end)

-- What is doubtful about the ruleset in force.
entry.doubts = loading(function() return unpack(doubts.about(G.ruleset)) end)

entry.replace = loading(function(text, name, module)
    local chunk, message = packages.compile(text, name)
    if not chunk then return false, message end
    local ok, failure = packages.attempt(protected, packages.replace, module, chunk)
    if not ok then return false, describe(failure) end
    return true
end)

local KINDS = { string = true, number = true, boolean = true }

local function add(found, name, value)
    if not KINDS[type(value)] then
        error(name .. ": a " .. type(value) .. " cannot be a setting", 0)
    end
    found[#found + 1], found[#found + 2] = name, value
end

local function is_list(value) return type(value) == "table" and value[1] ~= nil end

-- The field of that name; of a list of strings each entry, under the name with [] behind it.
local function add_field(found, name, value)
    if not is_list(value) then return add(found, name, value) end
    for i = 1, #value do
        if type(value[i]) ~= "string" then
            error(name .. ": entry " .. i .. " is a " .. type(value[i]) .. ", expected a string", 0)
        end
        add(found, name .. "[]", value[i])
    end
end

local function check_name(name)
    if type(name) == "number" then error("value " .. name .. " has no name, expected { name = value, ... }", 0) end
    if type(name) ~= "string" then error("a configuration field is named by a " .. type(name), 0) end
end

-- Runs a configuration's chunk; gives its fields, each with its name before it.
local function configure(chunk)
    local fields = chunk("config")
    if type(fields) ~= "table" then
        error("the configuration returned a " .. type(fields) .. ", expected a table", 0)
    end
    if fields.ruleset ~= nil then
        if type(fields.ruleset) ~= "table" then
            error("ruleset: expected a table, got a " .. type(fields.ruleset), 0)
        end
        G.ruleset = fields.ruleset
    end
    local found = {}
    for name, value in next, fields do
        check_name(name)
        if type(value) == "table" and not is_list(value) and name ~= "ruleset" then
            for key, inner in next, value do add_field(found, name .. "." .. tostring(key), inner) end
        elseif name ~= "ruleset" then
            add_field(found, name, value)
        end
    end
    return found
end

local function configuration(text, name)
    local chunk, message = packages.compile(text, name)
    if not chunk then return false, message end
    local ok, found = packages.attempt(protected, configure, chunk)
    if not ok then return false, describe(found) end
    return true, unpack(found)
end

function entry.configure(text, name, seconds)
    enter(seconds)
    return leave(configuration(text, name))
end

entry.has_ruleset = function() return G.ruleset ~= nil end

function entry.set_path(path) package.path = path end

return entry
