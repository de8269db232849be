// Numbers as people read them, and the filter of the session table.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes in decimal units, three digits: 1.25 MB. */
export function bytes(count) {
  let unit = 0;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
  return `${count.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes a second; a dash where nothing moves. */
export function rate(perSecond) {
  return perSecond < 0.5 ? "–" : `${bytes(perSecond)}/s`;
}

/** Seconds, two units at most: 3 h 12 m. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** A latency, two digits or more: [number, unit]. */
export function latency(seconds) {
  const ms = seconds * 1000;
  if (ms >= 1000) return [seconds.toFixed(2), "s"];
  if (ms < 1) return [(ms * 1000).toFixed(0), "µs"];
  return [ms < 10 ? ms.toFixed(1) : ms.toFixed(0), "ms"];
}

export const count = (number) => number.toLocaleString("en").replaceAll(",", "\u2009");

const FIELDS = /^(client|user|target|chain|frontend|outcome):(.+)$/;

/** A filter as it is written, `user:alice some text`, as the API's query: fields by name, and the rest as one text `q`. */
export function parseFilter(text) {
  const query = {};
  const rest = [];
  for (const word of text.trim().split(/\s+/)) {
    const named = FIELDS.exec(word);
    if (named) query[named[1]] = named[2];
    else if (word) rest.push(word);
  }
  if (rest.length) query.q = rest.join(" ");
  return query;
}

/** A test for session rows, which carry `words`, their fields in lower case by name; null where all pass. */
export function matcher(query) {
  const { q, ...fields } = Object.fromEntries(Object.entries(query).map(([name, text]) => [name, text.toLowerCase()]));
  const named = Object.entries(fields);
  if (!named.length && q === undefined) return null;
  return ({ words: { outcome, ...words } }) =>
    named.every(([name, text]) => (name === "outcome" ? outcome : words[name]).includes(text)) &&
    (q === undefined || Object.values(words).some((word) => word.includes(q)));
}
