"""libruleset: output, recent events, timestamps, string and table helpers, list, rlist."""

import re
import time

import pytest

from neosocksd_lua_ruleset.trial import Script

# output


def quiet(lua: Script) -> None:
    lua.run("config.loglevel = 4 _G.recent_events = rlist:new(100)")


def test_config_is_that_of_the_server_at_load_time(lua: Script) -> None:
    assert lua.values("return type(config)") == '"table"'


def test_printf_prints_a_formatted_text(capfd: pytest.CaptureFixture[str]) -> None:
    script = Script()
    script.run("require('libruleset') printf('%s=%03d', 'a', 7) io.stdout:flush()")
    assert capfd.readouterr().out == "a=007\n"


@pytest.mark.parametrize(
    ("call", "text"),
    [("log('a', 1, nil)", "a\t1\tnil"), ("logf('%s-%d', 'a', 1)", "a-1")],
)
@pytest.mark.parametrize("event", [False, True])
def test_the_log_is_printed_with_time_source_and_line_from_loglevel_6_on(
    capfd: pytest.CaptureFixture[str], call: str, text: str, event: bool
) -> None:
    script = Script()
    script.run("require('libruleset')")
    call = "ev" + call if event else call
    script.run(f"config.loglevel = 5 {call} io.stdout:flush()")
    assert capfd.readouterr().out == ""
    script.run(f"config.loglevel = 6\n\n{call} io.stdout:flush()")
    printed = capfd.readouterr().out
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{stamp} \(invoke\):3 {re.escape(text)}\n", printed), printed


def test_events_are_kept_at_any_loglevel_and_equal_neighbours_counted(lua: Script) -> None:
    quiet(lua)
    code = """
        for _ = 1, 3 do evlogf("%s", "a") end
        evlog("b", 2)
        for _ = 1, 2 do evlogf("%s", "a") end
        log("not an event")
        local t = {}
        for i, event in recent_events:iter() do t[i] = event.message .. " x" .. event.count end
        return t, recent_events.len, recent_events:get(1).source
    """
    assert lua.values(code) == '{"a x2","b\\0092 x1","a x3",},3,"(invoke):4"'


def test_the_statistics_say_how_often_an_event_was_repeated(lua: Script) -> None:
    quiet(lua)
    code = """
        for _ = 1, 3 do evlog("again") end
        evlog("once")
        local text = R.stats(1, "")
        return text:match("again[^\\n]*"), text:match("once[^\\n]*")
    """
    assert lua.values(code) == '"again (x3)","once"'


def test_without_a_ring_of_events_there_are_none(lua: Script) -> None:
    quiet(lua)
    lua.run("_G.recent_events = nil evlogf('%s', 'lost')")
    assert lua.values("return R.stats(1, ''):find('Events')") == "nil"
    quiet(lua)


def test_a_hundred_events_are_kept(lua: Script) -> None:
    quiet(lua)
    code = """
        for i = 1, 250 do evlogf("event %d", i) end
        return recent_events.cap, recent_events.len, recent_events:get(1).message, recent_events:get(-1).message
    """
    assert lua.values(code) == '100,100,"event 250","event 151"'


def test_format_timestamp_is_rfc_3339_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone, text in (
        ("XXX-5:30", "1970-01-01T05:30:00+05:30"),
        ("UTC0", "1970-01-01T00:00:00+00:00"),
    ):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        script = Script()
        script.run("require('libruleset')")
        assert script.values("return format_timestamp(0.9)") == f'"{text}"'
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("string.startswith('abc', 'ab')", "true"),
        ("string.startswith('abc', '')", "true"),
        ("string.startswith('abc', 'b')", "false"),
        ("string.startswith('a', 'ab')", "false"),
        ("('abc'):startswith('a.')", "false"),
        ("string.endswith('abc', 'bc')", "true"),
        ("('abc'):endswith('')", "true"),
        ("('abc'):endswith('b')", "false"),
        ("('c'):endswith('bc')", "false"),
        ("table.get({a = {b = {7}}}, 'a', 'b', 1)", "7"),
        ("table.get({a = {}}, 'a', 'b', 'c')", "nil"),
        ("table.get(nil, 'a')", "nil"),
        ("table.get({a = false}, 'a')", "false"),
        ("table.get(5)", "5"),
    ],
)
def test_string_and_table_helpers(lua: Script, expression: str, value: str) -> None:
    assert lua.values("return " + expression) == value


