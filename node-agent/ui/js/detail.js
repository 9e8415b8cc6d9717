/**
 * The detail of a port, in the list's place: its story, the way in, its connections, what to do, and who serves it. What is asked
 * for comes later: each part says so, or says why it did not come. Parts that did not change stay as they are.
 */
import { detail, detailKey, kindKey } from "./feed.js";
import { bdi, button, el, shown, svg } from "./dom.js";
import { copy } from "./export.js";
import { keepNear, keyed, number, part, phrase } from "./list.js";
import { bars, mark } from "./marks.js";
import { changed } from "./state.js";
import { ago, bytes, callerName, clock, count, door, guess, isGone, isUnjudged, lastKnown, many, perMinute, server, short, since, standing, story, unit, whole, workloadName } from "./words.js";

const TABS = { __proto__: null, "shut-out": "Shut it out", declare: "Declare it", accept: "Accept it" };
const NOBODY = "nobody so far";
/** Milliseconds from the last part to the next asking while the row's kind is the same: new callers may come all the time. */
const PAUSE = 5000;

/**
 * The detail that stands here: `more` are the parts that came (`finding`, `explanation`, `remedies`; null is none, a part under way is
 * missing), `failed` the reasons of those that did not, `tab` the chosen draft, `asked` and `kind` what they were asked for, `at` when the last came.
 */
let current = null;
const begin = (fingerprint) => {
  current?.requests?.abort();
  current = { fingerprint, more: {}, failed: {}, tab: 0, asked: null, kind: "", at: 0, timer: 0, requests: null };
};

/** Asks for the rest, once for each state of the row and its callers. What is there stays until the new part comes. */
function ask(row, redraw) {
  const mine = current, asked = detailKey(row), kind = kindKey(row), isFirst = !mine.asked, rest = isFirst || mine.kind !== kind ? 0 : Math.min(PAUSE, mine.at + PAUSE - Date.now());
  if (mine.asked === asked || row.left) return;
  if (rest > 0) {
    mine.timer ||= setTimeout(() => { mine.timer = 0; if (current === mine) changed("live"); }, rest);
    return;
  }
  mine.requests?.abort();
  let missing = 3;
  Object.assign(mine, { asked, kind, at: Infinity, requests: new AbortController() });
  detail(row, (name, part, reason) => {
    mine.more = { ...mine.more, [name]: part };
    mine.failed = { ...mine.failed, [name]: reason };
    missing -= 1;
    if (!missing) mine.at = Date.now();
    // What is being selected must not be drawn over by parts that are asked for again.
    if (current !== mine) return;
    if (isFirst) redraw(); else changed("live");
  }, mine.requests.signal);
}

/** True while one of these parts is under way. */
const isUnderWay = (row, ...names) => !row.left && names.some((name) => current.more[name] === undefined);
/** Says that something did not come, with a way to ask for it again. */
const failure = (text) => el("p", { class: "hint warn" }, phrase(text), ". ", button({ again: "" }, { class: "link" }, "Try again"));

/** `203.0.113.9, outside the cluster`. */
function callerText(row, peers) {
  const wanted = (origin) => (row.code === "undeclared-external" ? origin === "external" : row.code === "undeclared-active" ? origin === "pod" || origin === "service" : true);
  const peer = peers?.find((one) => wanted(one.origin)) ?? peers?.[0], caller = row.callers?.find((one) => wanted(one.origin)) ?? row.callers?.[0];
  if (!peer && !caller) return [row.truncated ? "others, not listed" : count(row) ? "not known" : NOBODY, null];
  const one = peer ?? caller, where = { external: "outside the cluster", node: "the node itself", "same-pod": "in the same pod", service: "through a Service" }[one.origin];
  const name = peer ? peer.ref ?? (peer.via?.client ?? peer.address) : callerName(caller);
  return [[name, peer?.callerNode && `node ${peer.callerNode}`, where].filter(Boolean).join(", "), peer?.via ?? null];
}

/** The door that the caller took, or the first that leads to the port. */
function doorText(entry, via) {
  const at = (entry?.addresses ?? []).join(", ");
  const words = { nodePort: `NodePort ${entry?.port}, ${at || "any address of any node"}`, loadBalancer: `LoadBalancer ${at}, port ${entry?.port}`, externalIP: `external IP ${at}, port ${entry?.port}`, clusterIP: `ClusterIP ${at}, port ${entry?.port}`,
    headless: `${at}, port ${entry?.port}`, hostPort: `host port ${entry?.port} of the node`, hostNetwork: `the node’s own addresses, port ${entry?.port}`, podAddress: `the pod’s own address ${at}, port ${entry?.port}`, loopback: "loopback, from within the pod only" };
  return (entry && words[entry.kind]) ?? (via ? `${door(via.kind).replace("via ", "")} ${via.address}, port ${via.port}`.trim() : "");
}

