/** Puts the page together: what the state says is drawn here, and only here. */
import { announce } from "./announce.js";
import { drawChart } from "./chart.js";
import { follow, show, start } from "./data.js";
import { drawDetail } from "./detail.js";
import { at, button, el, fill, shown } from "./dom.js";
import { copyLink } from "./export.js";
import { clearAll, drawFilters, openSheet } from "./filters.js";
import { describe, isFiltered, matches, matchesDeclared, SEVERITIES, STATES } from "./filter.js";
import { drawHeader, scopeName, tickHeader } from "./header.js";
import { begin as beginKeys } from "./keyboard.js";
import { drawList } from "./list.js";
import { begin as beginPopups, closeMenu } from "./popup.js";
import { begin as beginState, go, now, state, subscribe } from "./state.js";
import { drawState, sentence, stateOf } from "./states.js";
import { drawStrip, isUnreachable, onNodes, tickStrip } from "./strip.js";
import { drawTable } from "./table.js";
import { many } from "./words.js";

/** Width of the chart on paper, in pixels. */
const PAPER = 700;
/** Pixels that header, strip, filters and legend take, height of a row, and the fewest rows of the chart. */
const AROUND = 300, ROW = 24, FEWEST = 16;

const isOpen = (row) => row.code && row.state === "open" && !row.left && !row.silent;
/** True if the row is shown: rows that went away stay, whatever the states that are shown. */
const passes = (row, filters, time) => matches(row, row.left ? { ...filters, state: STATES } : filters, time);

/** What is shown and counted: rows by the filters, those that wait, and counts. */
function look() {
  const time = now(), { filters, chart } = state, all = chart?.rows ?? [], rows = all.filter((row) => passes(row, filters, time));
  const waiting = state.waiting.filter((row) => row.code && matches(row, filters, time));
  const any = { ...filters, severity: [] }, counts = {};
  for (const row of [...all, ...state.waiting]) if (isOpen(row) && matches(row, any, time)) counts[row.severity] = (counts[row.severity] ?? 0) + 1;
  if (state.totals) for (const severity of SEVERITIES) counts[severity] = Math.max(counts[severity] ?? 0, state.totals[severity] ?? 0);
  const declared = (chart?.declared ?? []).filter((one) => matchesDeclared(one, filters));
  const open = [...rows, ...waiting].filter(isOpen), accepted = [...rows, ...waiting].filter((row) => row.code && row.state === "suppressed").length;
  return { time, all, rows, waiting, counts, declared, open, accepted, found: all.filter((row) => row.code && !row.left && !row.silent).length };
}

/** The sentence over everything. */
function headline({ open }) {
  const of = (code) => open.filter((row) => row.code === code).length, outside = of("undeclared-external"), called = of("undeclared-active"), where = onNodes();
  if (outside) return `${many(outside, "undeclared port is", "undeclared ports are")} reached from outside the cluster${called ? `, ${called.toLocaleString("en")} more ${called === 1 ? "is" : "are"} called by pods` : ""}${where}.`;
  if (called) return `${many(called, "undeclared port is", "undeclared ports are")} called by pods, none from outside the cluster${where}.`;
  return `${many(open.length, "port")} to look at, none of them called by pods or from outside${where}.`;
}

function drawHead(seen, kind) {
  const text = kind ? sentence(kind) : headline(seen), outside = seen.open.filter((row) => row.code === "undeclared-external").length;
  if (at("say").textContent !== text) at("say").textContent = text;
  document.title = shown(`${scopeName()}: ${kind ? sentence(kind) : outside ? `${many(outside, "port")} reached from outside` : `${many(seen.open.length, "port")} to look at`} · portolan`);
  const findings = seen.rows.reduce((sum, row) => sum + (row.left || row.silent ? 0 : (row.findings?.length ?? 0) + (row.moreFindings ?? 0)), 0);
  fill(at("head"), kind ? [] : [
    el("h2", {}, isFiltered(state.filters) ? `${seen.open.length.toLocaleString("en")} of ${many(seen.found, "port")}` : `${many(seen.open.length, "port")} to look at`, seen.accepted > 0 && `, ${seen.accepted.toLocaleString("en")} accepted`),
    el("span", { class: "aside" }, `${many(findings, "finding")}, by workload`),
  ]);
  const n = seen.waiting.length, left = seen.rows.filter((row) => row.left && row.code).length;
  const news = [n && `${n.toLocaleString("en")} new`, left && `${left.toLocaleString("en")} resolved`].filter(Boolean).join(", ");
  if (at("news").dataset.text !== news) {
    at("news").dataset.text = news;
    fill(at("news"), news && button({ show: "" }, { class: "pill" }, `${news}, ${n ? "show" : "tidy up"}`));
  }
  announceNews(seen);
}

