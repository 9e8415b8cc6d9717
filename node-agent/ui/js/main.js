// Queries the agent that served this page, and shows the answers. All content of an answer becomes text: no part of it is
// parsed as HTML, because pods choose many of the strings.
"use strict";

const EVERY = 5000; // milliseconds between two refreshes
const LIMIT = 100; // maximum number of findings requested per severity: a page must cost the agent little, however many findings exist
const SEVERITIES = ["critical", "high", "medium", "low", "info"];
const STEERING = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu;

const at = (id) => document.getElementById(id);

/** Returns the text with characters that could reorder or hide text written as escapes, as the commands print it. */
function shown(value) {
  return String(value ?? "-").replace(STEERING, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = shown(text);
  if (SEVERITIES.includes(kind)) made.className = kind;
  return made;
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.json();
}

/** Returns the first findings that match the filter, and their number: `100+` if there are more. */
async function some(filter) {
  const page = await ask(`/v1/findings?${filter}&limit=${LIMIT}`);
  return { items: page.items, count: `${page.items.length}${page.continue === null ? "" : "+"}` };
}

function row(finding) {
  const { pod, listener, traffic } = finding;
  const peers = traffic?.peers ?? [];
  const callers = peers.slice(0, 3).map((peer) => peer.ref ?? `${peer.address} (${peer.origin})`);
  if (peers.length > 3 || traffic?.truncated) callers.push("…");
  const port = finding.port ? `${finding.port}/${finding.protocol}` : "-";
  const line = document.createElement("tr");
  line.append(
    element("td", finding.severity, finding.severity),
    element("td", finding.code),
    element("td", pod ? `${pod.namespace}/${pod.name}` : "-"),
    element("td", port),
    element("td", listener?.process?.name),
    element("td", traffic?.connections),
    element("td", callers.join(", ") || "-"),
    element("td", new Date(finding.firstSeen).toLocaleString()),
    element("td", finding.message),
  );
  return line;
}

function troubles(status) {
  const named = (what, list, fine) =>
    list.filter((one) => !fine(one)).map((one) => `${what} ${one.name}: ${one.state}${one.reason ? `, ${one.reason}` : ""}`);
  const lost = Object.entries(status.lost).filter(([, count]) => count > 0);
  return [
    ...named("hook", status.hooks, (hook) => hook.state === "attaching" || (hook.reason ?? null) === null),
    ...named("source", status.sources, (source) => (source.reason ?? null) === null),
    ...lost.map(([reason, count]) => `lost: ${reason} ${count}`),
  ];
}

async function look() {
  const [status, suppressed, ...open] = await Promise.all([
    ask("/v1/status"),
    some("state=suppressed"),
    ...SEVERITIES.map((severity) => some(`state=open&severity=${severity}`)),
  ]);
  const counts = SEVERITIES.map((severity, at) =>
    element("li", `${open[at].count} ${severity}`, open[at].items.length > 0 ? severity : ""),
  );
  counts.push(
    element("li", `${suppressed.count} suppressed`),
    element("li", `${status.listeners} listeners`),
    element("li", `${status.namespaces} network namespaces`),
  );
  const busiest = (a, b) => (b.traffic?.connections ?? 0) - (a.traffic?.connections ?? 0);
  const findings = open.flatMap((some) => some.items.sort(busiest));
  const isAll = open.every((some) => !some.count.endsWith("+"));
  at("node").textContent = shown(status.node);
  at("counts").replaceChildren(...counts);
  at("troubles").replaceChildren(...troubles(status).map((trouble) => element("li", trouble)));
  at("findings").replaceChildren(...findings.map(row));
  at("caption").textContent = isAll
    ? `Open findings: ${findings.length}`
    : `Open findings: ${LIMIT} of each severity at most; /v1/findings has all`;
  at("state").textContent = `agent ${shown(status.version)}, kernel ${shown(status.kernel)}, as of ${new Date().toLocaleTimeString()}`;
}

async function turn() {
  try {
    if (!document.hidden) await look();
  } catch (error) {
    at("state").textContent = `not up to date: ${shown(error.message)}`;
  }
  setTimeout(turn, EVERY);
}

turn();
