/**
 * The rows that have a place, and those that wait for one. Live changes replace rows where they stand: nothing here moves a row
 * but `adopt` and a reading that the user asked for. Rows that are gone stay as `resolved` until then.
 */
import { compare, count as counted, isUnjudged, rank, workKey, workloadName } from "./words.js";
import { state } from "./state.js";

const MINUTE = 60_000, MINUTES = 60;
/** Rows with and without a place; with more, everything gets a new order. An answer holds at most 5,000. */
export const MOST_ROWS = 12_000;

/** Place of each fingerprint in `state.chart.rows`. */
let places = new Map();
/** Rows that wait, by fingerprint. */
let waiting = new Map();
/** Minute that the last of all `minutes` counts. */
let minute = 0;

/** Number of rows with and without a place. */
export const size = () => places.size + waiting.size;

/** The order everywhere: workloads by their worst row, then by its connections; within one the worst first. */
export function sorted(rows) {
  const groups = new Map();
  for (const row of rows) {
    const key = workKey(row);
    const group = groups.get(key);
    if (group) group.push(row); else groups.set(key, [row]);
  }
  const order = (a, b) => compare(a, b) || (a.port ?? 0) - (b.port ?? 0) || (a.fingerprint < b.fingerprint ? -1 : 1);
  for (const group of groups.values()) group.sort(order);
  return [...groups.values()].sort((a, b) => compare(a[0], b[0]) || rank(a[0]) - rank(b[0]) || (workloadName(a[0]) < workloadName(b[0]) ? -1 : 1)).flat();
}

function place(rows) {
  state.chart.rows = rows;
  places = new Map(rows.map((row, i) => [row.fingerprint, i]));
  state.waiting = [...waiting.values()];
}

/** The minutes of the answer's rows end at its time, whatever was counted before: clocks may go back. */
function setMinute(answer) {
  const time = Date.parse(answer.time);
  if (!Number.isNaN(time)) minute = Math.floor(time / MINUTE);
}

/**
 * Takes over an answer with all rows: `user` in a new order, `live` each row where it stands. Returns the fingerprints of rows that the
 * answer may only have cut off: they stay as they are, and must be asked for.
 */
export function replace(answer, kind) {
  setMinute(answer);
  const before = state.chart, had = (before?.rows ?? []).some((row) => row.code && !row.left);
  const next = { ...answer, missing: answer.missing ?? [], declared: answer.declared ?? [] };
  if (kind === "user" || !had) {
    waiting = new Map();
    state.chart = next;
    place(sorted(answer.rows));
    return [];
  }
  const fresh = new Map(answer.rows.map((row) => [row.fingerprint, row])), silent = new Set(next.missing.map((one) => one.node));
  const isCut = answer.totals?.unlisted > 0, unsure = [];
  const kept = (row) => {
    const here = fresh.get(row.fingerprint);
    if (here) return [here];
    if (isCut && row.code && !row.left) { unsure.push(row.fingerprint); return [row]; }
    const after = gone(row, silent);
    // Declared ports that are counted now must not stand there as rows too.
    return row.code || after.silent ? [after] : [];
  };
  const rows = before.rows.flatMap(kept), isNew = ([fingerprint]) => !places.has(fingerprint);
  // Declared ports that were counted so far are no news.
  const listed = before.declared.length > 0 && next.declared.length === 0 ? [...fresh].filter(isNew).map(([, row]) => row).filter((row) => !row.code) : [];
  const added = new Set(listed);
  waiting = new Map([...fresh].filter(isNew).filter(([, row]) => !added.has(row)));
  state.chart = next;
  place([...rows, ...listed]);
  return unsure;
}

/** A row that an answer does not hold any more: resolved, or of nodes that do not answer. */
function gone(row, silent) {
  if (row.left) return row;
  const unknown = row.nodes.filter((node) => silent.has(node));
  if (unknown.length) return { ...row, silent: unknown };
  return row.code ? { ...row, silent: undefined, state: "resolved", left: true, minutes: [] } : { ...row, silent: undefined, left: true };
}

/**
 * Takes over an answer for some fingerprints, of any state and without other filters: a row that it does not hold is gone. One that is
 * resolved stays where it stands, and gets no place if it has none.
 */
