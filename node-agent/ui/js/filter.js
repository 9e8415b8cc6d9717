/**
 * The filters: URL → filters → URL, and whether a row matches. Pure. `GET /v1/chart` filters by the same rules; the cases in
 * tests/filter_cases.json hold for both.
 */

import { SEVERITIES } from "./words.js";

export const STATES = ["open", "suppressed", "resolved"];
/** States that are shown if the URL names none. */
export const DEFAULT_STATES = ["open", "suppressed"];
/** Maximum number of values of one filter, and of characters of one value. What is longer is cut, and named in `unknown`. */
const MAX_VALUES = 64, MAX_LENGTH = 512;

/** Filters that let everything pass: `q` text, `since` a time or a duration, the others lists of values; `state` empty means the default. */
export const none = () => ({ q: "", severity: [], namespace: [], caller: [], since: "", state: [], unknown: [] });

/** True if `since` is a time (RFC 3339) or a duration such as `30m`, `24h`, `7d`. */
const isSince = (text) => /^\d{1,6}[smhd]$/u.test(text) || (/^\d{4}-\d\d-\d\d[Tt]/u.test(text) && !Number.isNaN(Date.parse(text)));

/**
 * Reads the filters of a `URLSearchParams`. Parameters of other parts of the page are ignored; values that mean nothing are kept in
 * `unknown` as `name=value`, so that the page can say so.
 */
export function parse(params) {
  const filters = none();
  const values = (name) => params.getAll(name).flatMap((value) => value.split(",")).map((value) => value.trim()).filter(Boolean);
  const known = (name, list) => {
    const all = values(name);
    filters.unknown.push(...all.filter((value) => !list.includes(value)).map((value) => `${name}=${value}`));
    return list.filter((value) => all.includes(value));
  };
  const named = (name) => {
    const all = [...new Set(values(name))].filter((value) => value !== "-");
    filters.unknown.push(...all.filter((value, i) => i >= MAX_VALUES || value.length > MAX_LENGTH).map((value) => `${name}=${value.slice(0, 40)}…`));
    return all.filter((value, i) => i < MAX_VALUES && value.length <= MAX_LENGTH);
  };
  const q = params.getAll("q").join(" ").trim();
  filters.q = q.slice(0, MAX_LENGTH).trim();
  if (q.length > MAX_LENGTH) filters.unknown.push(`q beyond ${MAX_LENGTH} characters`);
  filters.severity = known("severity", SEVERITIES);
  filters.state = known("state", STATES);
  if (isDefault(filters.state)) filters.state = [];
  filters.namespace = named("namespace");
  filters.caller = named("caller");
  const since = params.get("since")?.trim() ?? "";
  if (isSince(since)) filters.since = since; else if (since) filters.unknown.push(`since=${since}`);
  return filters;
}

const isDefault = (states) => states.length === DEFAULT_STATES.length && DEFAULT_STATES.every((state) => states.includes(state));

