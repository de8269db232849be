-- A rule table and nothing else: neosocksd -l 127.0.0.1:1080 -r simple.lua
--
-- A rule is { matcher, action, tag }. The first that matches decides; a tag is kept among the recent events.

local ruleset = require("libruleset")

-- Names, as "host:port".
redirect_name = {
    { match.domain(".example.com"), rule.direct(), "ours" },
    { match.domain({ ".ads.example", "tracker.example" }), rule.reject(), "ads" },
    { match.port(25), rule.reject(), "mail" },
}

-- IPv4 and IPv6 addresses.
route = {
    { inet.subnet({ "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16" }), rule.direct(), "lan" },
}
route6 = {
    { inet6.subnet("fc00::/7"), rule.direct(), "lan" },
}

-- Everything else: { action, tag }. To use another proxy, write rule.proxy("socks5://192.0.2.1:1080").
route_default = { rule.direct() }

return ruleset
