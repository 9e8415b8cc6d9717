/** What stands in place of the list when there is none: loading, empty, filtered to nothing, unreachable. */
import { button, el, bdi } from "./dom.js";
import { describe } from "./filter.js";
import { rose } from "./marks.js";
import { state } from "./state.js";
import { isUnreachable, missing, nodeCounts, onNodes } from "./strip.js";
import { many, unjudged, unjudgedWords } from "./words.js";

/** Which state the page is in: `loading`, `unreachable`, `empty`, `filtered`, or null if there are rows to show. `all` counts rows without the filters. */
export function stateOf(rows, all) {
  if (!state.chart) return isUnreachable() || state.failed ? "unreachable" : "loading";
  if (rows.some((row) => row.code)) return null;
  if (nodeCounts().asking) return "loading";
  return describe(state.filters).length ? (rows.length && all ? null : "filtered") : "empty";
}

const bones = () => Array.from({ length: 7 }, () => el("div", { class: "bones", "aria-hidden": "true" }, el("span", { class: "bone short" }), el("span", { class: "bone" })));
const sign = (title, ...parts) => el("div", { class: "state" }, rose(), el("h2", {}, title), parts);

/** The sentence for the head of the page. */
export function sentence(kind) {
  if (kind === "loading") return "Asking the agents…";
  if (kind === "unreachable") return "Nothing is known yet.";
  if (kind === "filtered") return "Nothing matches the filters.";
  return missing().length || unjudged(state.chart) ? `Nothing found${onNodes()}.` : "Every open port is declared.";
}

/** Draws the state. `all`: number of rows with findings without the filters. */
export function drawState(host, kind, all) {
  host.className = "side card";
  if (kind === "loading") return host.replaceChildren(...bones());
  if (kind === "unreachable") return host.replaceChildren(sign("No answer yet", el("p", {}, "The page tries again by itself. Is the agent running, or the connection to the cluster still open?")));
  if (kind === "filtered") {
    const chips = describe(state.filters);
    return host.replaceChildren(sign(chips.length > 1 ? "These filters leave nothing" : "This filter leaves nothing",
      el("p", {}, chips.map((chip, i) => [i > 0 && ", ", bdi(chip.text)]), state.big ? "." : `. Without ${chips.length > 1 ? "them" : "it"}: ${many(all, "port")} with findings.`),
      el("p", { class: "buttons" }, chips.length > 1 && chips.map((chip, i) => button({ clear: i }, { class: "chip" }, "Without ", bdi(chip.text, { class: "cut" }))), button({ clear: "all" }, { class: "main-button" }, chips.length > 1 ? "Clear all" : "Clear"))));
  }
  const partial = missing().length > 0, { totals } = state.chart, waiting = unjudged(state.chart);
  return host.replaceChildren(sign(waiting ? "Nothing found so far" : partial ? "No undeclared ports so far" : "No undeclared ports",
    el("p", {}, partial ? "The nodes that are missing may hold what these do not." : waiting ? "What is found appears here within seconds." : "Every port that a pod opens is declared by its manifest, or expected by another part of it. A new one appears here within seconds."),
    el("p", { class: "mute" }, `${many(totals.listeners, "listening port")} of ${many(totals.pods, "pod")} ${totals.listeners === 1 ? "was" : "were"} looked at.${unjudgedWords(waiting)}${totals.suppressed ? ` ${many(totals.suppressed, "port is", "ports are")} accepted.` : ""}`)));
}
