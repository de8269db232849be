-- Redirects, subnets, users, a schedule and tags: neosocksd -l 127.0.0.1:1080 --auth-required -r full.lua
--
-- The proxies have addresses of the documentation ranges; put your own in.

local ruleset = require("libruleset")

local HOME, OFFICE = "socks5://192.0.2.10:1080", "http://192.0.2.20:8080"

-- Users: a password, or true for any. Guests get web pages only.
secrets = { alice = "wonderland", bob = "builder", guest = true }

local is_web = match.port({ 80, 443 })

function ruleset.authenticate(addr, username, password)
    local secret = username and secrets[username]
    if not secret or secret ~= true and secret ~= password then return false end
    return username ~= "guest" or is_web(addr)
end

-- A schedule is a matcher like any other: a function that is given the address.
local function office_hours()
    local now = os.date("*t", neosocksd.now() // 1 | 0)
    return now.wday >= 2 and now.wday <= 6 and now.hour >= 8 and now.hour < 18
end

-- Lists that may be exchanged while the server runs: rules look them up by name at each request.
lists = {
    blocked = match.domain({ ".ads.example", ".tracker.example" }),
}

-- Names that are known here.
hosts = {
    ["printer.home.arpa"] = "192.168.1.9",
    ["nas.home.arpa"] = "fd00::9",
}

local video = {
    { composite.allof({ match.domain(".video.example"), office_hours }), rule.reject(), "back to work" },
    { match.domain(".video.example"), rule.proxy(HOME), "video" },
}

redirect_name = {
    { composite.maybe(lists, "blocked"), rule.reject(), "blocked" },
    -- The API of this server, for those that may use the proxy.
    { match.exact("api.neosocksd.internal:80"), rule.redirect("127.0.0.1:9080"), "api" },
    -- Plain web requests of one site go to its other port; the host stays.
    { match.exact("www.example.com:80"), rule.redirect(":8080"), "port" },
    -- www.NAME.office is NAME in the office, behind two proxies: HOME is dialled first.
    { match.pattern("^www%.%w+%.office:%d+$"), rule.rewrite("^www%.(%w+)%.office", "%1.office.example", HOME, OFFICE), "office" },
    -- old.example is new.example now, and the rules below are asked about that.
    { match.domain(".old.example"), rule.loopback("old%.example:", "new.example:"), "renamed" },
    { match.regex([[^(mirror|cdn)[0-9]+\.new\.example:]]), rule.direct(), "mirror" },
    { composite.subchain({ video = video }, "video") },
    -- Names that must be judged by their address.
    { match.domain(".lan.example"), rule.resolve() },
}

-- Addresses as text come first, then as integers.
redirect = {
    { match.exact("203.0.113.53:53"), rule.redirect("192.168.1.1:53"), "dns" },
}
route = {
    { inet.subnet("192.168.1.0/24"), rule.direct(), "home" },
    { inet.subnet({ "198.51.100.0/24", "203.0.113.0/24" }), rule.proxy(OFFICE), "office" },
}
route6 = {
    { inet6.subnet("fd00::/8"), rule.direct(), "home" },
}

route_default = { rule.proxy(HOME), "default" }

-- curl -X POST 'http://127.0.0.1:9080/stats?q=blocked' shows the recent events with that word.
return ruleset