let announced = new Set();
/** Announces rows that came to wait since the last time. */
function announceNews({ waiting }) {
  const fresh = waiting.filter((row) => !announced.has(row.fingerprint) && row.state === "open");
  announced = new Set(waiting.map((row) => row.fingerprint));
  if (!fresh.length) return;
  unsaid = [...unsaid, ...fresh].slice(-500);
  const worst = SEVERITIES.find((severity) => unsaid.some((row) => row.severity === severity));
  announce("news", `${unsaid.length} new, worst ${worst}.`, { said: () => { unsaid = []; } });
}
let unsaid = [];

function drawNarrow() {
  const host = at("narrow");
  if (!host.firstChild) {
    fill(host, el("div", { class: "seg", role: "group", "aria-label": "View" }, button({ tab: "list" }, {}, "Findings"), button({ tab: "chart" }, {}, "Chart")), button({ sheet: "" }, { class: "pick", id: "sheet-button" }, "Filters"));
  }
  for (const hit of host.querySelectorAll("[data-tab]")) hit.setAttribute("aria-pressed", String(hit.dataset.tab === state.tab));
  const n = describe(state.filters).filter((chip) => chip.name !== "q" && chip.name !== "severity").length;
  at("sheet-button").textContent = n ? `Filters (${n})` : "Filters";
}

/** Rows with a finding that are shown, in their order: what "next" and "previous" go through. */
const steps = () => (state.chart?.rows ?? []).filter((row) => row.code && passes(row, state.filters, now()));

function drawAll() {
  const seen = look(), kind = stateOf(seen.rows, seen.found), whole = state.view === "table" && !kind, main = at("main");
  const row = state.port && [...seen.all, ...state.waiting].find((one) => one.fingerprint === state.port), detailed = Boolean(row) && !whole;
  at("skip").href = whole ? "#table" : "#side";
  state.absent = Boolean(state.port && !row && state.chart);
  drawHeader(at("top"));
  drawStrip(at("strip"));
  drawFilters(at("filters"), { all: [...seen.all, ...state.waiting], counts: seen.counts });
  drawNarrow();
  drawHead(seen, kind);
  const empty = Boolean(kind) && !seen.rows.length;
  main.className = [whole && "tabled", detailed && "detailed", state.tab === "chart" && "charted", isUnreachable() && "stale", empty && "void"].filter(Boolean).join(" ");
  at("chart-pane").hidden = (whole && !state.printing) || empty;
  at("side").hidden = whole;
  at("head").hidden = detailed;
  at("table").hidden = !whole && !state.printing;
  const ctx = { state, rows: seen.rows.filter((one) => one.code), now: seen.time, go };
  if (!at("table").hidden) drawTable(at("table"), ctx);
  if (!at("side").hidden && !state.printing) {
    if (detailed) drawDetail(at("side"), { ...ctx, row });
    else if (kind) drawState(at("side"), kind, seen.found);
    else drawList(at("side"), ctx);
  }
  if (!at("chart-pane").hidden && (state.width > 720 || state.tab === "chart" || state.printing)) {
    drawChart(at("chart-pane"), { rows: seen.rows, declared: seen.declared, filters: state.filters, folds: state.folds, now: seen.time, port: state.port, width: state.printing ? PAPER : at("chart-pane").clientWidth, budget: Math.max(FEWEST, Math.floor((innerHeight - AROUND) / ROW)) });
  }
}

