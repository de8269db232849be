---@meta
-- Types of what a ruleset can use, for the Lua language server: keep this file in the workspace of your rulesets.
-- It is never loaded by neosocksd.

---What a callback returns: an address, then the chain to it, of which the last proxy is dialled first. nil rejects.
---@alias Decision string|nil
---@alias Matcher fun(...: any): boolean
---@alias Action fun(addr: string, round?: integer): Decision, ...: string
---@alias Rule {[1]: Matcher, [2]: Action, [3]: string?}|{[1]: (fun(...: any): Action?, string?), [2]: string?}
---@alias Target {[1]: string, [integer]: string}|string

-- neosocksd

neosocksd = {}

---The configuration in force.
---@return table<string, string|number|boolean>
function neosocksd.config() end

---Looks a name up by the system's resolver, and blocks the whole server meanwhile; use await.resolve, which asks `nameserver`, too.
---@param host string
---@return string? address
function neosocksd.resolve(host) end

---Host and port of "host:port", without brackets. Raises for anything else.
---@param address string
---@return string host
---@return string port
function neosocksd.splithostport(address) end

---An IPv4 address as an integer; nil for anything else.
---@param text string
---@return integer? ip
function neosocksd.parse_ipv4(text) end

---An IPv6 address as two integers, the high half first; nil for anything else.
---@param text string
---@return integer? high
---@return integer? low
function neosocksd.parse_ipv6(text) end

---Seconds between two calls of ruleset.tick, brought into 1e-3 to 1e9; 0 stops it, negative means whenever the server is idle.
---@param seconds number
function neosocksd.setinterval(seconds) end

---Starts finish(pcall(func, ...)) as a routine; finish must not yield.
---@param finish fun(ok: boolean, ...: any)
---@param func function
---@param ... any
---@return thread? co
---@return any err
function neosocksd.async(finish, func, ...) end

---Runs code on another server and forgets about it.
---@param code string
---@param address string host:port of the other API, or TOKEN@host:port where it asks for a token
---@param ... string proxyN, …, proxy1
function neosocksd.invoke(code, address, ...) end

---Runs msgh[func](...) on another server and forgets about it. Of libruleset.
---@param target Target
---@param func string
---@param ... any
function neosocksd.sendmsg(target, func, ...) end

---Counters of the server; num_object is a count that may be some seconds old, of at most 65536 objects.
---@return table<string, number|string|nil>
function neosocksd.stats() end

---Unix time of the event that is being served.
---@return number seconds
function neosocksd.now() end

---A message handler for xpcall that logs a traceback.
---@param message any
---@return any message
function neosocksd.traceback(message) end

-- await: in routines only

await = {}

---As os.execute.
---@param command string
---@return boolean? ok
---@return string what
---@return integer status
function await.execute(command) end

---Connects the request of this handler. nil rejects it.
---@param address string?
---@param ... string proxyN, …, proxy1
---@return boolean? ok
---@return string? err
function await.forward(address, ...) end

---Lets the events that are ready be served first.
function await.idle() end

---Runs code on another server. true and a function that gives its results, or false and a message.
---@param code string
---@param address string host:port of the other API, or TOKEN@host:port where it asks for a token
---@param ... string proxyN, …, proxy1
---@return boolean ok
---@return (fun(): boolean, ...: any)|string result
function await.invoke(code, address, ...) end

---Looks a name up; nil if it has no address.
---@param host string
---@return string? address
function await.resolve(host) end

---Pauses the routine.
---@param seconds number 0 to 1e9
function await.sleep(seconds) end

---Gives what the callback is called with. Of libruleset.
---@param f fun(callback: fun(...: any), ...: any)
---@param ... any
---@return any ...
function await.callback(f, ...) end

---Gives what rpc[func](...) returns on another server. Of libruleset.
---@param target Target
---@param func string
---@param ... any
---@return boolean ok
---@return any ...
function await.rpcall(target, func, ...) end

-- regex, time, zlib, marshal

---@class regex
---@field EXTENDED integer
---@field ICASE integer
---@field NEWLINE integer
---@field NOSUB integer
regex = {}

