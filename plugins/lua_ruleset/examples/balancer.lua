-- Load balancing with weights that change at run time: neosocksd -l 127.0.0.1:1080 -r balancer.lua
--
-- Every ten seconds each proxy is tried; one behind which the other server does not answer has weight 0 until it does again. By hand:
--     curl --data 'weights.fast[1] = 5' http://127.0.0.1:9080/ruleset/invoke

local ruleset = require("libruleset")

local CHECK = "api.neosocksd.internal:80" -- see egress.lua

weights = {
    fast = { 3, rule.proxy("socks5://192.0.2.10:1080"), normal = 3, proxy = "socks5://192.0.2.10:1080" },
    slow = { 1, rule.proxy("socks5://192.0.2.20:1080"), normal = 1, proxy = "socks5://192.0.2.20:1080" },
}

-- Interleaved: fast, slow, fast, fast. The weights are read at each request.
local balanced = lb.iwrr({ weights.fast, weights.slow })

redirect_name = {
    { match.domain(".lan"), rule.direct(), "lan" },
    -- These take turns evenly.
    { match.port(443), lb.roundrobin({ weights.fast[2], weights.slow[2] }), "tls" },
}
route_default = { balanced, "balanced" }

-- Tries a proxy by asking the API of the server behind it, in a routine of its own.
local function try(name, entry)
    local ok = await.invoke("return true", CHECK, entry.proxy)
    local weight = ok and entry.normal or 0
    if weight ~= entry[1] then evlogf("%s: weight %d", name, weight) end
    entry[1] = weight
end

local count_requests = ruleset.tick

function ruleset.tick(now)
    count_requests(now)
    for name, entry in pairs(weights) do async(try, name, entry) end
end

neosocksd.setinterval(10)

return ruleset