export function merge(answer, asked) {
  const fresh = new Map(answer.rows.map((row) => [row.fingerprint, row])), silent = new Set((answer.missing ?? []).map((one) => one.node));
  if (!state.chart) return;
  // Minutes may have gone by since the answer was made.
  const by = minute - Math.floor(Date.parse(answer.time) / MINUTE);
  if (by > 0) for (const row of answer.rows) if (row.minutes?.length) row.minutes = shifted(row.minutes, by);
  const rows = state.chart.rows, unseen = !rows.some((row) => row.code && !row.left);
  for (const fingerprint of asked) {
    const at = places.get(fingerprint), found = fresh.get(fingerprint);
    // What stands there as a declared port is one as long as it is served, whatever findings of it ended.
    const row = found?.served && at !== undefined && !rows[at].code ? found.served : found;
    const isResolved = row?.code && row.state === "resolved";
    // What stands there as resolved because it is filtered for stays; what stands there because it ended may end again.
    if (at !== undefined) rows[at] = !row ? gone(rows[at], silent) : isResolved && (rows[at].left || rows[at].state !== "resolved") ? { ...row, left: true } : row;
    else if (row && !isResolved) waiting.set(fingerprint, row);
    else waiting.delete(fingerprint);
  }
  // Where there was nothing, nothing can move.
  if (unseen && waiting.size) return adopt();
  state.chart.rows = [...rows];
  state.waiting = [...waiting.values()];
}

/** What a fingerprint of `withServed` begins with. */
const SERVED = "served ";
/**
 * The rows that can be shown, and after one whose findings ended the port as it is served now. What has just left still stands for its
 * port. Ports that are not judged are left out: they would stand there as declared.
 */
export const withServed = (rows) => rows.flatMap((row) => (row.served && !row.left ? [row, { ...row.served, fingerprint: `${SERVED}${row.fingerprint}`, silent: row.silent }] : [row])).filter((row) => !isUnjudged(row));
/** The row that a fingerprint of `withServed` leads to. */
export const leadsTo = (fingerprint) => (fingerprint.startsWith(SERVED) ? fingerprint.slice(SERVED.length) : fingerprint);

/** True if the row has a place, or waits for one. */
export const has = (fingerprint) => places.has(fingerprint) || waiting.has(fingerprint);

/**
 * What changed since `before`, a map of fingerprints to `{rank, left}`: new rows that are open, rows that are worse, and rows that are
 * resolved. Returns them with the map of now. `all` are rows with a place, `fresh` those that wait.
 */
export function changes(before, all, fresh) {
  const after = new Map([...all, ...fresh].filter((row) => row.code).map((row) => [row.fingerprint, { rank: rank(row), left: Boolean(row.left) }]));
  const was = (row) => before.get(row.fingerprint), isFound = (row) => row.code && row.state === "open" && !row.left;
  return {
    after,
    fresh: fresh.filter((row) => isFound(row) && !was(row)),
    worse: [...all, ...fresh].filter((row) => isFound(row) && was(row) && rank(row) < was(row).rank),
    resolved: all.filter((row) => row.code && row.left && was(row) && !was(row).left),
  };
}

/** Gives the waiting rows a place, and takes away those that are gone. */
export function adopt() {
  const rows = [...state.chart.rows.filter((row) => !row.left && !row.silent), ...waiting.values()];
  waiting = new Map();
  place(sorted(rows));
}

/** True if the minutes are more than one ahead of `time`: the agents' clock went back. */
export const isAhead = (time) => minute > Math.floor(time / MINUTE) + 1;

/** Counts per minute as they are so many minutes later. */
const shifted = (minutes, by) => [...minutes, ...Array(Math.min(by, MINUTES)).fill(0)].slice(-MINUTES);

/** Lets the minutes go by until `time`. Returns true if one did. */
export function roll(time) {
  const here = Math.floor(time / MINUTE), by = here - minute;
  if (!(by > 0)) return false;
  if (minute) for (const row of all()) if (row.minutes?.length) row.minutes = shifted(row.minutes, by);
  minute = here;
  return true;
}

function* all() { yield* state.chart?.rows ?? []; yield* waiting.values(); }

/**
 * Applies counts (they replace, they are no differences). Those that are older than the row's are left out. Returns true if one changed.
 * `time` is that of the counts.
 */
export function count(items, time) {
  roll(time);
  const back = minute - Math.floor(time / MINUTE);
  let any = false;
  for (const item of items) {
    const at = places.get(item.fingerprint), row = at === undefined ? waiting.get(item.fingerprint) : state.chart.rows[at];
    if (!row || row.left) continue;
    // A row that was called long after these counts were made is from before the clock went back.
    const seen = Date.parse(row.lastSeen ?? "") || 0;
    if (Date.parse(item.lastSeen) < seen && seen < time + MINUTE) continue;
    const before = counted(row);
    if (before === counted({ ...item, protocol: row.protocol }) && row.bytes === item.bytes && row.attempts === item.attempts) continue;
    const { attempts, connections, packets, bytes, lastSeen } = item;
    Object.assign(row, { attempts, connections, packets, bytes, lastSeen });
    any = true;
    const more = counted(row) - before;
    if (more > 0 && row.code) {
      const minutes = row.minutes ?? [], last = minutes.length ? minutes : [0], where = last.length - 1 - back;
      row.minutes = last.map((n, i) => (i === where ? n + more : n));
    }
  }
  return any;
}
