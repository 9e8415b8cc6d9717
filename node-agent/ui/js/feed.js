/**
 * What the agents say, brought into the state. One request for rows is in flight at most, so that no older answer overtakes a newer
 * one: an event that arrives meanwhile is asked for afterwards. The stream is opened before the first list, so that nothing falls
 * between them.
 */
import { changed, now, state } from "./state.js";
import { format } from "./filter.js";
import { problem } from "./stream.js";
import { shared } from "./tabs.js";
import * as rows from "./rows.js";
import { declaredFold, workloadName } from "./words.js";

const WATCH = "/v1/watch?kind=Finding,AgentStatus,Loss,Agent,Traffic";
const MINUTE = 60_000;
/** Milliseconds for which changed rows are collected; between two readings of everything; between two of the agents; per request. */
const GATHER = 15, PAUSE = 400, AGENTS = 1000, TIMEOUT = 30_000;
/** Milliseconds after which is asked again: for the agents, if they could not be read; for a port or fold, if the host was busy. */
const AGENTS_RETRY = 5000, BUSY_RETRY = 2000, FOLDS_RETRY = 10_000;
/** Milliseconds from news to the reading that tells which ports are not judged yet. */
const UNJUDGED = 10_000;
/** What the status of an answer is if the host has no room for a request, and may have soon. */
const BUSY = 503;
/** Fingerprints of one request, and of all that wait: with more, everything is read. */
const BATCH = 100, MOST = 400;
/** States that rows of one fingerprint may have. */
const ANY_STATE = "state=open,suppressed,resolved";
/** Declared ports that are listed one by one, and those of an opened fold. */
const DECLARED = 64, FOLD = 1000;
/** Fingerprints that are kept while paused; those beyond are not counted. */
const KEPT = 5000;
/** Details that are remembered, and for how many milliseconds. */
const DETAILS = 8, DETAIL_AGE = MINUTE;

/** What a full reading may do: `user` puts everything in a new order; `live` moves nothing. Null: none is due. */
let due = null;
const touched = new Set();
/** Counts that arrived while a request was in flight: its answer may be older. Null while none is. */
let meanwhile = null;
/** The request in flight, and the wait before it: what the user asks for ends both. */
let running = false, flight = null, nap = new AbortController(), loaded = null, big = false, retry = () => {};
let lastFull = 0, lastAgents = 0, agentsTimer = 0, agentsWanted = false, opened = false;
/** The port of the URL that was asked for by itself, because the list does not hold it. */
let sought = null;
/** Timers after which a port, and folds, are asked for again that the host was too busy for. */
let seekTimer = 0, foldsTimer = 0, unjudgedTimer = 0;

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

/** The filters but the severities, as one text. */
export const othersThanSeverity = (filters) => format({ ...filters, severity: [] });

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
/** True once no agent was asked any more. One that is asked later, as its pod was replaced, takes no row's place. */
let settled = false;
/** True while rows come in any order, and have no place to keep. */
const loading = () => !state.chart || (!settled && asking());

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
    let why = null;
    try {
      if (full) why = await readAll(kind === "user" || loading() ? "user" : "live", flight.signal); else why = await readRows(batch, flight.signal);
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
    if (why) tell(why);
  }
  running = false;
}

/** Has the page drawn. What goes wrong there is no failure of a reading, and must not end the readings. */
function tell(why) {
  try { changed(why); } catch (error) { reportError(error); }
  // Filters, folds and port may have changed while the answer was on its way.
  follow();
}

/** A list could not be read. The stream says the same more often than not; if it stands, the strip says this. */
function failure(error) {
  state.failed = error.message;
  changed("live");
}

/** Reads everything. Returns `why` for `changed`. */
async function readAll(kind, signal) {
  const query = scope(), answer = await ask(`/v1/chart?${query}`, signal);
  if (!big && answer.totals.unlisted > 0) {
    big = true;
    if (format(state.filters)) return readAll(kind, signal);
  }
  if (big && !format(state.filters) && answer.totals.unlisted === 0) big = false;
  state.big = big;
  if (!big) state.totals = null; else if (!state.filters.severity.length) state.totals = { filters: othersThanSeverity(state.filters), open: answer.totals.open };
  await openFolds(answer, signal);
  lastFull = Date.now();
  loaded = query;
  state.failed = null;
  sought = null;
  takeTime(answer);
  for (const fingerprint of rows.replace(answer, kind).slice(0, MOST - touched.size)) touched.add(fingerprint);
  countAgain();
  if (rows.size() > rows.MOST_ROWS) due = "user";
  return kind;
}

/** Reads rows by fingerprint, without filters: one that the filters hide now is not gone. */
async function readRows(batch, signal) {
  const answer = await ask(`/v1/chart?fingerprint=${batch.join(",")}&${ANY_STATE}&declared=${FOLD}`, signal);
  checkClock(Date.parse(answer.time));
  takeTime(answer);
  rows.merge(answer, batch);
  if (batch.includes(sought)) sought = null;
  countAgain();
  state.failed = null;
  lookAgain();
  return "live";
}

