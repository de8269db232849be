-- What this library has made: of which kind a function is, and where the script asked for it. It is for messages; nothing depends on it.

local bridge = ...
local guard = bridge.load("guard")

local getinfo, setmetatable, sub, type = guard.getinfo, setmetatable, string.sub, type

local made = {}

local notes = setmetatable({}, { __mode = "k" }) -- by function

-- *f*, of which it is noted what *note* says, and where the script stands.
function made.note(f, note)
    note.place = sub(guard.place(), 1, -3)
    notes[f] = note
    return f
end

-- What is noted of *f*, nil for what the script has made itself.
function made.note_of(f) return f ~= nil and notes[f] or nil end

-- Where *f* comes from: the line that asked for it, or on which the script has it. "libruleset" if that is not known.
function made.place_of(f)
    local note = notes[f]
    if note and note.place ~= "" then return note.place end
    local info = not note and type(f) == "function" and getinfo(f, "S")
    if not info or info.what == "C" or sub(info.short_src, 1, 10) == "neosocksd/" then return "libruleset" end
    return info.short_src .. ":" .. info.linedefined
end

return made
