-- The far end: neosocksd -l 127.0.0.1:1081 --api 127.0.0.1:9081 -r egress.lua
--
-- It connects to what the near end (ingress.lua) asks for, and keeps the list of blocked names that the near end fetches.

local ruleset = require("libruleset")

-- The list, and a number that grows with each change. Both survive a reload.
blocked = blocked or { version = 1, names = { ".ads.example", ".tracker.example" } }

-- For the near end: the list, unless it has this version already.
function rpc.blocked_names(version)
    if version == blocked.version then return version end
    return blocked.version, blocked.names
end

-- For the near end: a message of what was refused there.
function msgh.refused(name, count) evlogf("refused at the near end: %s, %d times", name, count) end

-- curl --data 'block(".more.example")' http://127.0.0.1:9081/ruleset/invoke
function block(name)
    table.insert(blocked.names, name)
    blocked.version = blocked.version + 1
end

redirect_name = {
    -- The way to the API of this server is through this server.
    { match.exact("api.neosocksd.internal:80"), rule.redirect("127.0.0.1:9081"), "api" },
    { match.domain(".internal"), rule.reject(), "internal" },
}
route_default = { rule.direct() }

return ruleset
