/**
 * Server-sent events over `fetch`. Not `EventSource`: that gives up for good after an answer such as 503, cannot be told where
 * to resume (another tab may have read on), and does not double its wait.
 */

/** Wait before the first and before the slowest retry, and how long a stream must stand to count as good, in milliseconds. */
const FIRST = 1000, SLOWEST = 30_000, GOOD = 10_000;
/** Silence after which the connection counts as dead. The agent says something every 15 s. */
const SILENT = 50_000;
/** Maximum number of characters of an unfinished event. */
const LONGEST = 16 << 20;

/** Maximum number of characters of a reason. */
const LONG = 300;

/** The reason of a failed answer in one line. */
export async function problem(answer) {
  const text = await answer.text().catch(() => "");
  let said = "";
  try { const body = JSON.parse(text); said = body.detail ?? body.title ?? ""; } catch { [said] = answer.headers.get("content-type")?.startsWith("text/plain") ? text.trim().split("\n") : [""]; }
  return said ? `${answer.status}: ${String(said).slice(0, LONG)}` : `it answers ${answer.status}`;
}

/**
 * Cuts text into events. Returns a function that takes the next text; `event(name, data, id)` gets each event, with an empty name
 * for an id without data.
 */
export function reader(event) {
  let rest = "", name = "", data = [], id;
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    if (rest.length > LONGEST) throw new Error("an event is too long");
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw, colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon), value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /u, "");
      if (line === "") {
        if (data.length) event(name || "message", data.join("\n"), id);
        else if (id !== undefined) event("", "", id);
        name = ""; data = []; id = undefined;
      } else if (field === "event") name = value; else if (field === "data") data.push(value); else if (field === "id") id = value;
    }
  };
}

/**
 * Follows the events of `path` until `stop`. `hooks`: `lastId()`; `open()` after each connection; `event(name, data, id)`; `lost(reason,
 * nextTry)`, the time of the next try in milliseconds. Returns `{stop, retry}`.
 */
export function follow(path, hooks) {
  let stopped = false, waking = () => {}, connection = null, wait = FIRST;
  const once = async () => {
    const mine = new AbortController();
    connection = mine;
    let alarm = 0;
    const heard = () => { clearTimeout(alarm); alarm = setTimeout(() => mine.abort(new Error("nothing was heard for 50 s")), SILENT); };
    heard();
    const since = Date.now();
    try {
      const headers = { accept: "text/event-stream", ...(hooks.lastId() ? { "last-event-id": hooks.lastId() } : {}) };
      const answer = await fetch(path, { headers, signal: mine.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(await problem(answer));
      hooks.open();
      const take = reader(hooks.event), texts = new TextDecoder(), body = answer.body.getReader();
      for (let part = await body.read(); !part.done && !stopped; part = await body.read()) { heard(); take(texts.decode(part.value, { stream: true })); }
      throw new Error("the connection was closed");
    } finally {
      clearTimeout(alarm);
      mine.abort();
      if (Date.now() - since > GOOD) wait = FIRST;
    }
  };
  (async () => {
    while (!stopped) {
      const reason = await once().catch((error) => (error instanceof TypeError ? "it does not answer" : error.message));
      if (stopped) return;
      hooks.lost(reason, Date.now() + wait);
      await new Promise((done) => { const timer = setTimeout(done, wait); waking = () => { clearTimeout(timer); done(); }; });
      wait = Math.min(wait * 2, SLOWEST);
    }
  })();
  return { stop: () => { stopped = true; connection?.abort(); waking(); }, retry: () => waking() };
}