/** The steps from the caller to the process: `[[what, text], …]`. */
function way(row, { finding, explanation }) {
  const end = explanation?.ends?.find((one) => one.port === row.port && (!row.protocol || one.protocol === row.protocol)) ?? explanation?.ends?.[0];
  const [caller, via] = callerText(row, finding?.traffic?.peers), doors = end?.doors ?? [], taken = doors.find((one) => via && one.kind === via.kind && one.port === via.port) ?? doors.find((one) => !via && one.kind === row.callers?.[0]?.via) ?? (via ? null : doors[0]);
  const listener = end?.listener ?? finding?.listener, { process } = listener ?? {}, service = taken?.service ?? null, pod = end?.pod ?? finding?.pod;
  const steps = [["Caller", caller], ["Door", doorText(taken, via) + (doors.length > 1 ? `; ${many(doors.length - 1, "more way", "more ways")} in` : "")]];
  if (service) steps.push(["Service", `${service.namespace}/${service.name}, port ${service.port.port} to targetPort ${service.port.targetPort}`]);
  else if (via?.ref) steps.push(["Service", via.ref]);
  const container = listener?.container?.name ?? row.container;
  steps.push(["Pod", [pod?.name ?? row.pod ?? "no known pod", container && `container ${container}`, row.nodes?.length && `on ${row.nodes[0]}${row.pods > 1 ? `, and ${many(row.pods - 1, "more pod")}` : ""}`].filter(Boolean).join(", ")]);
  const addresses = (listener?.addresses ?? []).join(", ");
  steps.push(["Process", isGone(row) && !listener ? "nobody listens" : `${process?.name ?? server(row)}${process ? ` (pid ${process.pid})` : ""}${addresses ? `, listens on ${addresses}` : ""}`]);
  return steps.filter(([, text]) => text);
}

/** Connections per minute of the last hour, and the sums. */
function traffic(row, ctx) {
  const minutes = perMinute(row, ctx.now), max = minutes && Math.max(...minutes), what = unit(row), time = (back) => el("span", {}, clock(ctx.now - back * 60e3));
  const stats = [[whole(count(row)), many(count(row), what).split(" ").at(-1)], what === "connection" && [whole(row.attempts), row.attempts === 1 ? "attempt" : "attempts"], [bytes(row.bytes), "in and out"], row.lastSeen && [ago(row.lastSeen, ctx.now), "last"]];
  return el("section", {},
    el("h3", {}, what === "packet" ? "Packets" : "Connections", el("span", { class: "aside" }, !minutes ? "per minute: not known" : max ? `last hour, at most ${short(max)} in a minute` : "none in the last hour")),
    minutes && [bars(minutes, 456 / 60, 5, 40)].map(([some, none]) => svg("svg", { class: "big", viewBox: "0 0 456 40", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "z", d: none }), svg("path", { d: some }))),
    minutes && el("div", { class: "axis", "aria-hidden": "true" }, [60, 30, 0].map(time)),
    el("div", { class: "stats" }, stats.filter(Boolean).map(([n, text]) => el("span", {}, el("b", {}, n), ` ${text}`))));
}

function callerList(row) {
  const all = row.callers ?? [], rest = [row.moreCallers && many(row.moreCallers, "more caller"), row.truncated && `${whole(all.length + (row.moreCallers ?? 0))} callers are known, more came`].filter(Boolean).join("; ");
  if (all.length < 2 && !rest) return null;
  return el("section", {}, el("h3", {}, "Callers", rest && el("span", { class: "aside" }, rest)), el("ul", { class: "callers" }, all.map((one) => el("li", {}, bdi(callerName(one), { class: "cut" }),
    el("span", { class: "mute" }, [one.workload?.kind, one.node && one.namespace && `on ${one.node}`, door(one.via)].filter(Boolean).join(", ")), el("b", {}, short(count(one, row.protocol)))))));
}

