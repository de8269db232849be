-- The whole configuration as a Lua script: neosocksd -c config.lua
--
-- The fields are those that neosocksd.config() gives; `ruleset` is a table of callbacks. Without one, leave the field out.

local ruleset = require("libruleset")

redirect_name = {
    { match.domain(".ads.example"), rule.reject(), "ads" },
}
route_default = { rule.direct() }

return {
    listen = "127.0.0.1:1080",
    http_listen = "127.0.0.1:8080",
    timeout = 30,
    max_sessions = 4096,
    loglevel = 5,
    block_loopback = true,
    ruleset = ruleset,
}
