-- libruleset: what rulesets are written with. require("libruleset") sets the globals and gives the table of callbacks.
--
-- The parts lie in libruleset/ and set nothing themselves. They are kept under their names in package.loaded, so that this file
-- can be posted to a running server, which calls it without the bridge.

local _, bridge = ...

local function part(name)
    local key = "libruleset." .. name
    if bridge then package.loaded[key] = bridge.load("libruleset/" .. name) end
    return require(key)
end

local G = _G
local made, text, containers, futures = part("made"), part("text"), part("containers"), part("futures")
local address, match, decisions, actions = part("address"), part("match"), part("decisions"), part("actions")

config = neosocksd.config()

printf, log, logf, evlog, evlogf = text.printf, text.log, text.logf, text.evlog, text.evlogf
format_timestamp = text.format_timestamp
string.startswith, string.endswith, table.get = text.startswith, text.endswith, text.get

list, rlist = containers.list, containers.rlist

parse_cidr, parse_cidr6 = address.parse_cidr, address.parse_cidr6
inet, inet6 = address.inet, address.inet6

async, unmarshal = futures.async, futures.unmarshal
await.callback, await.rpcall = futures.callback, futures.rpcall
neosocksd.sendmsg = futures.sendmsg

G.match = {
    any = match.any, exact = match.exact, host = match.host, port = match.port, domain = match.domain,
    domaintree = match.domaintree, pattern = match.pattern, regex = match.regex,
}
regex.compat = match.compat
composite, rule, lb = decisions.composite, actions.rule, actions.lb

-- What has been gathered outlives a reload of this module.
recent_events = rlist:new(100, recent_events)
num_requests, num_authorized = num_requests or 0, num_authorized or 0
rpc = rpc or {}
rpc.echo = rpc.echo or function(...) return ... end
msgh = msgh or {}
msgh.nop = msgh.nop or function() end

local ruleset = {}

-- Whether the client may use the proxy: what ruleset.authenticate says, else whether `secrets` has the user with that password,
-- or with true for any. With neither everybody may.
local function is_authorized(addr, username, password)
    local current = G.ruleset
    local judge = type(current) == "table" and current.authenticate or ruleset.authenticate
    if judge then return judge(addr, username, password) end
    local known = G.secrets
    if known == nil then return true end
    local secret = username ~= nil and known[username]
    return secret == true or type(secret) == "string" and secret == password
end

local function request(kind, decide)
    return function(addr, username, password)
        num_requests = num_requests + 1
        if not is_authorized(addr, username, password) then
            text.evlogf("%s: not authorized, user %q", kind, username or "")
            return nil
        end
        num_authorized = num_authorized + 1
        return decide(addr)
    end
end

-- Decisions without the question who asks.
ruleset.decide = {
    resolve = function(domain) return decisions.decide.resolve(domain) end,
    route = function(addr) return decisions.decide.route(addr) end,
    route6 = function(addr) return decisions.decide.route6(addr) end,
}

-- Names, IPv4 and IPv6 addresses that clients ask for.
ruleset.resolve = request("resolve", ruleset.decide.resolve)
ruleset.route = request("route", ruleset.decide.route)
ruleset.route6 = request("route6", ruleset.decide.route6)

-- Dials the address through each chain in turn until one stands. A chain is `{proxyN, …, proxy1}` as in a decision, empty for none.
-- Gives a decision: the address it is connected to, or nil, which rejects, and the last error.
function ruleset.failover(addr, chains)
    text.expect("table", chains, 2, "failover")
    local last = "no chain to try"
    for i = 1, #chains do
        local chain = chains[i]
        if type(chain) == "string" then chain = { chain } end
        local ok, message = await.forward(addr, table.unpack(chain))
        if ok then return addr end
        last = message
        logf("failover: %s, chain %d: %s", addr, i, tostring(message))
    end
    return nil, last
end

-- The requests of each minute of the last hour, newest first.
local MINUTE = 60
local EARLY = 0.5 -- seconds by which a timer of a minute may seem to be early

if not rlist:check(stat_requests) then
    stat_requests = rlist:new(60)
    stat_requests.since, stat_requests.counted = neosocksd.now(), num_requests
    neosocksd.setinterval(MINUTE)
end

-- The interval may be another one than that which was set above: a minute ends at the first tick after it.
function ruleset.tick(now)
    address.sweep()
    local ring = stat_requests
    now = now or neosocksd.now()
    if now >= ring.since and now - ring.since < MINUTE - EARLY then return end -- the clock may be set back
    ring:push(num_requests - ring.counted)
    ring.since, ring.counted = now, num_requests
end

-- The text for /stats: counters, requests a minute, and recent events. *query* is a number of events, or a text that they contain.
function ruleset.stats(_, query)
    local limit, filter = 10, nil
    if query ~= nil and query ~= "" then
        if tonumber(query) then limit = tonumber(query) else limit, filter = math.huge, query end
    end
    local lines = list:new()
    lines:insertf("%-20s: %d (%d authorized)", "Ruleset Requests", num_requests, num_authorized)
    local minutes = list:new()
    for _, count in stat_requests:iter() do minutes:insert(count) end
    if #minutes > 0 then lines:insertf("%-20s: %s", "Requests a Minute", minutes:concat(" ")) end
    local events = text.describe_events(limit, filter)
    if #events > 0 then
        lines:insert("> Recent Events")
        lines:append(events)
    end
    return lines:concat("\n")
end

for _, name in ipairs({ "resolve", "route", "route6", "tick", "stats" }) do
    made.note(ruleset[name], { is_default = true })
end

return ruleset