# list


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("list:new()", "{}"),
        ("list:new({1, 2})", "{1,2,}"),
        ("(function() local t = {} return list:new(t) == t end)()", "true"),
        ("list:check(list:new())", "true"),
        ("list:check({})", "false"),
        ("list:check(nil)", "false"),
        ("list:check(rlist:new(1))", "false"),
        ("list:new({1}):append({2, 3}, {}, list:new({4}))", "{1,2,3,4,}"),
        ("list:new({1}):append('a', 'b')", '{1,"a","b",}'),
        ("list:new({1, 2, 3}):map(function(x) return x * 2 end)", "{2,4,6,}"),
        ("list:new({1, 2, 3}):reverse()", "{3,2,1,}"),
        ("list:new({1, 2}):reverse()", "{2,1,}"),
        ("list:new():reverse()", "{}"),
        ("list:new({3, 1, 2}):sort()", "{1,2,3,}"),
        ("list:new({3, 1, 2}):sort(function(a, b) return a > b end)", "{3,2,1,}"),
        ("list:new({1, 2, 3}):unpack()", "1,2,3"),
        ("list:new({1, 2, 3}):unpack(2)", "2,3"),
        ("list:new({1, 2, 3}):concat('-')", '"1-2-3"'),
        ("list:new({1, 2, 3}):concat()", '"123"'),
        ("list:new({1, 2, 3}):remove()", "3"),
        ("list:new({1, 2, 3}):remove(1)", "1"),
        ("getmetatable(list:new({1}):totable())", "nil"),
        ("list:new({1, 2}):totable()", "{1,2,}"),
        ("select('#', list:new():insert(1))", "0"),
        ("select('#', list:new():insertf('x'))", "0"),
    ],
)
def test_list(lua: Script, expression: str, value: str) -> None:
    assert lua.values("return " + expression) == value


def test_list_methods_that_change_it(lua: Script) -> None:
    code = """
        local l = list:new()
        l:insert("b")
        l:insert(1, "a")
        l:insertf("%s=%d", "c", 3)
        local seen = {}
        for i, v in l:iter() do seen[i] = v end
        return l, seen, l:append({}) == l, l:map(string.upper) == l, l:reverse() == l, l:sort() == l
    """
    assert lua.values(code) == '{"A","B","C=3",},{"a","b","c=3",},true,true,true,true'


# rlist


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("rlist:check(rlist:new(1))", "true"),
        ("rlist:check({})", "false"),
        ("rlist:new(3).len", "0"),
        ("rlist:new(3).cap", "3"),
        ("rlist:new(3):get(1)", "nil"),
        ("rlist:new(3, {1, 2}):get(1)", "2"),
        ("rlist:new(3, {1, 2}):get(-1)", "1"),
        ("rlist:new(3, {1, 2}):get(0)", "nil"),
        ("rlist:new(3, {1, 2}):get(3)", "nil"),
        ("rlist:new(3, {1, 2}):get(2)", "1"),
        ("rlist:new(3, {1, 2}):get(-2)", "2"),
        ("rlist:new(3, {1, 2}):get(-3)", "nil"),
        ("rlist:new(2, {1, 2, 3}):get(1)", "3"),
        ("rlist:new(2, {1, 2, 3}):get(-1)", "2"),
        ("rlist:new(2, {1, 2, 3}).len", "2"),
        ("rlist:new(2, {1, 2, 3}).pos", "1"),
        ("rlist:new(2, rlist:new(5, {1, 2, 3})):get(2)", "2"),
        ("rlist:new(9, rlist:new(2, {1, 2, 3})):get(-1)", "2"),
    ],
)
def test_rlist(lua: Script, expression: str, value: str) -> None:
    assert lua.values("return " + expression) == value


def test_rlist_iterates_from_the_newest_on(lua: Script) -> None:
    code = """
        local r = rlist:new(3)
        for i = 1, 10 do r:push(i) end
        r:push(false)
        local seen = {}
        for i, v in r:iter() do seen[i] = v end
        return seen, r.len, r.cap
    """
    assert lua.values(code) == "{false,10,9,},3,3"


@pytest.mark.parametrize("cap", ["0", "-1", "nil", "'x'"])
def test_a_ring_needs_room(lua: Script, cap: str) -> None:
    assert lua.error(f"\nrlist:new({cap})").startswith("(invoke):2: bad argument #1 to 'new'")
