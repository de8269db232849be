// The figures at the top of the page, and how they went over the last minutes.

import { drawSpark, drawThroughput, History } from "./chart.js";
import * as format from "./format.js";

const SECONDS = 301; // so many seconds, counted at both ends
const SPARK = 61;
const SPARKS = ["sessions", "requests", "rejects", "connect", "dns", "ruleset"];

const $ = (id) => document.getElementById(id);

function set(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function figure(name, value, unit, detail) {
  const element = $(`f-${name}`);
  if (!element.firstElementChild) element.replaceChildren("", document.createElement("small"));
  element.firstChild.data = value;
  element.lastChild.textContent = unit;
  set(`d-${name}`, detail);
}

/** Quantiles of the last times, the middle one large; `more` is said besides. */
function latency(name, { p50, p90, p99, max }, more) {
  if (p50 === null) {
    figure(name, "–", "", more || "none yet");
    return;
  }
  const text = (seconds) => format.latency(seconds).join("\u00a0");
  const rest = `P90 ${text(p90)}, P99 ${text(p99)}, max ${text(max)}`;
  figure(name, ...format.latency(p50), more ? `${rest}; ${more}` : rest);
}

const rejects = (stats) => stats.num_reject_ruleset + stats.num_reject_timeout + stats.num_reject_upstream;

export class Figures {
  constructor() {
    this.stats = null;
    this.memory = null;
    this.held = "";
    this.down = new History(SECONDS);
    this.up = new History(SECONDS);
    this.sparks = Object.fromEntries(SPARKS.map((name) => [name, new History(SPARK)]));
  }

  /** Another stream begins, maybe of another server: what comes first is no change from what was before. */
  restart() {
    this.stats = null;
  }

  /** Take the figures of a tick; `metrics` are there now and then only. */
  take(stats, metrics) {
    const before = this.stats;
    const seconds = before ? stats.time - before.time : 0;
    this.stats = stats;
    if (metrics?.lua_memory_bytes !== undefined) {
      this.memory = metrics.lua_memory_bytes;
      const { lua_objects: objects, lua_threads_active: routines } = metrics;
      this.held = [objects && `${format.count(objects)} objects`, routines !== undefined && `${routines} routines`].filter(Boolean).join(", ");
    }
    if (seconds < 0.5) return;
    const each = (now, then) => Math.max(0, (now - then) / seconds);
    this.down.push(each(stats.byt_down, before.byt_down));
    this.up.push(each(stats.byt_up, before.byt_up));
    const { sparks } = this;
    sparks.sessions.push(stats.num_sessions);
    sparks.requests.push(each(stats.num_request, before.num_request));
    sparks.rejects.push(each(rejects(stats), rejects(before)));
    sparks.connect.push(stats.connect_latency.p50 ?? 0);
    sparks.dns.push(stats.dns_latency.p50 ?? 0);
    if (this.memory !== null) sparks.ruleset.push(this.memory);
  }

  draw() {
    const s = this.stats;
    if (!s) return;
    figure("sessions", format.count(s.num_sessions), "", `${s.num_halfopen} half-open, peak ${format.count(s.num_sessions_peak)}`);
    figure("requests", format.count(s.num_request), "", `${format.count(s.num_success)} granted`);
    figure("rejects", format.count(rejects(s)), "", `ruleset ${s.num_reject_ruleset}, timeout ${s.num_reject_timeout}, upstream ${s.num_reject_upstream}`);
    latency("connect", s.connect_latency, "");
    const failed = Math.max(0, s.num_dns_query - s.num_dns_success);
    latency("dns", s.dns_latency, s.num_dns_query ? `${format.count(s.num_dns_query)} name${s.num_dns_query === 1 ? "" : "s"}, ${format.count(failed)} not found` : "");
    if (this.memory !== null) {
      $("ruleset").hidden = false;
      const [value, unit] = format.bytes(this.memory).split(" ");
      figure("ruleset", value, unit, this.held);
    }
    this.drawThroughput(s);
    for (const [name, history] of Object.entries(this.sparks)) drawSpark($(`s-${name}`), history.values, SPARK);
  }

  drawThroughput(s) {
    const [down, up] = [this.down.values, this.up.values];
    const span = Math.max(SPARK, down.length);
    set("rate-down", format.rate(down.at(-1) ?? 0));
    set("rate-up", format.rate(up.at(-1) ?? 0));
    set("total", `${format.bytes(s.byt_down)} down, ${format.bytes(s.byt_up)} up since the start ${format.duration(s.uptime)} ago`);
    set("since", `${format.duration(span - 1).replace(" 00 s", "")} ago`);
    set("scale", format.rate(drawThroughput($("chart"), down, up, span)));
  }
}
