-- What Lua has collected, and Python still holds under a number.
--
-- A finalizer must not call Python: it also runs when the machine itself is collected, and then Python's functions may be half
-- gone. So it only writes down what is to be freed, and that is done at the next use.

local handles = { count = 0 }

local dead = {}

-- For finalizers: free(number) shall be called.
function handles.release(free, number)
    local count = handles.count + 1
    dead[count], handles.count = { free, number }, count
end

-- Frees what was written down.
function handles.sweep()
    while handles.count > 0 do
        local count = handles.count
        local entry = dead[count]
        dead[count], handles.count = nil, count - 1
        entry[1](entry[2])
    end
end

return handles
