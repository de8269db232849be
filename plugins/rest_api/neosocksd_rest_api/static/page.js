// The page: takes the events in, and shows what they add up to, a few times a second at most.

import { call, follow, Refused } from "./api.js";
import { Figures } from "./figures.js";
import * as format from "./format.js";
import { Table } from "./table.js";

const $ = (id) => document.getElementById(id);
const LOG_LINES = 200;
const DRAW_MS = 250;

const sessions = new Map();
const figures = new Figures();
let moving = new Set();
let dirty = false;
let accept = null;

const table = new Table({ scroller: $("scroller"), columns: $("columns"), rows: $("rows"), close: closeOne });

function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

// What the events say.

function take(raw) {
  const chain = raw.chain.join(" → ");
  const row = {
    id: raw.id, client: raw.client, user: raw.user ?? "", target: raw.target ?? "", chain, state: raw.outcome,
    frontend: raw.protocol.startsWith(raw.frontend) ? raw.protocol : `${raw.frontend} ${raw.protocol}`,
    opened: Date.now() - raw.age * 1000, up: raw.bytes_up, down: raw.bytes_down,
    rate: raw.rate_up + raw.rate_down, at: Date.now(),
  };
  row.words = {
    client: row.client.toLowerCase(), user: row.user.toLowerCase(), target: row.target.toLowerCase(), outcome: raw.outcome,
    frontend: raw.frontend.toLowerCase(), protocol: raw.protocol.toLowerCase(), chain: chain.toLowerCase(),
  };
  sessions.set(row.id, row);
}

function tick({ stats: now, health, active, metrics }) {
  const still = moving;
  moving = new Set();
  const at = Date.now();
  for (const [id, bytesUp, bytesDown] of active) {
    const row = sessions.get(id);
    if (!row) continue;
    row.rate = (bytesUp - row.up + bytesDown - row.down) / Math.max(0.5, (at - row.at) / 1000);
    [row.up, row.down, row.at] = [bytesUp, bytesDown, at];
    moving.add(row);
    still.delete(row);
  }
  for (const row of still) [row.rate, row.at] = [0, at];
  for (const row of sessions.values()) if (!moving.has(row)) row.at = at;
  figures.take(now, metrics);
  showHealth(health);
}

const handlers = {
  hello({ version, sessions: all, total }) {
    sessions.clear();
    moving.clear();
    figures.restart();
    all.forEach(take);
    for (const row of sessions.values()) if (row.rate) moving.add(row);
    set("about", version);
    showLive("live", true);
    if (total > all.length) notify(`The table holds ${all.length} of ${total} sessions.`);
    refreshPlugins().catch(() => {}); // the stream goes on; its next start tries again
  },
  tick,
  opened: take,
  closed({ id }) {
    const row = sessions.get(id);
    if (row) row.gone = true;
    sessions.delete(id);
  },
  log: (event) => addLog([event]),
  async lost() {
    const answer = await call("/v1/sessions?limit=10000").catch(() => null);
    if (!answer) return;
    sessions.clear();
    answer.sessions.forEach(take);
    schedule();
  },
};

// What is shown.

function schedule() {
  if (dirty) return;
  dirty = true;
  setTimeout(() => requestAnimationFrame(draw), DRAW_MS);
}

function draw() {
  dirty = false;
  drawSessions();
  figures.draw();
}

function drawSessions(now = false) {
  const shown = accept ? [...sessions.values()].filter(accept) : [...sessions.values()];
  table.update(shown, now);
  document.title = `${sessions.size} sessions · neosocksd`;
  set("count", accept ? `${format.count(shown.length)} of ${format.count(sessions.size)}` : format.count(sessions.size));
  set("close-all", accept ? `Close ${format.count(shown.length)} shown` : "Close all");
  $("close-all").disabled = !shown.length;
  $("empty").hidden = shown.length > 0;
  if (shown.length) return;
  if ($("main").classList.contains("stale")) {
    set("empty-title", "Not connected");
    set("empty-text", "The server does not answer. This page tries again by itself.");
    return;
  }
  set("empty-title", accept ? "No session matches" : "No sessions");
  set("empty-text", accept ? `“${$("filter").value.trim()}” is in none of ${sessions.size}.` : "They appear here as soon as a client's request is granted.");
}

function showHealth(problems) {
  const pill = $("health");
  pill.hidden = false;
  pill.className = `pill ${problems.length ? "bad" : "good"}`;
  set("health", problems.length ? problems.join("; ") : "healthy");
}

function showLive(text, good) {
  $("live").className = `pill ${good ? "good" : "bad"}`;
  $("main").classList.toggle("stale", !good);
  set("live", text);
}

function notify(text, good = true) {
  $("notice").className = good ? "" : "bad";
  $("notice").hidden = false;
  set("notice-text", text);
}

function addLog(events) {
  const list = $("log");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
  for (const event of events) {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date(event.time * 1000).toLocaleTimeString([], { hour12: false });
    item.append(time, event.message);
    if (/error|critical|fatal/.test(event.level)) item.className = "bad";
    list.append(item);
  }
  while (list.childElementCount > LOG_LINES) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

async function refreshPlugins() {
  const [{ plugins }, { events }] = await Promise.all([call("/v1/plugins"), call(`/v1/log?limit=${LOG_LINES}`)]);
  $("plugins").replaceChildren(...plugins.map((plugin) => {
    const item = document.createElement("li");
    const texts = [plugin.name, plugin.enabled ? plugin.version ?? "" : "off"];
    item.className = plugin.enabled ? "" : "off";
    item.append(...texts.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    return item;
  }));
  $("log").replaceChildren();
  addLog(events);
}

// What people do.

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    notify(error instanceof Refused ? error.message : "The server cannot be reached.", false);
  }
}

function closeOne(session) {
  if (session.gone) return;
  attempt(() => call(`/v1/sessions/${session.id}`, "DELETE"));
}

function closeShown() {
  drawSessions(true);
  const ids = table.shown.map((session) => session.id);
  const number = ids.length;
  set("confirm-title", `Close ${number} session${number === 1 ? "" : "s"}?`);
  const dialog = $("confirm-dialog");
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    attempt(async () => {
      const { closed } = await call("/v1/sessions/close", "POST", { ids });
      notify(`${closed} session${closed === 1 ? "" : "s"} closed.`);
    });
  }, { once: true });
  dialog.showModal();
}

async function reload() {
  $("reload").disabled = true;
  await attempt(async () => {
    await call("/v1/reload", "POST");
    notify("Reloaded.");
  });
  $("reload").disabled = false;
}

$("filter").addEventListener("input", () => {
  accept = format.matcher(format.parseFilter($("filter").value));
  $("scroller").scrollTop = 0;
  drawSessions(true);
  set("said", `${table.shown.length} of ${sessions.size} sessions`);
});
$("close-all").addEventListener("click", closeShown);
$("reload").addEventListener("click", reload);
$("notice-close").addEventListener("click", () => { $("notice").hidden = true; });
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape" && event.target === $("filter")) {
    $("rows").querySelector('[tabindex="0"]')?.focus();
  }
});

drawSessions();
follow(
  (name, data) => {
    handlers[name]?.(data);
    schedule();
  },
  () => {
    showLive("reconnecting", false);
    $("health").hidden = true; // nobody knows
    schedule();
  },
);
