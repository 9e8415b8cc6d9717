/** Help: keys, what the marks mean, and the lists behind the page. */
import { el } from "./dom.js";
import { mark } from "./marks.js";
import { openDialog } from "./popup.js";
import { setKeys, state } from "./state.js";

const KEYS = [
  ["/", "search"], ["j  k", "next, previous finding"], ["1 – 5", "show critical, high, medium, low, info"], ["v", "chart or table"], ["n", "choose namespaces"],
  ["c", "go into the chart"], ["y", "copy the link"], ["p", "pause, resume"], ["?", "this help"], ["Esc", "back"], ["← → ↑ ↓", "in the chart: along a line, within a column"], ["Enter", "in the chart: open"],
];
const MEANING = { critical: "reached from outside the cluster", high: "called by pods, or open on the node’s network", medium: "open to pods, or opened by a debug container", low: "shut off by a policy, or expected by other parts of the manifests", info: "worth knowing" };
const LISTS = [["/v1/findings", "findings"], ["/v1/chart", "ports by workload"], ["/v1/listeners", "listening ports"], ["/v1/connections", "connections"], ["/v1/agents", "agents"], ["/v1/watch", "events"], ["/openapi.json", "description of the API"]];

/** Opens the help. */
export function openHelp() {
  openDialog("help-box", "Keys and help", () => {
    const keys = el("input", { type: "checkbox" });
    keys.checked = state.keys;
    keys.addEventListener("change", () => setKeys(keys.checked));
    return [
      el("div", { class: "columns" },
        el("section", {}, el("h3", {}, "Keys"), el("dl", { class: "keys" }, KEYS.map(([key, what]) => [el("dt", {}, key.split("  ").map((one) => el("kbd", {}, one))), el("dd", {}, what)])), el("label", { class: "check" }, keys, "Single-letter keys on")),
        el("section", {}, el("h3", {}, "Severities"), el("ul", { class: "meanings" }, Object.entries(MEANING).map(([severity, text]) => el("li", {}, mark({ severity }), el("span", {}, el("b", {}, severity), `: ${text}`)))),
          el("h3", {}, "Filters"), el("p", { class: "small" }, "Words are searched in ports, processes, workloads, pods, images, callers, addresses and nodes; all must be found. A leading minus excludes. Within one filter any value is enough; all filters must match.")),
        el("section", {}, el("h3", {}, "Lists behind this page"), el("ul", { class: "lists" }, LISTS.map(([path, what]) => el("li", {}, el("a", { href: path, class: "mono" }, path), ` ${what}`))))),
    ];
  });
}