/** The drafts: one tab each, the best first. */
function remedies(row, { remedies: drafts }, redraw) {
  const items = drafts?.items ?? [], heading = el("h3", {}, "What to do"), { failed } = current;
  if (failed.remedies && !items.length) return el("section", {}, heading, failure(`No drafts came: ${failed.remedies}`));
  if (!items.length) return el("section", {}, heading, el("p", { class: "hint" }, isUnderWay(row, "remedies") ? "Asking for drafts…" : drafts || row.left ? "There is nothing to apply." : "This agent makes no drafts: see kubectl portolan declare and kubectl portolan policy."));
  const at = Math.min(current.tab, items.length - 1), item = items[at], code = el("code", {}, shownLines(item.yaml.trimEnd()));
  const choose = (to) => {
    current.tab = (to + items.length) % items.length;
    redraw();
    document.getElementById(`remedy-${current.tab}`)?.focus();
  };
  const tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "What to do" }, items.map((one, i) => button({ remedy: i }, { role: "tab", id: `remedy-${i}`, "aria-selected": String(i === at), "aria-controls": "remedy", tabindex: i === at ? 0 : -1 }, TABS[one.kind] ?? one.kind)));
  tabs.addEventListener("click", (event) => { const tab = event.target.closest("[data-remedy]"); if (tab) choose(Number(tab.dataset.remedy)); });
  tabs.addEventListener("keydown", (event) => { const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]; if (by) { event.preventDefault(); choose(at + by); } });
  const press = button({ copy: "" }, { class: "copy", "aria-label": `Copy the draft: ${TABS[item.kind] ?? item.kind}` }, "Copy");
  press.addEventListener("click", () => copy(item.yaml, "Draft", code));
  return el("section", {}, heading, tabs, el("div", { role: "tabpanel", id: "remedy", "aria-labelledby": `remedy-${at}` }, el("p", { class: "hint" }, phrase(item.summary)), item.warnings.map((text) => el("p", { class: "hint warn" }, phrase(text))),
    item.yaml && el("div", { class: "code" }, press, el("pre", { tabindex: "0", "aria-label": "Draft" }, code)), item.command && el("p", { class: "hint" }, "Then: ", el("code", { class: "mono" }, item.command))));
}
/** A draft as text nodes, its lines kept and steering characters written out. */
const shownLines = (text) => text.split("\n").flatMap((line) => [document.createTextNode(`${shown(line)}\n`)]);

/** Who serves it: `[[name, text or parts], …]`; what is not known is left out. */
function facts(row, { finding, explanation }, ctx) {
  const listener = finding?.listener ?? explanation?.ends?.[0]?.listener, container = finding?.container ?? listener?.container, declaration = finding?.declaration ?? listener?.declaration, policy = finding?.policy;
  const policies = { open: "admit callers to it", blocked: "keep everybody out", "not-isolated": "no NetworkPolicy selects these pods", unknown: "not known" }, path = listener?.process?.executable, suppressed = finding?.suppressedBy;
  const others = (listener?.otherProcesses ?? []).map((one) => one.name).join(", "), named = (text) => el("bdi", { class: "mono" }, phrase(text));
  const when = (time) => (time ? `${since(time, ctx.now)} (${shown(time)})` : ""), history = [`first seen ${when(row.firstSeen)}`, row.changedAt && `${row.previousCode ? `changed from ${row.previousCode}` : "changed"} ${when(row.changedAt)}`];
  if (Date.parse(row.firstSeen) <= Date.parse(ctx.state.chart?.startedAt)) history.push(`the agent started ${when(ctx.state.chart.startedAt)}, and knows nothing of before`);
  return [
    ["Executable", path && named(path)], ["Other processes", others], ["Container", (container?.name ?? row.container) && named(container?.name ?? row.container)],
    ["Image", (container?.image ?? row.image) && [named(container?.image ?? row.image), container?.imageDigest && [" ", named(container.imageDigest)]]],
    ["Declared", declaration?.declaredBy?.length ? named(declaration.declaredBy.join(", ")) : { undeclared: "by nobody", explained: "by nobody", declared: "in the manifest", unknown: "not known" }[row.declaration]],
    ["Explained", declaration?.explainedBy?.length ? el("bdi", {}, phrase(declaration.explainedBy.map((one) => `${one.source} ${one.ref}`).join(", "))) : row.declaration === "explained" && row.reason],
    ["Accepted", row.state === "suppressed" && el("bdi", {}, phrase(suppressed ? `by ${suppressed.rule}${suppressed.reason ? `: ${suppressed.reason}` : ""}` : row.reason ?? "by an exception"))],
    ["Policy", policy?.policies?.length ? el("bdi", {}, phrase(policy.policies.join(", ")), `: ${policies[policy.verdict] ?? policy.verdict}`) : policies[row.policy]],
    ["Pods", row.podsTotal ? `${whole(row.pods)} of ${whole(row.podsTotal)}` : whole(row.pods)],
    ["Nodes", el("bdi", {}, phrase((row.nodes ?? []).join(", ")), row.moreNodes > 0 && ` and ${whole(row.moreNodes)} more`)],
    ["History", el("bdi", {}, phrase(history.filter(Boolean).join("; ")))],
  ].filter(([, text]) => text);
}

