-- The near end: neosocksd -l 127.0.0.1:1080 -r ingress.lua
--
-- It sends requests through the far end (egress.lua), and refuses those of a list that it fetches from there.

local ruleset = require("libruleset")

local EGRESS = "socks5://127.0.0.1:1081"
-- An address, then the chain to it.
local PEER = { "api.neosocksd.internal:80", EGRESS }

local version
lists = lists or {}

-- Fetches the list if it has changed. Runs in a routine.
local function update()
    local ok, new, names = await.rpcall(PEER, "blocked_names", version)
    if not ok then
        evlogf("no list: %s", new)
    elseif names then
        lists.blocked, version = match.domain(names), new
        evlogf("list %d with %d names", new, #names)
    end
end

local refused = {}

local function refuse(addr)
    local name = neosocksd.splithostport(addr)
    refused[name] = (refused[name] or 0) + 1
    return nil
end

redirect_name = {
    { composite.maybe(lists, "blocked"), refuse, "blocked" },
}
route_default = { rule.proxy(EGRESS) }

local count_requests = ruleset.tick

function ruleset.tick(now)
    count_requests(now)
    for name, count in pairs(refused) do neosocksd.sendmsg(PEER, "refused", name, count) end
    refused = {}
    async(update)
end

async(update)

return ruleset