/** Draws, and keeps the focus where it was: on the same thing, if it was made anew. */
function draw() {
  const was = document.activeElement, host = was?.closest?.("[id]"), key = was?.id ? `#${CSS.escape(was.id)}` : [...Object.entries(was?.dataset ?? {})].map(([name, value]) => `[data-${name.replace(/[A-Z]/gu, (c) => `-${c.toLowerCase()}`)}="${CSS.escape(value)}"]`).join("");
  drawAll();
  if (!was || was === document.body || (was.isConnected && was.offsetParent !== null) || document.activeElement !== document.body) return;
  const again = key && (at(host?.id ?? "")?.querySelector(key) ?? document.querySelector(key));
  (again && again.offsetParent !== null ? again : at("main")).focus({ preventScroll: true });
}

let timer = 0, cost = 0, drawnAt = 0;
/** Draws soon: changes that come together are drawn once, and drawing takes a fifth of the time at most. */
function later() {
  if (timer) return;
  const rest = Math.max(0, drawnAt + Math.min(cost * 4, 1000) - performance.now());
  timer = setTimeout(() => {
    timer = 0;
    const began = performance.now();
    drawNow();
    cost = performance.now() - began;
  }, document.hidden ? 2000 : Math.max(16, rest));
}
function drawNow() {
  draw();
  drawnAt = performance.now();
}

/** Opens the next or previous finding. */
function step(by) {
  const list = steps(), here = list.findIndex((row) => row.fingerprint === state.port);
  const to = list[here < 0 ? (by > 0 ? 0 : list.length - 1) : Math.max(0, Math.min(list.length - 1, here + by))];
  if (to) open(to.fingerprint);
}
/** Opens a finding, with the focus on its heading. */
function open(fingerprint) {
  go({ port: fingerprint, ...(state.view === "table" ? { view: "chart" } : {}) });
}
/** Closes the detail, with the focus on its row. Returns false if none was open. */
function close() {
  if (!state.port) return false;
  go({ port: null });
  return true;
}

let shownPort = null;
/** Moves the focus with the detail: to its heading when it opens, back to its row when it closes. */
function followFocus() {
  if (shownPort === state.port) return;
  const before = shownPort;
  shownPort = state.port;
  if (state.port) at("side").querySelector("h2")?.focus({ preventScroll: state.width > 1080 });
  else (document.querySelector(`[data-open="${CSS.escape(before)}"]`) ?? at("main")).focus();
}

function onClick(event) {
  const hit = event.target.closest("button, a");
  if (!hit) return;
  const { open: row, step: by, tab, show: news, sheet, clear, copy } = hit.dataset;
  if (row) open(row);
  else if (by) step(Number(by));
  else if (hit.id === "back" || hit.dataset.back !== undefined) close();
  else if (tab) go({ tab });
  else if (news !== undefined) { show(); at("main").focus({ preventScroll: true }); }
  else if (sheet !== undefined) openSheet();
  else if (clear === "all") clearAll();
  else if (clear) go({ filters: describe(state.filters)[Number(clear)].clear });
  else if (copy === "link") copyLink();
}

function print(on) {
  state.printing = on;
  const chips = describe(state.filters).map((chip) => chip.text).join(", ");
  at("paper").textContent = shown(`${chips ? `Filters: ${chips}` : "No filters: all open and accepted ports"}. ${new Date(now()).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })}.`);
  drawNow();
}

beginState();
beginPopups();
subscribe((why) => {
  if (why === "live") return later();
  follow();
  drawNow();
  followFocus();
});
document.addEventListener("click", onClick);
beginKeys({ step, close });
addEventListener("popstate", () => closeMenu());
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));
addEventListener("resize", () => { if (innerWidth !== state.width) { state.width = innerWidth; closeMenu(); later(); } });
document.addEventListener("visibilitychange", () => { if (!document.hidden) later(); });
let reachable = true;
setInterval(() => {
  if (reachable === isUnreachable()) { reachable = !reachable; later(); }
  if (document.hidden) return;
  tickHeader();
  tickStrip();
}, 1000);
drawNow();
shownPort = state.port;
start();