---A POSIX expression; EXTENDED | NEWLINE without flags. Raises for a bad one.
---@param pattern string
---@param flags? integer
---@return regex
function regex.compile(pattern, flags) end

---@param self regex
---@param s string
---@param init? integer
---@return integer? first
---@return integer? last
function regex.find(self, s, init) end

---@param self regex
---@param s string
---@param init? integer
---@return string? whole
---@return string? ...
function regex.match(self, s, init) end

---@param self regex
---@param s string
---@return fun(): string?, ...: string?
function regex.gmatch(self, s) end

---\d \D \w \W \s \S as bracket expressions. Of libruleset.
---@param s string
---@return string
function regex.compat(s) end

time = {}

---@return number seconds
function time.monotonic() end

---@return number seconds
function time.process() end

---@return number seconds
function time.thread() end

---@return number seconds
function time.wall() end

---@return number seconds
function time.unix() end

---How long f(...) takes, then what it returns.
---@param f function
---@param ... any
---@return number seconds
---@return any ...
function time.measure(f, ...) end

zlib = {}

---zlib format.
---@param s string
---@return string
function zlib.compress(s) end

---zlib format. Raises for bad data.
---@param s string
---@return string
function zlib.uncompress(s) end

---gzip format.
---@param s string
---@return string
function zlib.gzip(s) end

---gzip format. Raises for bad data.
---@param s string
---@return string
function zlib.gunzip(s) end

---The values as Lua source, for unmarshal. Raises for functions, userdata, threads and cycles.
---@param ... any
---@return string
function marshal(...) end

---Puts what the chunk returns in the place of a loaded module, and of the global that refers to it.
---@param name string
---@param chunk string|function
---@return any
function package.replace(name, chunk) end

-- What require("libruleset") sets

---@type table<string, string|number|boolean>
config = {}

---Prints a formatted text.
function printf(format, ...) end
---Prints at loglevel 6 and above, with time and place.
function log(...) end
---As log, of a formatted text.
function logf(format, ...) end
---As log, and keeps the text in recent_events at any loglevel.
function evlog(...) end
---As evlog, of a formatted text.
function evlogf(format, ...) end

---RFC 3339 in local time; without an argument, of now.
---@param t? number
---@return string
function format_timestamp(t) end

---@param s string
---@param prefix string
---@return boolean
function string.startswith(s, prefix) end

---@param s string
---@param suffix string
---@return boolean
function string.endswith(s, suffix) end

---t[k1][k2]…, nil as soon as a step is nil.
---@param t table?
---@param ... any
---@return any
function table.get(t, ...) end

---@class list
list = {}

---Makes the table itself a list.
---@param t? table
---@return list
function list:new(t) end

---@param t any
---@return boolean
function list:check(t) end

---Adds the elements of tables, and other values as they are.
---@return list
function list:append(...) end

---As table.insert.
function list:insert(...) end
---Adds a formatted text at the end.
function list:insertf(format, ...) end

---As table.remove.
---@return any
function list:remove(...) end

---Replaces each element by f(element).
---@return list
function list:map(f) end

---@return list
function list:reverse() end

---@return list
function list:sort(...) end

---@return any ...
function list:unpack(...) end

---@return string
function list:concat(...) end

function list:iter() end

---@return table
function list:totable() end

---@class rlist
---@field pos integer
---@field len integer
---@field cap integer
rlist = {}

---A ring for cap elements; those of t are pushed from the oldest on.
---@param cap integer
---@param t? table
---@return rlist
function rlist:new(cap, t) end

---@param t any
---@return boolean
function rlist:check(t) end

---Adds the newest element; in a full ring it takes the place of the oldest.
function rlist:push(value) end

---1 is the newest element, -1 the oldest.
---@param i integer
---@return any
function rlist:get(i) end

---The newest first.
function rlist:iter() end

---"192.0.2.0/24" gives 0xC0000200, 24. Raises for bad input and host bits.
---@param s string
---@return integer net
---@return integer prefix
function parse_cidr(s) end

---"2001:db8::/32" gives 0x20010DB800000000, 0, 32. Raises for bad input and host bits.
---@param s string
---@return integer high
---@return integer low
---@return integer prefix
function parse_cidr6(s) end

---@class future
---@field get fun(self: future): boolean, ...: any

