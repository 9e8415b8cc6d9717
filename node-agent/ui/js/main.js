/** Puts the page together: what the state says is drawn here, and only here. */
import { announce } from "./announce.js";
import { drawChart } from "./chart.js";
import { follow, othersThanSeverity, show, start } from "./feed.js";
import { drawDetail } from "./detail.js";
import { at, button, el, fill, sameData, shown } from "./dom.js";
import { copyLink } from "./export.js";
import { clearAll, drawFilters, openSheet } from "./filters.js";
import { describe, isFiltered, matches, matchesDeclared, STATES } from "./filter.js";
import { drawHeader, openMore, scopeName, tickHeader } from "./header.js";
import { begin as beginKeys } from "./keyboard.js";
import { drawList } from "./list.js";
import { begin as beginPopups, closeMenu } from "./popup.js";
import { changes, withServed } from "./rows.js";
import { begin as beginState, go, now, state, subscribe } from "./state.js";
import { drawState, sentence, stateOf } from "./states.js";
import { drawStrip, isUnreachable, onNodes, tickStrip } from "./strip.js";
import { drawTable } from "./table.js";
import { many, SEVERITIES, sum, whole } from "./words.js";

/** Width of the chart on paper, in pixels. */
const PAPER = 700;
/** Pixels that header, strip, filters and legend take, height of a row, and the fewest rows of the chart. */
const AROUND = 300, ROW = 24, FEWEST = 16;
/** Changes of one kind that an announcement counts. */
const MOST_UNSAID = 1000;

const isOpen = (row) => row.code && row.state === "open" && !row.left && !row.silent;
/** True if the row is shown: rows that went away stay, whatever the states that are shown. */
const passes = (row, filters, time) => matches(row, row.left ? { ...filters, state: STATES } : filters, time);

/** Number of open rows by severity under the other filters; null where it is not known. */
function severityCounts(rows, time) {
  const { filters, chart, totals } = state, any = { ...filters, severity: [] }, counts = Object.fromEntries(SEVERITIES.map((severity) => [severity, chart ? 0 : null]));
  if (!chart) return counts;
  for (const row of rows) if (isOpen(row) && matches(row, any, time)) counts[row.severity] += 1;
  if (!state.big) return counts;
  // The host filters: of severities that it left out, only an earlier answer knows the number.
  const all = totals?.filters === othersThanSeverity(filters) ? totals.open : null;
  for (const severity of SEVERITIES) {
    // All rows of the severities that are filtered for are here, and follow what happens.
    if (filters.severity.includes(severity) && !chart.totals.unlisted) continue;
    const total = all?.[severity] ?? (all ? 0 : filters.severity.includes(severity) ? chart.totals.open[severity] ?? 0 : null);
    counts[severity] = total === null ? null : Math.max(counts[severity], total);
  }
  return counts;
}

/** What is shown and counted: rows by the filters, those that wait, and counts. `all`, `found` are without filters. */
function look() {
  const time = now(), { filters, chart } = state, all = chart?.rows ?? [], rows = withServed(all).filter((row) => passes(row, filters, time));
  const waiting = state.waiting.filter((row) => row.code && matches(row, filters, time)), shownRows = [...rows, ...waiting], every = [...all, ...state.waiting];
  const declared = (chart?.declared ?? []).filter((one) => matchesDeclared(one, filters)), of = (name) => shownRows.filter((row) => row.code && row.state === name && !row.silent).length;
  const open = shownRows.filter(isOpen), isCut = (chart?.totals?.unlisted ?? 0) > 0, total = isCut ? sum(Object.values(chart.totals.open ?? {})) : 0;
  return {
    time, all, rows, waiting, declared, open, isCut, counts: severityCounts(every, time), openCount: Math.max(open.length, total),
    accepted: of("suppressed"), resolved: of("resolved"), openEver: state.big ? null : every.filter(isOpen).length,
    declaredPorts: rows.filter((row) => !row.code && !row.left).length + sum(declared.map((one) => one.ports)), found: all.filter((row) => row.code && !row.left && !row.silent).length,
  };
}