/** Escapes a value for a query, and leaves readable what may stand there. What comes out can stand in single quotes of a shell. */
export const escaped = (value) => encodeURIComponent(value).replace(/%(2C|2F|3A|40)/gu, (hex) => decodeURIComponent(hex)).replace(/%20/gu, "+").replace(/'/gu, "%27");

/** The filters as a query without `?`, in one fixed order; empty if nothing is filtered. `parse` reads it back, and so does `/v1/chart`. */
export function format(filters) {
  const list = (name) => (filters[name].length ? [`${name}=${filters[name].map(escaped).join(",")}`] : []);
  return [
    ...(filters.q ? [`q=${escaped(filters.q)}`] : []),
    ...list("severity"),
    ...list("namespace"),
    ...filters.caller.map((value) => `caller=${escaped(value)}`),
    ...(filters.since ? [`since=${escaped(filters.since)}`] : []),
    ...(filters.state.length && !isDefault(filters.state) ? list("state") : []),
  ].join("&");
}

/** True if anything is filtered out beyond the default. */
export const isFiltered = (filters) => format(filters) !== "";

const UNITS = { __proto__: null, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };
/** The time in milliseconds that `since` names, seen from `now`. */
const sinceTime = (since, now) => (/^\d+[smhd]$/u.test(since) ? now - Number.parseInt(since, 10) * UNITS[since.at(-1)] : Date.parse(since));

/** Names of the workload as filters spell it: `namespace/name`. */
const ownerName = (namespace, workload, pod) => [namespace, workload?.name ?? pod].filter(Boolean).join("/");

/** What `q` looks through: one text with a line for each part. Rows are replaced and not changed, so it is made once for each. */
const texts = new WeakMap();
function text(row) {
  let all = texts.get(row);
  if (all === undefined) {
    const callers = (row.callers ?? []).flatMap((c) => [ownerName(c.namespace, c.workload, c.pod), c.pod, c.address, c.node]);
    const port = row.port === undefined ? "" : `${row.port}/${row.protocol ?? ""}`;
    all = [port, row.process, ownerName(row.namespace, row.workload), row.pod, row.image, row.container, row.code, ...callers, ...(row.nodes ?? [])]
      .filter(Boolean).join("\n").toLowerCase();
    texts.set(row, all);
  }
  return all;
}

/** Cuts a list into the values to include and those to exclude (leading `-`). */
function halves(values) {
  const out = values.filter((value) => value.startsWith("-")).map((value) => value.slice(1));
  return { include: values.filter((value) => !value.startsWith("-")), exclude: out };
}

/** True if the caller is what `value` names: `outside`, `nodes`, a namespace, `namespace/workload` or `namespace/pod`, or an address. */
function isCaller(caller, value) {
  const place = value.toLowerCase();
  if (place === "outside") return caller.origin === "external";
  if (place === "nodes") return caller.origin === "node";
  const { namespace, workload, pod, address } = caller;
  return value === address || (namespace !== undefined && (value === namespace || (workload && value === `${namespace}/${workload.name}`) || (pod && value === `${namespace}/${pod}`) || false));
}

/** True if the row is called by what `value` names. Of its callers only some are listed: the code tells that one came from outside. */
const isCalledBy = (row, value) => (value.toLowerCase() === "outside" && row.code === "undeclared-external") || (row.callers ?? []).some((caller) => isCaller(caller, value));

/** True if the row has callers that are not listed: filters do not see them. */
export const hasUnlisted = (row) => row.moreCallers > 0 || row.truncated === true;

/** True if all words of `q` are in the text, and none of those with a leading `-`. */
function hasWords(q, all) {
  return q.toLowerCase().split(/\s+/u).every((word) => (word === "" || word === "-" ? true : word.startsWith("-") ? !all.includes(word.slice(1)) : all.includes(word)));
}

function inNamespace(namespace, values) {
  const { include, exclude } = halves(values);
  return !exclude.includes(namespace) && (!include.length || include.includes(namespace));
}

/** True if the row matches. `now` in milliseconds. Within one filter: or; between filters: and; an exclusion always wins. */
export function matches(row, filters, now) {
  if (!(filters.state.length ? filters.state : DEFAULT_STATES).includes(row.state)) return false;
  if (filters.severity.length && !filters.severity.includes(row.severity)) return false;
  if (filters.namespace.length && !inNamespace(row.namespace, filters.namespace)) return false;
  if (filters.caller.length) {
    const { include, exclude } = halves(filters.caller), called = (value) => isCalledBy(row, value);
    if (exclude.some(called) || (include.length && !include.some(called))) return false;
  }
  if (filters.since && !(Date.parse(row.changedAt ?? row.firstSeen) >= sinceTime(filters.since, now))) return false;
  return !filters.q || hasWords(filters.q, text(row));
}

/** True if the counted declared ports of a workload can match: only namespace and text are known of them. */
export function matchesDeclared(declared, filters) {
  if (filters.severity.length || filters.since || filters.caller.some((value) => !value.startsWith("-"))) return false;
  if (filters.state.length && !filters.state.includes("open")) return false;
  return inNamespace(declared.namespace, filters.namespace)
    && (!filters.q || hasWords(filters.q, [ownerName(declared.namespace, declared.workload), declared.pod].filter(Boolean).join("\n").toLowerCase()));
}

const TIMES = { __proto__: null, "1h": "in the last hour", "24h": "in the last 24 hours", "7d": "in the last 7 days", "30d": "in the last 30 days" };
const STATE_WORDS = { __proto__: null, open: "open", suppressed: "accepted", resolved: "resolved" };
/** What `since` means in words. */
export const sinceWords = (since) => (since ? TIMES[since] ?? `since ${since}` : "any time");
/** The states in words, such as `open, accepted`. */
export const stateWords = (states) => (states.length ? states : DEFAULT_STATES).map((state) => STATE_WORDS[state]).join(", ");

/** The active filters in words, one by one: `{name, text, clear}`; `clear` are the filters without it. */
export function describe(filters) {
  const without = (name, value) => ({ ...filters, [name]: filters[name].filter((one) => one !== value) });
  const named = (name, words) => filters[name].map((value) => {
    const not = value.startsWith("-");
    return { name, text: `${words}${not ? " not" : ""} ${not ? value.slice(1) : value}`, clear: without(name, value) };
  });
  return [
    ...(filters.q ? [{ name: "q", text: `“${filters.q}”`, clear: { ...filters, q: "" } }] : []),
    ...filters.severity.map((value) => ({ name: "severity", text: value, clear: without("severity", value) })),
    ...named("namespace", "namespace"),
    ...named("caller", "called by"),
    ...(filters.since ? [{ name: "since", text: `changed ${sinceWords(filters.since)}`, clear: { ...filters, since: "" } }] : []),
    ...(filters.state.length ? [{ name: "state", text: `state ${stateWords(filters.state)}`, clear: { ...filters, state: [] } }] : []),
  ];
}
