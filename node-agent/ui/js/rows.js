/**
 * The rows that have a place, and those that wait for one. Live changes replace rows where they stand: nothing here moves a row
 * but `adopt` and a reading that the user asked for. Rows that are gone stay as `resolved` until then.
 */
import { compare, count as counted, rank, workloadName } from "./words.js";
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
    const key = `${row.namespace ?? ""} ${workloadName(row)}`;
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

/** Takes over an answer with all rows: `user` in a new order, `live` each row where it stands. */
export function replace(answer, kind) {
  const before = state.chart, had = (before?.rows ?? []).some((row) => row.code && !row.left);
  const next = { ...answer, missing: answer.missing ?? [], declared: answer.declared ?? [] };
  if (kind === "user" || !had) {
    waiting = new Map();
    state.chart = next;
    return place(sorted(answer.rows));
  }
  const fresh = new Map(answer.rows.map((row) => [row.fingerprint, row])), silent = new Set(next.missing.map((one) => one.node));
  const rows = before.rows.map((row) => fresh.get(row.fingerprint) ?? gone(row, silent));
  waiting = new Map([...fresh].filter(([fingerprint]) => !places.has(fingerprint)));
  state.chart = next;
  place(rows);
}

/** A row that an answer does not hold any more: resolved, or of nodes that do not answer. */
function gone(row, silent) {
  if (row.left) return row;
  const unknown = row.nodes.filter((node) => silent.has(node));
  if (unknown.length) return { ...row, silent: unknown };
  return row.code ? { ...row, silent: undefined, state: "resolved", left: true, minutes: [] } : { ...row, silent: undefined, left: true };
}

/** Takes over an answer for some fingerprints: a row that it does not hold is gone. */
export function merge(answer, asked) {
  const fresh = new Map(answer.rows.map((row) => [row.fingerprint, row])), silent = new Set((answer.missing ?? []).map((one) => one.node));
  if (!state.chart) return;
  const rows = state.chart.rows, unseen = !rows.some((row) => row.code && !row.left);
  for (const fingerprint of asked) {
    const row = fresh.get(fingerprint), at = places.get(fingerprint);
    if (at !== undefined) rows[at] = row ?? gone(rows[at], silent);
    else if (row) waiting.set(fingerprint, row);
    else waiting.delete(fingerprint);
  }
  // Where there was nothing, nothing can move.
  if (unseen && waiting.size) return adopt();
  state.chart.rows = [...rows];
  state.waiting = [...waiting.values()];
}

/** Gives the waiting rows a place, and takes away those that are gone. */
export function adopt() {
  const rows = [...state.chart.rows.filter((row) => !row.left && !row.silent), ...waiting.values()];
  waiting = new Map();
  place(sorted(rows));
}

/** Lets the minutes go by until `time`. Returns true if one did. */
export function roll(time) {
  const here = Math.floor(time / MINUTE), by = here - minute;
  if (!(by > 0)) return false;
  if (minute) for (const row of all()) if (row.minutes?.length) row.minutes = [...row.minutes, ...Array(Math.min(by, MINUTES)).fill(0)].slice(-MINUTES);
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
    if (!row || row.left || Date.parse(item.lastSeen) < (Date.parse(row.lastSeen ?? "") || 0)) continue;
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
