/** The header: what is looked at, chart or table, whether it is live, and what can be done with the page. */
import { at, button, el, shown, svg } from "./dom.js";
import { pause } from "./feed.js";
import { copyLink, exportMenu } from "./export.js";
import { openHelp } from "./help.js";
import { rose } from "./marks.js";
import { openDialog, toggleMenu } from "./popup.js";
import { go, setTheme, state } from "./state.js";
import { ago, clock, many } from "./words.js";

/** What is shown, `chart` or `table`: an open detail stands beside the chart, and the table comes back when it closes. */
export const shownView = () => (state.port && !state.absent ? "chart" : state.view);
/** Switches between chart and table. The table takes the whole page: a detail is closed. */
export const setView = (view) => go({ view, ...(view === "table" ? { port: null } : {}) });

/** What a phone's header has no room for. */
export function openMore() {
  openDialog("sheet", "More", () => {
    const act = (text, does) => { const made = button({ close: "" }, { class: "main-button" }, text); made.addEventListener("click", does); return made; };
    return [
      act(shownView() === "table" ? "Show the list" : "Show the table", () => setView(shownView() === "table" ? "chart" : "table")),
      act(state.paused ? "Resume" : "Pause", () => pause(!state.paused)),
      // The dialog that offers links opens after this one closed.
      act("Copy link", () => setTimeout(copyLink)),
      el("h3", {}, "Export"), exportMenu(),
    ];
  });
}

/** Switches between light and dark. */
function toggleTheme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(dark ? "light" : "dark");
}

function build(host) {
  const half = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("circle", { cx: 8, cy: 8, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }), svg("path", { d: "M8 2a6 6 0 0 1 0 12z", fill: "currentColor" }));
  host.replaceChildren(
    el("div", { class: "brand" }, rose(), "portolan"),
    el("div", { class: "scope" }, el("b", {}, el("bdi", { id: "scope", class: "cut" })), el("span", { class: "mute", id: "nodes" })),
    el("div", { class: "seg", role: "group", "aria-label": "View" }, button({ view: "chart" }, {}, "Chart"), button({ view: "table" }, {}, "Table")),
    el("div", { class: "right" },
      el("span", { class: "live", id: "live" }, el("i", { "aria-hidden": "true" }), el("span", {}, el("span", { id: "live-word" }), el("span", { class: "mute wide", id: "live-since" }))),
      button({}, { class: "plain wide", id: "pause" }, "Pause"),
      el("div", { class: "menu wide" }, button({}, { class: "plain", id: "export", "aria-expanded": "false" }, "Export")),
      button({}, { class: "plain", id: "theme", "aria-label": "Switch between light and dark" }, half),
      button({}, { class: "plain", id: "help", "aria-label": "Keys and help" }, el("kbd", {}, "?"))),
  );
  host.addEventListener("click", ({ target }) => {
    const hit = target.closest("button");
    if (hit?.dataset.view) setView(hit.dataset.view);
    else if (hit?.id === "pause") pause(!state.paused);
    else if (hit?.id === "export") toggleMenu(hit, "Export", exportMenu);
    else if (hit?.id === "theme") toggleTheme();
    else if (hit?.id === "help") openHelp();
  });
}

/** What the answer is about: the cluster, else the node. */
export const scopeName = () => state.chart?.cluster ?? state.chart?.node ?? location.host;

/** Draws the header. */
export function drawHeader(host) {
  if (!host.firstChild) build(host);
  const { chart, agents } = state;
  at("scope").textContent = shown(scopeName());
  at("nodes").textContent = chart?.node ? (chart.cluster ? shown(`node ${chart.node}`) : "one node") : agents?.length ? many(agents.length, "node") : "";
  for (const hit of host.querySelectorAll("[data-view]")) hit.setAttribute("aria-pressed", String(hit.dataset.view === shownView()));
  at("pause").textContent = state.paused ? "Resume" : "Pause";
  tickHeader();
}

/** Draws what changes by time alone. */
export function tickHeader() {
  const { live, paused, chart, changed } = state, set = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };
  const on = live.phase === "live" && !paused;
  at("live").classList.toggle("off", !on);
  set("live-word", paused ? "Paused" : on ? "Live" : live.phase === "loading" ? "Asking" : "Not live");
  set("live-since", paused ? `, since ${clock(paused.since)}` : on ? (changed ? `, last change ${ago(new Date(changed).toISOString(), Date.now())}` : ", no change yet") : chart && live.phase === "lost" ? `, as of ${clock(live.since)}` : "");
}