/** Ports that are not judged get a finding, or close without a word: while there are some, news lead to a reading of everything. */
function lookAgain() {
  unjudgedTimer ||= setTimeout(() => { unjudgedTimer = 0; if (state.chart?.totals?.unjudged) want("live"); }, UNJUDGED);
}

/** What stands in place of an answer that did not come. */
const noAnswer = (error) => ({ failed: error.message, status: error.status });

/** The port of the URL, if the list does not hold it: it may be resolved, or beyond what one answer lists. */
async function seek(port) {
  sought = port;
  clearTimeout(seekTimer);
  const answer = await ask(`/v1/chart?fingerprint=${encodeURIComponent(port)}&${ANY_STATE}&declared=${DECLARED}`).catch(noAnswer);
  if (sought !== port || state.port !== port) return;
  if (answer.status === BUSY) seekTimer = setTimeout(() => { if (sought === port && state.port === port) seek(port); }, BUSY_RETRY);
  state.beyond = { fingerprint: port, row: answer.rows?.find((row) => row.fingerprint === port) ?? null, failed: answer.failed ?? null };
  try { changed("live"); } catch (error) { reportError(error); }
}

/** Takes over the clock of an answer, and the nodes that it misses. */
function takeTime(answer) {
  const time = Date.parse(answer.time);
  if (!Number.isNaN(time)) state.skew = time - Date.now();
  rows.roll(time);
  if (state.chart) state.chart.missing = answer.missing ?? [];
}

/** Reads everything if the agents' clock went back: minutes stand in the wrong places then. At most once in a minute. */
function checkClock(time) {
  if (rows.isAhead(time) && Date.now() - lastFull > MINUTE) want("live");
}

/** Applies once more the counts that arrived while the answer was on its way. */
function countAgain() {
  if (meanwhile?.size) rows.count([...meanwhile.values()], now());
}

/** The query for the declared ports of a workload, or of a pod without one. Null if it has no name. */
function foldQuery({ namespace, workload, pod }) {
  const name = workload ? `workload=${encodeURIComponent(`${workload.kind}/${workload.name}`)}` : pod && `pod=${encodeURIComponent(pod)}`;
  return name ? `${namespace ? `namespace=${encodeURIComponent(namespace)}&` : ""}${name}&declared=${FOLD}` : null;
}

/** Adds the declared ports of the opened folds that the answer only counts. What cannot be listed stays counted, and `unopened` says why. */
async function openFolds(answer, signal) {
  state.unopened = new Map();
  clearTimeout(foldsTimer);
  let isBusy = false;
  for (const ports of answer.declared.filter((one) => state.folds.has(declaredFold(one)))) {
    const fold = declaredFold(ports), query = foldQuery(ports);
    const more = query ? await ask(`/v1/chart?${query}`, signal).catch((error) => { if (signal.aborted) throw error; return noAnswer(error); }) : { failed: "they belong to no known pod" };
    const known = new Map(answer.rows.map((row) => [row.fingerprint, row])), listed = (more.rows ?? []).filter((row) => !row.code && declaredFold(row) === fold);
    if (!listed.length) {
      isBusy ||= more.status === BUSY;
      state.unopened.set(fold, `The ${ports.ports.toLocaleString("en")} declared ports of ${workloadName(ports)} cannot be listed: ${more.failed ?? "they are too many, or are not there any more"}.`);
      continue;
    }
    for (const row of listed) {
      const here = known.get(row.fingerprint);
      if (!here) answer.rows.push(row); else if (here.state === "resolved") here.served ??= row;
    }
    answer.declared.splice(answer.declared.indexOf(ports), 1);
  }
  if (isBusy) foldsTimer = setTimeout(() => { if (state.unopened.size) want("live"); }, FOLDS_RETRY);
}

/** After filters, folds or the port changed: asks for what the rows that are here cannot answer. */
export function follow() {
  if (loaded === null) return;
  for (const fold of state.unopened.keys()) if (!state.folds.has(fold)) state.unopened.delete(fold);
  const isCounted = (state.chart?.declared ?? []).some((ports) => state.folds.has(declaredFold(ports)) && !state.unopened.has(declaredFold(ports)));
  if (scope() !== loaded || isCounted) return want("user");
  if (!state.port) sought = null;
  else if (state.port !== sought && !flight && !due && !rows.has(state.port)) seek(state.port);
}

/** Reads the agents, at most once in a second; a call meanwhile is remembered. */
function readAgents() {
  agentsWanted = Boolean(agentsTimer);
  if (agentsTimer) return;
  agentsTimer = setTimeout(async () => {
    agentsWanted = false;
    try {
      const before = asking(), answer = await ask("/v1/agents");
      state.agents = answer.items ?? [];
      if (before && !settled && !asking()) want("user");
      settled ||= state.agents.length > 0 && !asking();
      changed("live");
    } catch (error) {
      if (error.status === 404) state.agents = []; else if (state.live.phase === "live") setTimeout(readAgents, AGENTS_RETRY);
    }
    lastAgents = Date.now();
    agentsTimer = 0;
    if (agentsWanted) readAgents();
  }, Math.max(0, lastAgents + AGENTS - Date.now()));
}

