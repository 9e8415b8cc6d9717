/**
 * What the agents say, brought into the state. One request for rows is in flight at most, so that no older answer overtakes a newer
 * one: an event that arrives meanwhile is asked for afterwards. The stream is opened before the first list, so that nothing falls
 * between them.
 */
import { changed, now, state, subscribe } from "./state.js";
import { format } from "./filter.js";
import { problem } from "./stream.js";
import { shared } from "./tabs.js";
import * as rows from "./rows.js";

const WATCH = "/v1/watch?kind=Finding,AgentStatus,Loss,Agent,Traffic";
/** Milliseconds for which changed rows are collected; between two readings of everything; between two of the agents; per request. */
const GATHER = 15, PAUSE = 400, AGENTS = 1000, TIMEOUT = 30_000;
/** Milliseconds after which the agents are asked again, if they could not be read. */
const AGAIN = 5000;
/** Fingerprints of one request, and of all that wait: with more, everything is read. */
const BATCH = 100, MOST = 400;
/** Declared ports that are listed one by one, and those of an opened fold. */
const DECLARED = 64, FOLD = 1000;
/** Fingerprints that are kept while paused; those beyond are not counted. */
const KEPT = 5000;
/** Details that are remembered. */
const DETAILS = 8;

/** What a full reading may do: `user` puts everything in a new order; `live` moves nothing. Null: none is due. */
let due = null;
const touched = new Set();
/** Counts that arrived while a request was in flight: its answer may be older. Null while none is. */
let meanwhile = null;
/** The request in flight, and the wait before it: what the user asks for ends both. */
let running = false, flight = null, nap = new AbortController(), loaded = null, big = false, retry = () => {};
let lastFull = 0, lastAgents = 0, agentsTimer = 0, agentsAgain = false, opened = false;