/** A sentence that holds for the nodes that answer. `isCut`: numbers are of the rows that are listed, and there are more. */
function whereOf(text, isCut) {
  const where = onNodes().trim(), said = `${isCut ? "at least " : ""}${text}`, from = where ? `${where}, ${said}` : said;
  return from[0].toUpperCase() + from.slice(1);
}

/** The sentence over everything. */
function headline({ open, openCount, accepted, resolved, declaredPorts, isCut }) {
  const of = (code) => open.filter((row) => row.code === code).length, outside = of("undeclared-external"), called = of("undeclared-active");
  if (outside) return whereOf(`${many(outside, "undeclared port is", "undeclared ports are")} reached from outside the cluster${called ? `, ${whole(called)} more ${called === 1 ? "is" : "are"} called by pods` : ""}.`, isCut);
  if (called) return whereOf(`${many(called, "undeclared port is", "undeclared ports are")} called by pods, none ${isCut ? "that is listed " : ""}from outside the cluster.`, isCut);
  const isQuiet = openCount === open.length && !open.some((row) => row.connections || row.packets);
  if (open.length) return whereOf(`${many(openCount, "port")} to look at${isQuiet ? ", none of them called" : ""}.`, false);
  const others = [accepted && many(accepted, "accepted port"), resolved && many(resolved, "resolved port")].filter(Boolean).join(" and ") || (declaredPorts ? many(declaredPorts, "declared port") : "");
  return whereOf(others ? `${others}, none to look at.` : "nothing to look at.", false);
}

/** The heading of the list. */
function countWords({ open, openCount, openEver, accepted, resolved, declaredPorts }) {
  const main = isFiltered(state.filters) && openEver !== null && open.length && openCount !== openEver ? `${whole(openCount)} of ${many(openEver, "port")}` : `${many(openCount, "port")} to look at`;
  const others = [accepted && `${whole(accepted)} accepted`, resolved && `${whole(resolved)} resolved`].filter(Boolean);
  if (!open.length && !others.length && declaredPorts) return many(declaredPorts, "declared port");
  return open.length || !others.length ? [main, ...others].join(", ") : others.join(", ");
}

function drawHead(seen, kind) {
  const text = kind ? sentence(kind) : headline(seen), outside = seen.open.filter((row) => row.code === "undeclared-external").length, least = seen.isCut ? "at least " : "";
  if (at("say").textContent !== text) at("say").textContent = text;
  document.title = shown(`${scopeName()}: ${kind ? sentence(kind) : outside ? `${least}${many(outside, "port")} reached from outside` : `${many(seen.openCount, "port")} to look at`} · portolan`);
  const listed = seen.rows.reduce((n, row) => n + (row.left || row.silent ? 0 : (row.findings?.length ?? 0) + (row.moreFindings ?? 0)), 0);
  fill(at("head"), kind ? [] : [el("h2", {}, countWords(seen)), listed > 0 && el("span", { class: "aside" }, `${least}${many(listed, "finding")}, by workload`)]);
  const n = seen.waiting.length, left = seen.rows.filter((row) => row.left && row.code).length;
  const news = [n && `${whole(n)} new`, left && `${whole(left)} resolved`].filter(Boolean).join(", ");
  if (at("news").dataset.text !== news) {
    at("news").dataset.text = news;
    fill(at("news"), news && button({ show: "" }, { class: "pill" }, `${news}, ${n ? "show" : "tidy up"}`));
  }
  announceNews(seen);
}

/** Rows as they were at the last drawing, and what changed since the last announcement, by fingerprint. */
let before = new Map(), unsaid = { fresh: new Map(), worse: new Map(), resolved: new Map() };
/** Announces what is new, worse and resolved since the last time. */
function announceNews({ rows, waiting, all }) {
  const now = changes(before, rows, waiting), any = now.fresh.length + now.worse.length + now.resolved.length;
  before = changes(before, all, state.waiting).after;
  if (!any) return;
  for (const [name, kept] of Object.entries(unsaid)) for (const row of now[name]) if (kept.size < MOST_UNSAID) kept.set(row.fingerprint, row);
  const worst = SEVERITIES.find((severity) => [...unsaid.fresh.values(), ...unsaid.worse.values()].some((row) => row.severity === severity));
  const parts = [["new", unsaid.fresh], ["worse", unsaid.worse], ["resolved", unsaid.resolved]].filter(([, kept]) => kept.size).map(([word, kept]) => `${whole(kept.size)} ${word}`);
  announce("news", `${parts.join(", ")}${worst ? `, worst ${worst}` : ""}.`, { said: () => { unsaid = { fresh: new Map(), worse: new Map(), resolved: new Map() }; } });
}

