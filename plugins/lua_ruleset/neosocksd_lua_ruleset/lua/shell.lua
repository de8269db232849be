-- os.execute and io.popen, as POSIX has them. This build of Lua has no io.popen, and its os.execute gives no exit status.
--
-- The file of a command is a file of Lua's own. What is different about it is how it is closed: then its command is waited for.

local bridge = ...
local check, guard, handles = bridge.check, bridge.load("guard"), bridge.load("handles")

local error, setmetatable = error, setmetatable
local pcall, relocated = guard.pcall, guard.relocated
local open, raw_close = io.open, io.close
local native_execute, native_popen, native_opened, native_wait, native_forget =
    bridge.native("execute"), bridge.native("popen"), bridge.native("popen_opened"), bridge.native("popen_wait"),
    bridge.native("popen_forget")

local function results(ok, ...)
    if not ok then error((...), 3) end
    return ...
end

-- Runs a command, and blocks the whole server until it ends. Without one: whether there is a shell.
function os.execute(command)
    if command == nil then return true end
    command = check.string(command, 1, "execute")
    local ok, what, status = results(native_execute(command))
    return ok, what, status
end

local commands = setmetatable({}, { __mode = "k" }) -- by file: the number of its command

-- Starts a command, and gives a file to read what it prints ("r"), or to write what it reads ("w").
function io.popen(command, mode)
    command = check.string(command, 1, "popen")
    mode = mode == nil and "r" or check.string(mode, 2, "popen")
    if mode ~= "r" and mode ~= "w" then check.bad(2, "popen", "invalid mode") end
    handles.sweep()
    local number, path = results(native_popen(command, mode == "r"))
    local file, message, code = open(path, mode)
    native_opened(number)
    if not file then
        handles.release(native_forget, number)
        return nil, message, code
    end
    commands[file] = number
    return file
end

local meta = debug.getmetatable(io.stdout)
local methods = meta.__index
local close, collect, leave = methods.close, meta.__gc, meta.__close

function methods.close(file)
    local number = commands[file]
    if not number then return relocated("close", pcall(close, file)) end
    commands[file] = nil
    close(file)
    local ok, what, status = results(native_wait(number))
    return ok, what, status
end

function io.close(...)
    local file = ...
    if file ~= nil and commands[file] then return methods.close(file) end
    return relocated("close", pcall(raw_close, ...)) -- the default output, if there is no argument
end

if leave then
    function meta.__close(file)
        if commands[file] then methods.close(file) else leave(file) end
    end
end

function meta.__gc(file)
    local number = commands[file]
    if number then
        commands[file] = nil
        handles.release(native_forget, number)
    end
    collect(file)
end

return true