/** What must be said before all else: that the row is resolved, is filtered out, or is of a node that is silent. */
function remark(row, isListed) {
  if (row.state === "resolved" || row.left) return "Resolved: the port is closed or declared now. What stands here is what was last known.";
  if (row.silent?.length) return `This port is shown ${lastKnown(row)}.`;
  if (isUnjudged(row)) return "Not judged yet: it waits for a finding, or is part of a port storm.";
  return isListed ? "" : "The filters hide this port from the list.";
}

/** The text of what `el` takes: of texts, nodes and lists of them. */
const textOf = (value) => (Array.isArray(value) ? value.map(textOf).join("") : value?.textContent ?? String(value || ""));

function sections(row, ctx, redraw) {
  const { more, failed } = current, list = ctx.rows.filter((one) => one.code), at = list.findIndex((one) => one.fingerprint === row.fingerprint), note = remark(row, ctx.rows.some((one) => one.fingerprint === row.fingerprint));
  const steps = way(row, more), likely = guess(more.finding?.message), known = facts(row, more, ctx), text = story(row, ctx.now), place = at < 0 ? "" : `${whole(at + 1)} of ${whole(list.length)}`;
  const here = [row.fingerprint, row.code, row.state, row.severity], isAsking = isUnderWay(row, "finding", "explanation"), lacks = failed.finding ?? failed.explanation, all = [
    ["nav", place, () => el("nav", { "aria-label": "Finding" }, button({ back: "" }, { class: "plain" }, "← All findings"), el("span", { class: "sp" }, place), button({ step: -1 }, { class: "plain", "aria-label": "Previous finding", disabled: at === 0 || list.length < 2 }, "↑"), button({ step: 1 }, { class: "plain", "aria-label": "Next finding", disabled: at === list.length - 1 || list.length < 2 }, "↓"), button({ copy: "link" }, { class: "plain" }, "Copy link"))],
    ["title", here, () => el("div", { class: "head" }, el("div", { class: "title" }, mark({ severity: row.severity, state: row.state, gone: isGone(row) }, 20), el("h2", { tabindex: "-1" }, number(row)), el("span", { class: `tag ${row.severity ?? ""}` }, standing(row), row.code && el("code", {}, row.code))), el("p", { class: "owner" }, row.workload ? `${row.workload.kind} ` : row.pod ? "Pod " : "", el("b", {}, el("bdi", {}, phrase(workloadName(row))))))],
    note && ["note", note, () => el("p", { class: "note-line" }, note)],
    ["story", [text, likely], () => el("div", {}, el("p", { class: "story" }, phrase(text)), likely && el("p", { class: "aside" }, likely))],
    ["way", [here, steps, lacks, isAsking], () => el("section", {}, el("h3", {}, "The way in", isAsking && el("span", { class: "aside" }, "asking…")), el("ol", { class: `way ${row.severity ?? ""}` }, steps.map(([name, value]) => el("li", {}, el("span", { class: "t" }, name), el("bdi", { class: "v" }, phrase(value))))), lacks && failure(`Some of it did not come: ${lacks}`))],
    ["traffic", [perMinute(row, ctx.now), count(row), row.attempts, row.bytes, row.lastSeen && ago(row.lastSeen, ctx.now), Math.floor(ctx.now / 60e3)], () => traffic(row, ctx)],
    ["callers", [row.callers, row.moreCallers, row.truncated], () => callerList(row) ?? el("span", { hidden: true })],
    row.code && ["todo", [here, more.remedies, isUnderWay(row, "remedies"), failed.remedies, current.tab], () => remedies(row, more, redraw)],
    ["facts", [here, known.map(([name, value]) => [name, textOf(value)])], () => el("section", {}, el("h3", {}, "Who serves it"), el("dl", { class: "facts" }, known.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])))],
  ];
  return all.filter(Boolean).map(([key, sign, make]) => ({ key, sign: JSON.stringify(sign), make }));
}

/** Draws the detail of `ctx.row` into `host`; else `ctx` as for `drawList`. */
export function drawDetail(host, ctx) {
  const { row } = ctx, port = row.fingerprint;
  const root = part(host, "detail", (made) => {
    begin(port);
    made.addEventListener("click", (event) => {
      if (!event.target.closest("[data-again]")) return;
      const came = Object.entries(current.more).filter(([name]) => !current.failed[name]);
      Object.assign(current, { asked: null, failed: {}, more: Object.fromEntries(came) });
      drawDetail(host, made.ctx);
      // The button is gone.
      if (!made.contains(document.activeElement)) made.querySelector("h2")?.focus({ preventScroll: true });
    });
  });
  if (current.fingerprint !== port) begin(port);
  const redraw = () => { if (root.isConnected && current.fingerprint === port) drawDetail(host, root.ctx); };
  root.ctx = ctx;
  root.className = `detail ${row.severity ?? ""}`;
  keepNear(row);
  ask(row, redraw);
  keyed(root, sections(row, ctx, redraw));
}
