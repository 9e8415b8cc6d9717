/** The list of agents: which answer, of which version, what they lost, and what is amiss with them. */
import { bdi, el } from "./dom.js";
import { openDialog } from "./popup.js";
import { now, state } from "./state.js";
import { since } from "./words.js";

/** Maximum number of agents that are listed; those with trouble come first. */
const MOST = 1000;
const ORDER = { __proto__: null, down: 0, starting: 1, asking: 2, up: 3 };
const WORDS = { __proto__: null, up: "answers", down: "silent", starting: "starting", asking: "being asked" };

function line(agent) {
  const lost = Object.entries(agent.lost ?? {}).filter(([, n]) => n > 0).map(([reason, n]) => `${n.toLocaleString("en")} ${reason}`);
  const troubles = [agent.reason, ...(agent.amiss ?? []), ...(agent.lacks ?? []).map((what) => `cannot tell: ${what}`)].filter(Boolean);
  return el("tr", {},
    el("th", { scope: "row" }, bdi(agent.node)),
    el("td", {}, el("span", { class: `dot ${agent.state}`, "aria-hidden": "true" }), WORDS[agent.state] ?? agent.state, el("span", { class: "mute" }, ` since ${since(agent.since, now())}`)),
    el("td", {}, bdi(agent.version ?? "")), el("td", {}, bdi(agent.kernel ?? "")),
    el("td", { class: "num" }, agent.pods?.toLocaleString("en") ?? ""), el("td", { class: "num" }, (agent.listeners ?? 0).toLocaleString("en")),
    el("td", {}, bdi(lost.join(", ") || "nothing")), el("td", {}, bdi(troubles.join("; "))));
}

/** Opens the list of agents, as it is now. */
export function openAgents() {
  openDialog("agents", state.agents.length > 1 ? `${state.agents.length} agents` : "The agent", () => {
    const worst = (agent) => (ORDER[agent.state] ?? 0) * 2 + (agent.amiss?.length || Object.values(agent.lost ?? {}).some(Boolean) ? 0 : 1);
    const agents = [...state.agents].sort((a, b) => worst(a) - worst(b) || (a.node < b.node ? -1 : 1));
    return [
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Agents" }, el("table", { class: "plain-table" },
        el("thead", {}, el("tr", {}, ["Node", "State", "Version", "Kernel", "Pods", "Listeners", "Lost", "What is amiss"].map((text) => el("th", { scope: "col", class: text === "Pods" || text === "Listeners" ? "num" : "" }, text)))),
        el("tbody", {}, agents.slice(0, MOST).map(line)))),
      agents.length > MOST && el("p", { class: "mute" }, `${agents.length - MOST} more are in /v1/agents.`),
    ];
  });
}
