/** Keys of the whole page. Single letters can be switched off; keys inside the chart are the chart's. */
import { at } from "./dom.js";
import { pause } from "./feed.js";
import { copyLink } from "./export.js";
import { openMenu, toggleSeverity } from "./filters.js";
import { setView, shownView } from "./header.js";
import { openHelp } from "./help.js";
import { isDialogOpen } from "./popup.js";
import { go, state } from "./state.js";
import { SEVERITIES } from "./words.js";

const WRITTEN = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

/** Puts the focus on the first port of the chart; where it is not shown, it is shown first: instead of the table, on phones of list and detail. */
function intoChart() {
  if (state.width <= 720) go({ view: "chart", tab: "chart", port: null });
  else if (at("chart-pane").hidden) go({ view: "chart" });
  (at("chart-pane").querySelector("button[tabindex='0']") ?? at("chart-pane").querySelector("button"))?.focus();
}

/** Begins to listen. `step(by)` opens the next or previous finding, `close()` the list; it returns false if no detail is open. */
export function begin({ step, close }) {
  const letters = { j: () => step(1), k: () => step(-1), v: () => setView(shownView() === "chart" ? "table" : "chart"), n: () => openMenu("namespace"), c: intoChart, y: copyLink, p: () => pause(!state.paused), "?": openHelp, "/": () => { at("q").focus(); at("q").select(); } };
  addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isDialogOpen()) return;
    if (key === "Escape") { if (close()) event.preventDefault(); return; }
    if (!state.keys || target.closest?.(WRITTEN)) return;
    const does = /^[1-5]$/u.test(key) ? () => toggleSeverity(SEVERITIES[Number(key) - 1]) : letters[key];
    if (does) { event.preventDefault(); does(); }
  });
}
