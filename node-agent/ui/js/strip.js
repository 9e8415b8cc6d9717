/** The strip under the header: which agents answer, and what is missing, lost or paused. */
import { at, bdi, button, el } from "./dom.js";
import { announce } from "./announce.js";
import { openAgents } from "./agents.js";
import { pause, tryNow } from "./feed.js";
import { state } from "./state.js";
import { ago, clock, many, sum, unjudged, unjudgedWords } from "./words.js";

/** Nodes that are named; the others are counted. */
const NAMED = 3;
/** Losses and troubles that are said; the others are in the list of agents. */
const SAID = 2;
/** Milliseconds for which a stream may be away before the strip says so: an agent that restarts is back sooner. */
const PATIENCE = 1500;
/** What losses mean for this page, by their reason; the first that matches counts. */
const LOSSES = [
  [/^(connection-|undecided-connections|recorded-map)/u, "counts are exact"],
  [/^(otlp|stdout|reports|events|state-file|remembered)-/u, "this page is whole"],
  [/^listener(s-map|-ring)-full/u, "the node was scanned again"],
  [/^(conntrack|pod-conntrack)-/u, "some callers may be missing"],
  [/./u, "something may be missing"],
];
/** Reasons whose losses are single records of connections. */
const RECORDS = new Set(["connection-ring-full", "connection-records-limited"]);

const names = (nodes) => [...nodes.slice(0, NAMED), ...(nodes.length > NAMED ? [`${(nodes.length - NAMED).toLocaleString("en")} more`] : [])].join(", ").replace(/, ([^,]*)$/u, " and $1");

/** True if the host has been away for long enough to say so. */
export const isUnreachable = () => state.live.phase === "lost" && Date.now() - state.live.since > PATIENCE;

/** Nodes whose rows are not all here: `[{ node, since, pods }]`, those that `/v1/chart` names and those whose agent is not up. */
export function missing() {
  const all = new Map((state.agents ?? []).filter((agent) => agent.state === "down" || agent.state === "starting").map((agent) => [agent.node, agent]));
  for (const one of state.chart?.missing ?? []) all.set(one.node, { ...all.get(one.node), ...one });
  return [...all.values()];
}

/** Number of nodes, of those whose agent answered, and of those that are still asked. */
export function nodeCounts() {
  const agents = state.agents ?? [], of = (name) => agents.filter((agent) => agent.state === name).length;
  return { all: agents.length, asking: of("asking"), up: agents.length - of("asking") - missing().filter((one) => agents.some((agent) => agent.node === one.node && agent.state !== "asking")).length };
}

/** `" on 11 of 12 nodes"` while rows of some are missing, else the empty text. */
export function onNodes() {
  const { all, up } = nodeCounts();
  return all > up ? ` on ${up.toLocaleString("en")} of ${many(all, "node")}` : "";
}

function lossWords(agents) {
  const lost = new Map();
  for (const agent of agents) for (const [reason, n] of Object.entries(agent.lost ?? {})) {
    if (!(n > 0)) continue;
    const one = lost.get(reason) ?? { n: 0, nodes: [] };
    one.n += n; one.nodes.push(agent.node);
    lost.set(reason, one);
  }
  return [...lost].map(([reason, { n, nodes }]) => {
    const meaning = LOSSES.find(([pattern]) => pattern.test(reason))[1], where = agents.length > 1 ? names(nodes) : "this node";
    return `${RECORDS.has(reason) ? `${many(n, "connection record")} lost` : `${many(n, "record")} lost (${reason})`} on ${where}; ${meaning}.`;
  });
}

/** A trouble in a few words: the list of agents has its reason. */
const brief = (text) => (text.length > 80 ? text.split(": ")[0] : text);

/** What is not as it should be with agents that answer, each a sentence. */
function amissWords(agents) {
  const amiss = agents.filter((agent) => agent.amiss?.length), older = agents.filter((agent) => agent.lacks?.length);
  const what = (list, of) => [...new Set(list.flatMap(of).map(brief))].slice(0, 2).join("; ");
  return [
    amiss.length && `${agents.length > 1 ? `${names(amiss.map((agent) => agent.node))}: ` : ""}${what(amiss, (agent) => agent.amiss)}.`,
    older.length && `${agents.length > 1 ? `Older agents on ${names(older.map((agent) => agent.node))}` : "An older agent"} cannot tell: ${what(older, (agent) => agent.lacks)}.`,
  ].filter(Boolean);
}

/** What the strip says: `{kind, bold, text, rest}`. */
function words() {
  const { live, paused, chart, agents } = state, one = chart?.node !== undefined || agents?.length === 1, subject = !chart ? "The host of this page" : one ? "The agent" : "kubectl portolan ui";
  if (isUnreachable()) {
    return { kind: "bad", bold: `${silenceWords(live.reason, subject, one)}.`, text: "", next: true };
  }
  if (state.failed) return { kind: "bad", bold: "The list cannot be read:", text: ` ${state.failed}.`, again: true };
  if (paused) {
    const n = paused.touched.size, most = paused.isMore ? "more than " : "";
    return { kind: "", bold: `Paused since ${clock(paused.since)}.`, text: paused.all ? " Much changed meanwhile." : n ? ` ${cap(`${most}${many(n, "port")}`)} changed meanwhile.` : " Nothing changed meanwhile.", resume: true };
  }
  if (!agents) return { kind: "calm", bold: "Asking the agents…", text: "" };
  if (!agents.length) return chart ? { kind: "calm", bold: one ? "The agent answers." : "The agents answer.", text: looked() } : { kind: "calm", bold: "Asking the agents…", text: "" };
  const { all, asking, up } = nodeCounts(), away = missing(), answering = agents.filter((agent) => agent.state === "up");
  const lost = lossWords(answering), amiss = amissWords(answering), rest = [...lost, ...amiss];
  const kind = away.length || rest.length ? "" : "calm";
  const hooks = amiss.length ? "" : `Hooks attached on ${away.length || asking ? `the ${many(answering.length, "node")} that ${answering.length === 1 ? "answers" : "answer"}` : many(answering.length, "node")}. `, nothing = lost.length ? "" : `Nothing was lost${away.length || asking ? " there" : ""}. `;
  const tail = { rest: `${hooks}${rest.slice(0, SAID).join(" ")}${rest.length > SAID ? ` ${rest.length - SAID} more in the list of agents.` : ""}${rest.length ? " " : ""}${nothing}` };
  if (asking) return { kind: "calm", bold: `${up} of ${all} agents have answered.`, text: " The others are being asked.", ...tail };
  if (!away.length) return { kind, bold: all === 1 ? "The agent answers." : `All ${all} agents answer.`, text: looked(), ...tail };
  return { kind, bold: `${up} of ${all} agents answer.`, text: awayWords(away), ...tail };
}

