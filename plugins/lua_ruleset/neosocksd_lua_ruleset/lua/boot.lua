-- Makes the bridge, runs the other files of this directory, and gives the entry functions to Python.
--
-- Called once, on the main state. Whatever of Python is in here stays in local variables.

local lookup, option, source, monotonic, arm, disarm = ...

local error, load, rawequal, select, type, setmetatable =
    error, load, rawequal, select, type, setmetatable

-- What lupa has put into the globals goes, before any script could see it.
python = nil
package.loaded.python = nil
do
    local wrapped = debug.getmetatable(lookup)
    wrapped.__metatable = "locked"
    wrapped.__tostring = function() return "native function" end
    wrapped.__name = "native function"
end

local bridge = { monotonic = monotonic }

bridge.options = setmetatable({}, { __index = function(_, name) return option(name) end })

local SMALL = 4096 -- bytes, whose cost in Python nobody needs to count

local spend -- guard.spend

local PRIMITIVE = { ["nil"] = true, boolean = true, number = true, string = true }

-- The hard memory limit holds while a script runs, and never while Python puts a value into the machine: where that fails for lack of
-- memory, the process is lost. Both functions give nothing, so they take no memory either.
local limited, armed = false, false

-- The machine is about to be collected: finalizers still run then, when Python's functions may be half gone.
local closed = false

function bridge.close() closed = true end

function bridge.set_hard_limit(on) limited = on end

function bridge.arm()
    if limited then
        armed = true
        arm()
    end
end

function bridge.disarm()
    if armed then
        armed = false
        disarm()
    end
end

local function rearm(...)
    arm()
    return ...
end

-- The native function of that name: takes primitives, gives true and results, or false and a message.
function bridge.native(name)
    local native = lookup(name)
    if not native then error("there is no native function " .. name, 2) end
    return function(...)
        if closed then return false, "the machine is closed" end
        local size = 0
        for i = 1, select("#", ...) do
            local argument = select(i, ...)
            local kind = type(argument)
            if not PRIMITIVE[kind] then return false, "primitive expected, got " .. kind end
            if kind == "string" then size = size + #argument end
        end
        if size > SMALL then spend(size) end
        if not armed then return native(...) end
        disarm()
        return rearm(native(...))
    end
end

-- The text of lua/NAME.lua; nil if there is no such file.
function bridge.source(name) return not closed and source(name) or nil end

local loaded = {}

-- The value of lua/NAME.lua, which is called once with the bridge; nil if there is no such file.
function bridge.load(name)
    if loaded[name] == nil then
        local text = bridge.source(name)
        if not text then return nil end
        local chunk, message = load(text, "=neosocksd/" .. name, "t")
        if not chunk then error(message, 0) end
        local value = chunk(bridge)
        if value == nil then value = true end
        loaded[name] = value
    end
    return loaded[name]
end

bridge.check = bridge.load("check")
spend = bridge.load("guard").spend
bridge.load("routines")

local entries = bridge.load("entry")
bridge.load("strings")
bridge.load("tables")
if bridge.options.sandbox then bridge.load("sandbox") end
return entries()