/** Asks for JSON. Throws with the reason in one line. */
export async function ask(path, signal) {
  const limit = AbortSignal.timeout(TIMEOUT);
  const both = new AbortController(), stop = () => both.abort();
  for (const one of [limit, ...(signal ? [signal] : [])]) { if (one.aborted) stop(); one.addEventListener("abort", stop, { once: true }); }
  try {
    const answer = await fetch(path, { headers: { accept: "application/json" }, signal: both.signal, cache: "no-store" });
    if (!answer.ok) throw Object.assign(new Error(await problem(answer)), { status: answer.status });
    return await answer.json();
  } catch (error) {
    if (limit.aborted) throw new Error(`no answer within ${TIMEOUT / 1000} s`);
    throw error instanceof TypeError ? new Error("it does not answer") : error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/**
 * The query of a reading. Everything is read once and filtered here, so that filters answer at once and the page can say how many rows there are
 * without them. Only where that is more than one answer holds does the server filter.
 */
function scope() {
  const states = state.filters.state.includes("resolved") ? "open,suppressed,resolved" : "open,suppressed";
  const filters = big ? format({ ...state.filters, state: [] }) : "";
  const own = big && state.filters.state.length ? state.filters.state.join(",") : states;
  return `${filters && `${filters}&`}state=${own}&declared=${DECLARED}`;
}

/** Waits, at most until the signal is given. */
const wait = (time, signal) => new Promise((done) => {
  const timer = setTimeout(done, time);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

/** Asks for a full reading. What the user asks for does not wait for one in flight. */
export function want(kind) {
  due = due === "user" || kind === "user" ? "user" : "live";
  if (kind === "user") { flight?.abort(); nap.abort(); }
  pump();
}

/** True while some agent has not answered yet. */
const asking = () => (state.agents ?? []).some((agent) => agent.state === "asking");
/** True while rows come in any order, and have no place to keep. */
const loading = () => !state.chart || asking();

async function pump() {
  if (running) return;
  running = true;
  let failed = 0;
  while (due === "user" || (!state.paused && (due || touched.size))) {
    nap = new AbortController();
    if (due !== "user") await wait(due ? Math.max(GATHER, lastFull + PAUSE - Date.now()) : GATHER, nap.signal);
    const kind = due ?? (touched.size > MOST ? "live" : null), full = Boolean(kind);
    const batch = full ? [] : [...touched].slice(0, BATCH);
    if (!full && !batch.length) continue;
    due = null;
    if (full) touched.clear(); else for (const fingerprint of batch) touched.delete(fingerprint);
    flight = new AbortController();
    meanwhile = new Map();
    try {
      if (full) await readAll(kind === "user" || loading() ? "user" : "live", flight.signal); else await readRows(batch, flight.signal);
      failed = 0;
    } catch (error) {
      due = kind === "user" || due === "user" ? "user" : "live";
      if (flight.signal.aborted) continue;
      failed += 1;
      failure(error);
      await wait(Math.min(30_000, 500 * 2 ** failed), flight.signal);
    } finally {
      flight = null;
      meanwhile = null;
    }
  }
  running = false;
}

/** A list could not be read. The stream says the same more often than not; if it stands, the strip says this. */
function failure(error) {
  state.failed = error.message;
  changed("live");
}

async function readAll(kind, signal) {
  const query = scope(), answer = await ask(`/v1/chart?${query}`, signal);
  if (!big && answer.totals.unlisted > 0) {
    big = true;
    if (format(state.filters)) return readAll(kind, signal);
  }
  if (big && !format(state.filters) && answer.totals.unlisted === 0) big = false;
  if (!big) state.totals = null; else if (!state.filters.severity.length) state.totals = answer.totals.open;
  await openFolds(answer, signal);
  lastFull = Date.now();
  loaded = scope();
  state.failed = null;
  settle(answer);
  rows.replace(answer, kind);
  again();
  if (rows.size() > rows.MOST_ROWS) due = "user";
  changed(kind);
}

async function readRows(batch, signal) {
  const base = loaded ?? scope(), answer = await ask(`/v1/chart?fingerprint=${batch.join(",")}&${base}`, signal);
  settle(answer);
  rows.merge(answer, batch);
  again();
  state.failed = null;
  changed("live");
}

/** Takes over the clock of an answer, and the nodes that it misses. */
function settle(answer) {
  const time = Date.parse(answer.time);
  if (!Number.isNaN(time)) state.skew = time - Date.now();
  rows.roll(time);
  if (state.chart) state.chart.missing = answer.missing ?? [];
}

/** Applies once more the counts that arrived while the answer was on its way. */
function again() {
  if (meanwhile?.size) rows.count([...meanwhile.values()], now());
}

/** The declared ports of the opened folds that the answer only counts. */
async function openFolds(answer, signal) {
  for (const fold of state.folds) {
    const at = answer.declared.findIndex((ports) => fold === foldOf(ports));
    if (at < 0) continue;
    const { namespace, workload } = answer.declared[at];
    const parts = [namespace && `namespace=${encodeURIComponent(namespace)}`, workload && `workload=${encodeURIComponent(workload.name)}`];
    if (!workload) continue;
    const more = await ask(`/v1/chart?${parts.filter(Boolean).join("&")}&declared=${FOLD}`, signal);
    const known = new Set(answer.rows.map((row) => row.fingerprint));
    answer.rows.push(...more.rows.filter((row) => !row.code && !known.has(row.fingerprint) && foldOf(row) === fold));
    answer.declared.splice(at, 1);
  }
}
/** Id of the fold of a workload's declared ports, as model.js gives it. */
const foldOf = (ports) => `declared:${ports.namespace ?? ""}/${ports.workload?.name ?? ports.pod ?? ""}`;

/** After filters or folds changed: reads anew if the rows that are here cannot answer. */
export function follow() {
  const folded = (state.chart?.declared ?? []).some((ports) => ports.workload && state.folds.has(foldOf(ports)));
  if (loaded !== null && (scope() !== loaded || folded)) want("user");
}

/** Reads the agents, at most once in a second; a call meanwhile is remembered. */
function readAgents() {
  agentsAgain = Boolean(agentsTimer);
  if (agentsTimer) return;
  agentsTimer = setTimeout(async () => {
    agentsAgain = false;
    try {
      const before = asking(), answer = await ask("/v1/agents");
      state.agents = answer.items ?? [];
      if (before && !asking()) want("user");
      changed("live");
    } catch (error) {
      if (error.status === 404) state.agents = []; else if (state.live.phase === "live") setTimeout(readAgents, AGAIN);
    }
    lastAgents = Date.now();
    agentsTimer = 0;
    if (agentsAgain) readAgents();
  }, Math.max(0, lastAgents + AGENTS - Date.now()));
}

/** An agent changed: its state may bring rows, or take them away. */
function agentChanged(agent) {
  const at = (state.agents ?? []).findIndex((one) => one.node === agent.node), before = state.agents?.[at], waited = asking();
  if (at >= 0) state.agents[at] = agent; else (state.agents ??= []).push(agent);
  if (before?.state !== agent.state) want(waited && !asking() ? "user" : "live");
  changed("live");
}

function heard(name, data) {
  let said;
  try { said = JSON.parse(data); } catch { return want("live"); }
  if (name === "Agent" || name === "AgentStatus" || name === "Loss") {
    if (name === "Agent" && said?.node) agentChanged(said);
    return readAgents();
  }
  if (name === "Traffic") return traffic(said);
  state.changed = Date.now();
  if (name === "reset" || name === "lost") {
    if (state.paused) state.paused.all = true;
    due ??= "live";
  } else if (name === "Finding" && said.fingerprint) {
    touched.add(said.fingerprint);
    if (state.paused && state.paused.touched.size < KEPT) state.paused.touched.add(said.fingerprint);
    if (touched.size > KEPT) { touched.clear(); due ??= "live"; }
  } else if (name === "Finding") due ??= "live";
  if (state.paused) changed("live"); else pump();
}

function traffic({ items, time }) {
  if (state.paused || !Array.isArray(items)) return;
  if (meanwhile) for (const item of items) meanwhile.set(item.fingerprint, item);
  const at = Date.parse(time);
  if (rows.count(items, Number.isNaN(at) ? now() : at)) { state.changed = Date.now(); changed("live"); }
}

/** Holds everything as it is, or shows what came meanwhile. */
export function pause(on) {
  if (on === Boolean(state.paused)) return;
  state.paused = on ? { since: Date.now(), touched: new Set(), all: false } : null;
  if (!on) want("user");
  changed("user");
}

/** Gives the rows that wait their place, and takes those away that are resolved. */
export function show() {
  rows.adopt();
  changed("user");
  want("user");
}

/** Tries again at once. */
export function tryNow() {
  retry();
  flight?.abort();
  want(state.chart ? "live" : "user");
}

const details = new Map();
/** What is known of a row beyond the list: `{finding, explanation, remedies, failed}`; null for what there is none of or did not come. */
export function detail(row) {
  const key = [row.fingerprint, row.findings?.[0], row.code, row.state, row.changedAt].join(" ");
  if (details.has(key)) return details.get(key);
  const failed = [], get = (path) => (path ? ask(path).catch((error) => { if (error.status !== 404) failed.push(error.message); return null; }) : null);
  const id = row.findings?.[0] && encodeURIComponent(row.findings[0]);
  const target = row.namespace && row.pod && row.port ? `${row.namespace}/${row.pod}:${row.port}${row.protocol && row.protocol !== "TCP" ? `/${row.protocol.toLowerCase()}` : ""}` : null;
  const asked = Promise.all([get(id && `/v1/findings/${id}`), get(target && `/v1/explain?target=${encodeURIComponent(target)}`), get(id && `/v1/findings/${id}/remedies`)])
    .then(([finding, explanation, remedies]) => { if (failed.length) details.delete(key); return { finding, explanation, remedies, failed: failed[0] ?? null }; });
  details.set(key, asked);
  if (details.size > DETAILS) details.delete(details.keys().next().value);
  return asked;
}

/** Begins: first the stream, then the lists. `onChange(why)` is called after each change. */
export function start(onChange) {
  if (onChange) subscribe(onChange);
  retry = shared(WATCH, {
    open: () => {
      const first = !opened;
      opened = true;
      // What is in flight may be from before this connection: what happened in between would be missing.
      flight?.abort();
      state.live = { phase: "live", since: Date.now(), nextTry: 0, reason: "" };
      want(first && !state.chart ? "user" : "live");
      readAgents();
      changed("live");
    },
    lost: (reason, nextTry) => {
      const since = state.live.phase === "lost" ? state.live.since : Date.now();
      state.live = { phase: "lost", since, nextTry, reason };
      changed("live");
    },
    event: heard,
  });
  // A stream that is refused, or a leading tab that does not answer, must not keep the lists away.
  setTimeout(() => { if (!opened) { want("user"); readAgents(); } }, 1500);
  setInterval(() => { if (rows.roll(now())) changed("live"); }, 15_000);
  addEventListener("online", () => retry());
}