const cap = (text) => text[0].toUpperCase() + text.slice(1);

/** Since when nothing is told, and why. `one`: there is one agent only. */
function silenceWords(reason, subject, one) {
  const when = `since ${clock(state.live.since)}`;
  if (reason === "it does not answer") return `${subject} does not answer ${when}`;
  if (reason === "the connection was closed") return `${subject} closed the connection and does not answer ${when}`;
  if (!one && reason.startsWith("503")) return `No agent answers ${when} (503)`;
  return `${subject} tells no changes ${when} (${reason})`;
}

/** `worker-07 is silent since 13:58: its 31 pods are missing here.` */
function awayWords(away) {
  const pods = sum(away.map((one) => one.pods ?? 0)), several = away.length > 1, known = away.every((one) => one.pods !== undefined);
  const [first] = away, times = away.map((one) => Date.parse(one.since)).filter((time) => !Number.isNaN(time)), when = times.length ? ` since ${clock(Math.min(...times))}` : "";
  const what = several ? `${names(away.map((one) => one.node))} do not answer${when && ` (the first${when})`}` : first.state === "starting" ? `${first.node} is starting` : `${first.node} is silent${when}`;
  const whose = several ? "their" : "its";
  return ` ${what}: ${known && pods ? `${whose} ${many(pods, "pod")} ${pods === 1 ? "is" : "are"}` : `${whose} ports are`} missing here.`;
}

/** How much was looked at. */
function looked() {
  const { agents, chart } = state;
  const listeners = agents?.length ? sum(agents.map((agent) => agent.listeners ?? 0)) : chart?.totals.listeners, pods = agents?.every((agent) => agent.pods !== undefined) && agents.length ? sum(agents.map((agent) => agent.pods)) : chart?.totals.pods;
  return listeners === undefined ? "" : ` ${many(listeners, "listening port")} of ${many(pods ?? 0, "pod")} ${listeners === 1 ? "was" : "were"} looked at.${unjudgedWords(unjudged(chart))}`;
}

let drawn = "";
/** Draws the strip, if it says something else than before. */
export function drawStrip(host) {
  const said = words(), unlisted = state.chart?.totals?.unlisted ?? 0;
  const notes = [state.absent && (state.beyond?.failed ? `The port of this address cannot be read: ${state.beyond.failed}.` : "The port of this address is not there: it is gone, or on a node that is missing."), ...[...state.unopened.values()].slice(0, 2), state.unknown.length && `Not understood in the address: ${state.unknown.slice(0, 4).join(", ")}.`, unlisted && `${unlisted.toLocaleString("en")} more rows are not listed: filter to see them.`].filter(Boolean);
  const key = JSON.stringify([said, notes]);
  if (key === drawn) return;
  drawn = key;
  const { kind, bold, text, rest = "", next, again, resume } = said;
  host.className = `strip ${kind === "calm" && notes.length ? "" : kind}`;
  const focused = host.contains(document.activeElement);
  host.replaceChildren(
    el("span", { class: "said" }, el("b", {}, bdi(bold)), bdi(text), next && el("span", { id: "next-try" }), notes.map((note) => el("span", {}, " ", bdi(note)))),
    el("span", { class: "rest" }, rest && el("span", { class: "wide" }, bdi(rest)),
      (next || again) && button({ strip: "try" }, { class: "link" }, "Try now"), resume && button({ strip: "resume" }, { class: "link" }, "Resume"),
      Boolean(state.agents?.length) && button({ strip: "agents" }, { class: "link" }, state.agents.length > 1 ? "All agents" : "The agent")),
  );
  host.onclick = ({ target }) => ({ try: tryNow, resume: () => pause(false), agents: openAgents })[target.closest("[data-strip]")?.dataset.strip]?.();
  if (focused) (host.querySelector("button") ?? at("main")).focus({ preventScroll: true });
  announce("strip", kind === "calm" && !notes.length && !announced ? "" : `${bold}${text} ${notes.join(" ")}`);
  announced = true;
  tickStrip();
}
let announced = false;

/** Counts down to the next try. */
export function tickStrip() {
  const place = at("next-try");
  if (!place) return;
  const left = Math.ceil((state.live.nextTry - Date.now()) / 1000), age = ago(new Date(state.live.since).toISOString(), Date.now());
  const text = ` ${state.chart && age !== "now" ? `What stands here is ${age.replace("ago", "old")}. ` : ""}${left > 0 ? `Next try in ${left} s.` : "Trying…"}`;
  if (place.textContent !== text) place.textContent = text;
}
