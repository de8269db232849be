-- What Lua has collected, and Python still holds under a number.
--
-- A finalizer must not call Python: it also runs when the machine itself is collected, and then Python's functions may be half
-- gone. So it only writes down what is to be freed, and that is done at the next use.
--
-- Finalizers run between any two instructions, those of `sweep` included. So one end of the queue is theirs alone, the other the sweep's.

local handles = { first = 1, last = 0 } -- what is between is to be freed

local dead = {}

-- For finalizers: free(number) shall be called.
function handles.release(free, number)
    local last = handles.last + 1
    dead[last] = { free, number }
    handles.last = last
end

-- Frees what was written down.
function handles.sweep()
    while handles.first <= handles.last do
        local first = handles.first
        local entry = dead[first]
        dead[first], handles.first = nil, first + 1
        entry[1](entry[2])
    end
end

return handles