function drawNarrow() {
  const host = at("narrow");
  if (!host.firstChild) {
    fill(host, el("div", { class: "seg", role: "group", "aria-label": "View" }, button({ tab: "list" }, {}, "Findings"), button({ tab: "chart" }, {}, "Chart")), button({ sheet: "" }, { class: "pick", id: "sheet-button" }, "Filters"), button({ more: "page" }, { class: "pick", id: "more-button", "aria-label": "More: table, pause, copy link, export" }, "⋯"));
  }
  for (const hit of host.querySelectorAll("[data-tab]")) hit.setAttribute("aria-pressed", String(state.view !== "table" && hit.dataset.tab === state.tab));
  const n = describe(state.filters).filter((chip) => chip.name !== "q" && chip.name !== "severity").length;
  at("sheet-button").textContent = n ? `Filters (${n})` : "Filters";
}

/** The row whose detail is open: of the list, of those that wait, or asked for by itself. */
const openRow = (all) => (state.port ? [...all, ...state.waiting, ...(state.beyond?.row ? [state.beyond.row] : [])].find((row) => row.fingerprint === state.port) : undefined);

/** Rows with a finding that are shown, in their order: what "next" and "previous" go through. */
const steps = () => (state.chart?.rows ?? []).filter((row) => row.code && passes(row, state.filters, now()));

/** Draws the detail, unless what is selected in it would be lost. */
function drawOpen(ctx, isHeld) {
  if (!isHeld || shownPort !== state.port) drawDetail(at("side"), ctx);
}

/** Draws everything; `isHeld`: the detail stays as it is. */
function drawAll(isHeld) {
  const seen = look(), kind = stateOf(seen.rows, seen.found), row = openRow(seen.all), detailed = Boolean(row), main = at("main");
  // A detail opened from the table stands beside the chart; closing it leads back to the table.
  const tabled = state.view === "table" && !kind && !detailed;
  at("skip").href = tabled ? "#table" : "#side";
  state.absent = Boolean(state.port && !row && state.chart && state.beyond?.fingerprint === state.port);
  drawHeader(at("top"));
  drawStrip(at("strip"));
  drawFilters(at("filters"), { all: [...seen.all, ...state.waiting], counts: seen.counts });
  drawNarrow();
  drawHead(seen, kind);
  const empty = Boolean(kind) && !seen.rows.length;
  main.className = [tabled && "tabled", detailed && "detailed", state.tab === "chart" && "charted", isUnreachable() && "stale", empty && "void"].filter(Boolean).join(" ");
  at("chart-pane").hidden = (tabled && !state.printing) || empty;
  at("side").hidden = tabled;
  at("head").hidden = detailed;
  at("table").hidden = !tabled && !state.printing;
  const ctx = { state, rows: seen.rows.filter((one) => one.code), now: seen.time, go };
  if (!at("table").hidden) drawTable(at("table"), ctx);
  if (!at("side").hidden && !state.printing) {
    if (detailed) drawOpen({ ...ctx, row }, isHeld);
    else if (kind || !ctx.rows.length) drawState(at("side"), kind ?? "filtered", seen.found);
    else drawList(at("side"), ctx);
  }
  if (!at("chart-pane").hidden && (state.width > 720 || state.tab === "chart" || state.printing)) {
    drawChart(at("chart-pane"), { rows: seen.rows, declared: seen.declared, filters: state.filters, folds: state.folds, now: seen.time, port: state.port, width: state.printing ? PAPER : at("chart-pane").clientWidth, budget: Math.max(FEWEST, Math.floor((innerHeight - AROUND) / ROW)) });
  }
}

