/**
 * The one state of the page. What the user chose lives in the URL (`go` changes it, Back undoes a step); what the agents say is put
 * here by feed.js; theme and "single letters off" are kept by the browser.
 */
import { escaped, format, none, parse } from "./filter.js";

/** Maximum number of folds that the URL opens. */
const MAX_FOLDS = 32;

export const state = {
  filters: none(),
  /** `chart` or `table`. */
  view: "chart",
  /** Fingerprint of the row whose detail is open; null if none is. */
  port: null,
  /** Ids of the folds that are open. */
  folds: new Set(),
  /** `list` or `chart`: what a phone shows. */
  tab: "list",
  /** Parameters of the URL that mean nothing, as `name=value`. */
  unknown: [],
  /** `light`, `dark`, or null for the choice of the system. */
  theme: null,
  /** False if single letters do nothing. */
  keys: true,
  /** While paused: since when, and fingerprints of what changed meanwhile (`isMore`: and of others); else null. */
  paused: null,
  /** Last answer of /v1/chart; `rows` are those that have a place, in their order. Null before the first answer. */
  chart: null,
  /** Rows that are new and wait for "show". */
  waiting: [],
  /** Items of /v1/agents; null before the first answer. */
  agents: null,
  /** The stream: `loading`, `live` or `lost`; times in milliseconds of this browser's clock. */
  live: { phase: "loading", since: Date.now(), nextTry: 0, reason: "" },
  /** Time of the last change that an event told, in milliseconds of this browser's clock; 0 if there was none. */
  changed: 0,
  /** Milliseconds by which the agents' clock is ahead of this browser's. */
  skew: 0,
  /** Why the last reading of the lists failed; null if it did not. */
  failed: null,
  /** True if there are more rows than one answer holds: the host filters then, and what it filters out is not here. */
  big: false,
  /** If so, the open rows by severity without a filter of severities, and the other filters for which they hold; else null. */
  totals: null,
  /** The port of the URL, asked for by itself because the list does not hold it: `{fingerprint, row, failed}`, row null if there is none. */
  beyond: null,
  /** Why folds that are open are still counted, by fold. */
  unopened: new Map(),
  /** True if the URL names a port that is not there. */
  absent: false,
  /** True while the page is laid out for paper. */
  printing: false,
  /** Width of the window. */
  width: innerWidth,
};

/** Now by the clock that the times in the answers are from, in milliseconds. */
export const now = () => Date.now() + state.skew;

const drawers = new Set();
/** Calls `draw(why)` after each change: `user` for what the user did, `live` for what came by itself. */
export const subscribe = (draw) => drawers.add(draw);
export const changed = (why) => { for (const draw of drawers) draw(why); };

/** Parameters that are not the page's own but may stand in its URL: the one-time key, which the host takes back by a redirect. */
const FOREIGN = new Set(["key"]);
const OWN = new Set(["q", "severity", "namespace", "caller", "since", "state", "view", "port", "open", "tab"]);

/** Reads the URL's query into the state. */
function read() {
  const params = new URLSearchParams(location.search);
  const one = (name, values) => (values.includes(params.get(name)) ? params.get(name) : values[0]);
  const foreign = (name, values) => (params.has(name) && !values.includes(params.get(name)) ? [`${name}=${params.get(name)}`] : []);
  state.filters = parse(params);
  state.view = one("view", ["chart", "table"]);
  state.tab = one("tab", ["list", "chart"]);
  state.port = params.get("port") || null;
  state.folds = new Set(params.getAll("open").filter(Boolean).slice(0, MAX_FOLDS));
  state.unknown = [...foreign("view", ["chart", "table"]), ...foreign("tab", ["list", "chart"]), ...state.filters.unknown,
    ...[...new Set(params.keys())].filter((name) => !OWN.has(name) && !FOREIGN.has(name)).map((name) => `${name}=${params.get(name)}`)];
}

/** The state as a query without `?`. */
export function query() {
  return [
    format(state.filters),
    ...(state.view === "chart" ? [] : [`view=${state.view}`]),
    ...(state.tab === "list" ? [] : [`tab=${state.tab}`]),
    ...(state.port ? [`port=${escaped(state.port)}`] : []),
    ...[...state.folds].map((fold) => `open=${escaped(fold)}`),
  ].filter(Boolean).join("&");
}

/** The page's address with the state. */
const address = () => `${location.pathname}${query() && `?${query()}`}`;

/**
 * Changes filters, view, port, folds or tab, the URL with them, and draws. A history entry is added, unless nothing changed or
 * `replace` says that the change belongs to the last entry.
 */
export function go(change, { replace = false } = {}) {
  const before = address();
  Object.assign(state, change);
  if (change.filters) state.unknown = [];
  const after = address();
  if (after !== before || replace) history[replace ? "replaceState" : "pushState"](null, "", after);
  changed("user");
}

const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
/** Keeps a choice in this browser; null forgets it. Does nothing where the browser keeps nothing. */
function store(name, value) {
  try { if (value === null) localStorage.removeItem(name); else localStorage.setItem(name, value); } catch { /* A private window may refuse. */ }
}

/** Shows the page light or dark; null as the system does. */
export function setTheme(theme) {
  state.theme = theme;
  store("portolan-theme", theme);
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  changed("user");
}

/** Switches single letters on or off. */
export function setKeys(on) {
  state.keys = on;
  store("portolan-keys", on ? null : "off");
}

/** Reads the URL and what the browser kept, and follows Back and Forward. */
export function begin() {
  read();
  state.keys = stored("portolan-keys") !== "off";
  // first.js has read it.
  state.theme = document.documentElement.dataset.theme ?? null;
  addEventListener("popstate", () => { read(); changed("user"); });
}
