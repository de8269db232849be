-- One proxy after the other: neosocksd -l 127.0.0.1:1080 -r failover.lua
--
-- A way that failed is left out for a minute. What the rule tables say about a request is kept: only what would
-- leave by `route_default` tries the ways.

local ruleset = require("libruleset")

-- A chain is written as in a decision, the proxy that is dialled first comes last. An empty one is no proxy.
ways = {
    { "socks5://192.0.2.10:1080" },
    { "http://192.0.2.30:8080", "socks5://192.0.2.20:1080" },
    {},
}
local PAUSE = 60
local failed_at = {}

redirect_name = {
    { match.domain(".lan"), rule.direct(), "lan" },
}
route = {
    { inet.subnet("192.168.0.0/16"), rule.direct(), "lan" },
}

-- Those that have not failed lately first, then, before giving up, the others.
local function in_order()
    local fresh, others, now = list:new(), list:new(), neosocksd.now()
    for _, way in ipairs(ways) do
        local at = failed_at[way]
        if at and now - at < PAUSE then others:insert(way) else fresh:insert(way) end
    end
    return fresh:append(others)
end

local function failover(addr)
    for _, way in in_order():iter() do
        if ruleset.failover(addr, { way }) then
            failed_at[way] = nil
            return addr
        end
        failed_at[way] = neosocksd.now()
    end
    return nil
end

route_default = { failover, "failover" }

return ruleset