/** True if the element is in the page and not hidden. */
const isVisible = (element) => element.isConnected && element.getClientRects().length > 0;

/** Draws, and keeps the focus where it was: on the same thing, if it was made anew. */
function draw(isHeld) {
  const was = document.activeElement, host = was?.closest?.("[id]"), key = was?.id ? `#${CSS.escape(was.id)}` : sameData(was);
  drawAll(isHeld);
  // What was hidden keeps the focus for a while, and then the browser takes it away.
  if (!was || was === document.body || isVisible(was) || ![was, document.body].includes(document.activeElement)) return;
  const same = key && (at(host?.id ?? "")?.querySelector(key) ?? document.querySelector(key));
  (same && isVisible(same) ? same : at("main")).focus({ preventScroll: true });
}

/** Milliseconds for which a selection in the detail is kept from being drawn over. */
const HOLD = 5000;
let selected = 0;
/** True while text in the detail is being selected. */
function isSelecting() {
  const selection = getSelection();
  return Date.now() - selected < HOLD && !selection.isCollapsed && at("side").contains(selection.anchorNode);
}

let timer = 0, cost = 0, drawnAt = 0;
/** Draws soon: changes that come together are drawn once, and drawing takes a fifth of the time at most. */
function later() {
  if (timer) return;
  const rest = Math.max(0, drawnAt + Math.min(cost * 4, 1000) - performance.now());
  timer = setTimeout(() => {
    timer = 0;
    const began = performance.now();
    // The rest of the page goes on; the detail follows afterwards.
    if (isSelecting() && shownPort) setTimeout(later, HOLD);
    drawNow(isSelecting());
    cost = performance.now() - began;
  }, document.hidden ? 2000 : Math.max(16, rest));
}
function drawNow(isHeld = false) {
  draw(isHeld);
  drawnAt = performance.now();
}

/** Opens the next or previous finding. */
function step(by) {
  const list = steps(), here = list.findIndex((row) => row.fingerprint === state.port);
  const to = list[here < 0 ? (by > 0 ? 0 : list.length - 1) : Math.max(0, Math.min(list.length - 1, here + by))];
  if (to) openPort(to.fingerprint);
}
/** Opens a finding, with the focus on its heading. */
const openPort = (fingerprint) => go({ port: fingerprint });
/** Closes the detail, with the focus on its row. Returns false if none was open. */
function close() {
  if (!state.port) return false;
  go({ port: null });
  return true;
}

let shownPort = null;
/** What had the focus when a detail was opened, and for which port: a name in the chart gets it back. */
let opener = { element: null, port: null };
/** Moves the focus with the detail: to its heading when it opens, back to its row when it closes. */
function followFocus(was) {
  if (shownPort === state.port) return;
  const before = shownPort;
  shownPort = state.port;
  if (state.port && !before) opener = { element: was, port: state.port };
  const { element } = opener, isThere = opener.port === before && element?.isConnected && element.closest("#chart-pane button") && element.offsetParent;
  if (state.port) at("side").querySelector("h2")?.focus({ preventScroll: state.width > 1080 });
  else (isThere ? element : [...document.querySelectorAll(`[data-open="${CSS.escape(before)}"]`)].find(isVisible) ?? at("main")).focus();
}

function onClick(event) {
  const hit = event.target.closest("button, a");
  if (!hit) return;
  const { open: row, step: by, tab, show: news, sheet, more, clear, copy } = hit.dataset;
  if (row) openPort(row);
  else if (by) step(Number(by));
  else if (hit.id === "back" || hit.dataset.back !== undefined) close();
  else if (tab) go({ tab, view: "chart" });
  else if (news !== undefined) { show(); at("main").focus({ preventScroll: true }); }
  else if (sheet !== undefined) openSheet();
  else if (more === "page") openMore();
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
  const was = document.activeElement;
  follow();
  drawNow();
  followFocus(was);
});
document.addEventListener("click", onClick);
document.addEventListener("selectionchange", () => { selected = Date.now(); });
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
