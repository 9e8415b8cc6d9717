/**
 * One stream for all tabs of a browser. The tab that holds a lock follows the stream and passes on what it hears; when it closes,
 * the next one resumes after the last event that it was told. Where the browser has no locks or no channel between tabs (a page that is
 * not on loopback and not HTTPS), each tab follows for itself.
 */
import { follow } from "./stream.js";

const NAME = "portolan-watch";
/** Silence of the leading tab after which another takes over, and time between two looks, in milliseconds. */
const SILENT = 75_000, LOOK = 20_000;
/** Milliseconds between two signs of life. */
const BEAT = 5000;

/**
 * Follows `path`. `hooks`: `open()` after each connection, so that the lists are read after it; `event(name, data)`; `lost(reason, nextTry)`.
 * Returns a function that tries again at once.
 */
export function shared(path, hooks) {
  let lastId = "", stream = null, heard = Date.now(), beaten = 0, phase = null, queued = null, missed = 0;
  const channel = navigator.locks && "BroadcastChannel" in globalThis ? new BroadcastChannel(NAME) : null;
  const post = (message) => channel?.postMessage(message);
  const beat = () => { if (Date.now() - beaten > BEAT) { beaten = Date.now(); post({ type: "beat", id: lastId }); } };
  const me = crypto.randomUUID?.() ?? String(Math.random());
  const take = {
    open: ({ id }) => { if (id) lastId = id; phase = { type: "open" }; hooks.open(); },
    lost: ({ reason, nextTry, id }) => { if (id) lastId = id; phase = { type: "lost", reason, nextTry }; hooks.lost(reason, nextTry); },
    event: ({ name, data, id }) => { if (id) lastId = id; hooks.event(name, data); },
    beat: ({ id }) => { if (id) lastId = id; },
    // Only the tab that asked reads the lists again, and it learns where to resume if it takes over.
    hello: ({ from }) => { if (stream && phase) post({ ...phase, id: lastId, to: from }); },
    retry: () => stream?.retry(),
  };
  const both = (message) => { post(message); take[message.type](message); };
  const lead = () => {
    stream = follow(path, {
      lastId: () => lastId,
      open: () => both({ type: "open" }),
      lost: (reason, nextTry) => both({ type: "lost", reason, nextTry }),
      event: (name, data, id) => { if (name) both({ type: "event", name, data, id }); else lastId = id; beat(); },
    });
  };
  if (!channel) { lead(); return () => stream.retry(); }

  channel.onmessage = ({ data }) => {
    if (data.to && data.to !== me) return;
    if (data.type !== "hello" && data.type !== "retry") { heard = Date.now(); missed = 0; }
    // Two tabs lead for a moment when one takes over: what the other hears is not heard twice.
    if (stream && (data.type === "event" || data.type === "open" || data.type === "lost")) return;
    if (Object.hasOwn(take, data.type)) take[data.type](data);
  };
  const queue = (steal) => {
    queued = new AbortController();
    navigator.locks.request(NAME, steal ? { steal } : { signal: queued.signal }, () => { lead(); return new Promise(() => {}); }).catch((error) => {
      if (stream) { stream.stop(); stream = null; }
      if (error.name === "AbortError" && error.message !== "steal") { heard = Date.now(); queue(false); }
    });
  };
  queue(false);
  post({ type: "hello", from: me });
  setInterval(() => {
    if (stream) return beat();
    missed = Date.now() - heard > SILENT ? missed + 1 : 0;
    if (missed > 1) { missed = 0; const old = queued; queue(true); old.abort(new DOMException("steal", "AbortError")); }
  }, LOOK);
  return () => { if (stream) stream.retry(); else post({ type: "retry" }); };
}
