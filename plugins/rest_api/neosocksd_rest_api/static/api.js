// Calls of the API and its stream of events. The token is asked for when the server wants one, and lives as long as the tab.

const KEY = "neosocksd-token";
const QUIET_MS = 10000; // the server ticks each second

let asking = null;

/** The API has refused; the message is for people. */
export class Refused extends Error {}

function askToken(refused) {
  document.getElementById("token-refused").hidden = !refused;
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog");
    const input = document.getElementById("token");
    input.value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (input.validity.valid) sessionStorage.setItem(KEY, input.value.trim());
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { "content-type": "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    await response.body?.cancel();
    if (sessionStorage.getItem(KEY) === token) sessionStorage.removeItem(KEY);
    await askToken(Boolean(token));
  }
}

/** Call `path`, with a JSON body where one is given, and return its JSON. */
export async function call(path, method = "GET", body = undefined) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await request(path, { method, ...sent });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(answer.detail || answer.title || `The server answered ${response.status}.`);
  return answer;
}

function* split(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5));
  }
  if (data.length) yield [name, JSON.parse(data.join("\n"))];
}

async function read(handle) {
  const abort = new AbortController();
  let watch = setTimeout(() => abort.abort(), QUIET_MS * 3);
  try {
    const response = await request("/v1/events", { signal: abort.signal });
    if (!response.ok) throw new Refused(`The server answered ${response.status}.`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), QUIET_MS);
      const { value, done } = await reader.read();
      if (done) return;
      text += value.replaceAll("\r", "");
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) for (const [name, data] of split(block)) handle(name, data);
    }
  } finally {
    clearTimeout(watch);
    abort.abort();
  }
}

/** Follow the events for ever: `handle(name, data)` for each, `state(text)` when the line is lost. */
export async function follow(handle, lost) {
  let pause = 1000;
  for (;;) {
    try {
      await read((name, data) => {
        pause = 1000;
        handle(name, data);
      });
    } catch (error) {
      if (error instanceof SyntaxError) console.warn("an event was not understood", error);
    }
    lost();
    await new Promise((resolve) => {
      const timer = setTimeout(done, pause);
      function done() {
        clearTimeout(timer);
        removeEventListener("online", done);
        document.removeEventListener("visibilitychange", done);
        resolve();
      }
      addEventListener("online", done);
      document.addEventListener("visibilitychange", done);
    });
    pause = Math.min(pause * 2, 15000);
  }
}