/** An agent changed: its state may bring rows, or take them away. */
function agentChanged(agent) {
  const at = (state.agents ?? []).findIndex((one) => one.node === agent.node), before = state.agents?.[at], waited = asking();
  if (at >= 0) state.agents[at] = agent; else (state.agents ??= []).push(agent);
  if (before?.state !== agent.state) want(waited && !settled && !asking() ? "user" : "live");
  changed("live");
}

function takeEvent(name, data) {
  let said;
  try { said = JSON.parse(data); } catch { return want("live"); }
  if (name === "Agent" || name === "AgentStatus" || name === "Loss") {
    if (name === "Agent" && said?.node) agentChanged(said);
    lookAgain();
    return readAgents();
  }
  if (name === "Traffic") return traffic(said);
  state.changed = Date.now();
  if (name === "reset" || name === "lost") {
    if (state.paused) state.paused.all = true;
    due ??= "live";
  } else if (name === "Finding" && said.fingerprint) {
    touched.add(said.fingerprint);
    // The port has this row now: the earlier one must not count it, too.
    if (said.formerFingerprint) touched.add(said.formerFingerprint);
    if (state.paused && state.paused.touched.size < KEPT) state.paused.touched.add(said.fingerprint);
    else if (state.paused && !state.paused.touched.has(said.fingerprint)) state.paused.isMore = true;
    if (touched.size > KEPT) { touched.clear(); due ??= "live"; }
  } else if (name === "Finding") due ??= "live";
  if (state.paused) changed("live"); else pump();
}

function traffic({ items, time }) {
  if (state.paused || !Array.isArray(items)) return;
  if (meanwhile) for (const item of items) meanwhile.set(item.fingerprint, item);
  const at = Date.parse(time);
  checkClock(at);
  if (rows.count(items, Number.isNaN(at) ? now() : at)) { state.changed = Date.now(); changed("live"); }
}

/** Holds everything as it is, or shows what came meanwhile. */
export function pause(on) {
  if (on === Boolean(state.paused)) return;
  state.paused = on ? { since: Date.now(), touched: new Set(), isMore: false, all: false } : null;
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
/** What a row is, as one text. */
export const kindKey = (row) => JSON.stringify([row.fingerprint, row.findings?.[0], row.code, row.state, row.changedAt]);
/** What the details of a row depend on, as one text. Counts are not in it, nor is the order of callers, which follows them. */
export const detailKey = (row) => JSON.stringify([kindKey(row), row.reason, row.policy, row.moreCallers, row.truncated, (row.callers ?? []).map((one) => `${one.address} ${one.workload?.name ?? one.pod ?? ""} ${one.via ?? ""}`).sort()]);
/**
 * Asks for what is known of a row beyond the list. Calls `take(name, part, reason)` when a part comes: `finding`, `explanation` and
 * `remedies`. A part is null if there is none, or if it did not come: then `reason` says why. `signal` ends the requests.
 */
export function detail(row, take, signal) {
  const key = detailKey(row), kept = details.get(key);
  if (kept && Date.now() - kept.at < DETAIL_AGE) return kept.parts.forEach((part, name) => take(name, part, null));
  details.delete(key);
  const id = row.findings?.[0] && encodeURIComponent(row.findings[0]), parts = new Map();
  const target = row.namespace && row.pod && row.port ? `${row.namespace}/${row.pod}:${row.port}${row.protocol && row.protocol !== "TCP" ? `/${row.protocol.toLowerCase()}` : ""}` : null;
  const paths = { finding: id && `/v1/findings/${id}`, explanation: target && `/v1/explain?target=${encodeURIComponent(target)}`, remedies: id && `/v1/findings/${id}/remedies` };
  for (const [name, path] of Object.entries(paths)) {
    const came = (part, reason) => {
      if (signal?.aborted) return;
      if (!reason) parts.set(name, part);
      if (parts.size === Object.keys(paths).length) details.set(key, { parts, at: Date.now() });
      if (details.size > DETAILS) details.delete(details.keys().next().value);
      take(name, part, reason);
    };
    if (path) ask(path, signal).then((part) => came(part, null), (error) => came(null, error.status === 404 ? null : error.message));
    else came(null, null);
  }
}

/** Begins: first the stream, then the lists. */
export function start() {
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
    event: takeEvent,
  });
  // A stream that is refused, or a leading tab that does not answer, must not keep the lists away.
  setTimeout(() => { if (!opened) { want("user"); readAgents(); } }, 1500);
  // While nothing is told, nothing is known of the minutes that go by.
  setInterval(() => { if (state.live.phase === "live" && !state.paused && rows.roll(now())) changed("live"); }, 15_000);
  addEventListener("online", () => retry());
}