---Starts a routine, which runs until it first awaits; get() gives true and its results, or false and its error.
---@param f function
---@param ... any
---@return future
function async(f, ...) end

---The values that marshal wrote.
---@param s string
---@return any ...
function unmarshal(s) end

inet = {}

---For `route`: whether an address lies in one of the subnets.
---@param subnets string|string[]
---@return Matcher
function inet.subnet(subnets) end

inet6 = {}

---For `route6`: whether an address lies in one of the subnets.
---@param subnets string|string[]
---@return Matcher
function inet6.subnet(subnets) end

match = {}

---@return Matcher
function match.any() end

---"host:port".
---@param addresses string|string[]
---@return Matcher
function match.exact(addresses) end

---Names and addresses.
---@param hosts string|string[]
---@return Matcher
function match.host(hosts) end

---One port, a range, or a list of both.
---@param from integer|(integer|{[1]: integer, [2]: integer})[]
---@param to? integer
---@return Matcher
function match.port(from, to) end

---".a.b" is a.b and every name below it, "a.b" that name alone.
---@param names string|string[]
---@return Matcher
function match.domain(names) end

---a.b and every name below it.
---@param names string|string[]
---@return Matcher
function match.domaintree(names) end

---Lua patterns, found in the text.
---@param patterns string|string[]
---@return Matcher
function match.pattern(patterns) end

---Extended regular expressions, found in the text.
---@param expressions string|regex|(string|regex)[]
---@return Matcher
function match.regex(expressions) end

composite = {}

---@param f Matcher
---@return Matcher
function composite.inverse(f) end

---@param t Matcher[]
---@return Matcher
function composite.anyof(t) end

---@param t Matcher[]
---@return Matcher
function composite.allof(t) end

---t[k], looked up at each match; nil and false match nothing.
---@param t table
---@param k any
---@return Matcher
function composite.maybe(t, k) end

---The rules t[k], looked up at each match: a rule of its own, { composite.subchain(t, k) }.
---@param t table
---@param k any
---@return fun(...: any): Action?, string?
function composite.subchain(t, k) end

rule = {}

---The request as it is.
---@return Action
function rule.direct() end

---No connection.
---@return Action
function rule.reject() end

---What route_default says.
---@return Action
function rule.default() end

---Looks the name up, and asks the rules about the address.
---@return Action
function rule.resolve() end

---Another destination; ":port" and "host:" keep the rest.
---@param destination string
---@param ... string the proxy that is dialled first comes first
---@return Action
function rule.redirect(destination, ...) end

---Through proxies.
---@param ... string the proxy that is dialled first comes first
---@return Action
function rule.proxy(...) end

---The action t[k], looked up at each request; without one the request is rejected.
---@param t table
---@param k any
---@return Action
function rule.maybe(t, k) end

---The address after string.gsub, without regard to case.
---@param pattern string
---@param replacement string|table|function
---@param ... string the proxy that is dialled first comes first
---@return Action
function rule.rewrite(pattern, replacement, ...) end

---The same, and the rules are asked about the new address.
---@param pattern string
---@param replacement string|table|function
---@return Action
function rule.loopback(pattern, replacement) end

lb = {}

---Actions that take turns.
---@param t Action[]
---@return Action
function lb.roundrobin(t) end

---Actions that take turns by weight; weights are read at each request, 0 and below take no part.
---@param t {[1]: number, [2]: Action}[]
---@param cyclesize? number
---@return Action
function lb.iwrr(t, cyclesize) end

---@type rlist
recent_events = nil
---@type rlist
stat_requests = nil
---@type integer
num_requests = nil
---@type integer
num_authorized = nil
---@type table<string, function>
rpc = nil
---@type table<string, function>
msgh = nil

-- What a ruleset sets

---@type Rule[]?
redirect_name = nil
---@type Rule[]?
redirect = nil
---@type Rule[]?
redirect6 = nil
---@type Rule[]?
route = nil
---@type Rule[]?
route6 = nil
---@type {[1]: Action, [2]: string?}|Rule|Rule[]|Action|nil
route_default = nil
---@type table<string, string>?
hosts = nil
---@type table<string, string|true>?
secrets = nil
