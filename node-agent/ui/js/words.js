/**
 * Words and numbers of the page: titles of codes, names of callers and workloads, times, and the story of a row. Pure: no
 * function here touches the document or reads a clock. Times are RFC 3339 texts, `now` is in milliseconds. What is returned
 * may hold names that a pod chose: show it as text only.
 */

/** Severities, the worst first. */
export const SEVERITIES = ["critical", "high", "medium", "low", "info"];

/** Short title of each code of a finding. */
export const WORDS = {
  __proto__: null,
  "undeclared-external": "Reached from outside",
  "undeclared-active": "Called by pods",
  "undeclared-host": "Open on the node’s address",
  "undeclared-reachable": "Open to all pods, never called",
  "ephemeral-container": "Opened by a debug container",
  "port-storm": "Very many undeclared ports",
  "undeclared-blocked": "Policy keeps everybody out",
  "undeclared-explained": "Expected, but not declared",
  "dangling-service-port": "A Service sends here, nobody listens",
  "undeclared-loopback": "Loopback only",
  "stale-declaration": "Declared, nobody listens",
  unattributed: "Belongs to no known pod",
  "opaque-runtime": "In a sandbox, ports not seen",
};

/** Severity of each code, as the agent fixes it. */
const SEVERITY = {
  __proto__: null,
  "undeclared-external": 0, "undeclared-active": 1, "undeclared-host": 1, "port-storm": 1, "undeclared-reachable": 2,
  "ephemeral-container": 2, "undeclared-blocked": 3, "undeclared-explained": 3, "dangling-service-port": 3,
  "undeclared-loopback": 4, "stale-declaration": 4, unattributed: 4, "opaque-runtime": 4,
};

/** What the kinds of a dialled address are called. */
const DOORS = {
  __proto__: null,
  clusterIP: "ClusterIP", nodePort: "NodePort", loadBalancer: "LoadBalancer", externalIP: "an external IP", hostPort: "a host port",
  nodeAddress: "the node’s address", proxy: "the pod’s proxy", forwarded: "a forwarding rule",
};

const MINUTE = 60e3, HOUR = 3600e3, DAY = 24 * HOUR;
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** The sum of numbers. */
export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
/** `1,204`. */
export const whole = (n) => (n < 1e3 ? String(n) : String(Math.round(n)).replace(/\B(?=(\d{3})+$)/gu, ","));
/** `1 port`, `2 ports`, `1,204 ports`. */
export const many = (n, one, more = `${one}s`) => `${whole(n)} ${n === 1 ? one : more}`;

/** A number in at most five characters: `37`, `1.2k`, `18k`, `1.1M`, `4.0G`. */
export function short(n) {
  if (n < 1e3) return String(Math.round(n));
  const [by, unit] = n < 999_500 ? [1e3, "k"] : n < 999.5e6 ? [1e6, "M"] : n < 999.5e9 ? [1e9, "G"] : [1e12, "T"];
  return `${n / by < 9.95 ? (n / by).toFixed(1) : Math.round(n / by)}${unit}`;
}

/** A number of bytes: `12 B`, `1.2 MiB`. */
export function bytes(n) {
  let unit = 0, value = n;
  for (; value >= 1023.5 && unit < 5; unit += 1) value /= 1024;
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

/** How long ago: `12 s ago`, `42 min ago`, `5 h ago`, `3 days ago`. Empty without a time. */
export function ago(time, now) {
  const passed = now - Date.parse(time ?? "");
  if (Number.isNaN(passed)) return "";
  if (passed < 2e3) return "now";
  if (passed < MINUTE) return `${Math.floor(passed / 1e3)} s ago`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)} min ago`;
  if (passed < DAY) return `${Math.floor(passed / HOUR)} h ago`;
  return `${many(Math.floor(passed / DAY), "day")} ago`;
}

/** Since when, as people say it: `42 min ago`, `5 h ago`, `yesterday`, `Tuesday`, `3 March`, `3 March 2024`. Local time. */
export function since(time, now) {
  const at = new Date(time ?? ""), today = new Date(now);
  if (Number.isNaN(at.getTime())) return "";
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((midnight(today) - midnight(at)) / DAY);
  if (days <= 0 || now - at < HOUR) return ago(time, now);
  if (days === 1) return "yesterday";
  if (days < 7) return DAYS[at.getDay()];
  return `${at.getDate()} ${MONTHS[at.getMonth()]}${at.getFullYear() === today.getFullYear() ? "" : ` ${at.getFullYear()}`}`;
}

/** `13:58`, local time. `time` in milliseconds or as a text. */
export const clock = (time) => new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** What counts for a row or a caller of it: packets for UDP, else accepted connections. */
export const count = (row, protocol = row.protocol) => (protocol === "UDP" ? row.packets : row.connections) ?? 0;

/** What `count` counts: `connection` or `packet`. */
export const unit = (row) => (row.protocol === "UDP" ? "packet" : "connection");
/** What the sum of two counts is of; the unit of one may be missing. */
export const joint = (one, other) => (one && other && one !== other ? "call" : one ?? other);

/**
 * Counts per minute of the last hour: 60 numbers, the last is of now. Null if they are not known: the answer holds none though something
 * came within the hour. Minutes before the first that the answer holds are zeros.
 */
export function perMinute(row, now) {
  const known = row.minutes ?? [], isQuiet = count(row) === 0 || (Boolean(row.code) && now - Date.parse(row.lastSeen ?? "") >= HOUR);
  if (!known.length && !isQuiet) return null;
  return [...Array(Math.max(0, 60 - known.length)).fill(0), ...known.slice(-60)];
}

/** Place in the order of severities: 0 to 4 open, 5 suppressed, 6 resolved, 9 without a finding. */
export function rank(row) {
  if (!row.code) return 9;
  if (row.state !== "open") return row.state === "suppressed" ? 5 : 6;
  const place = SEVERITIES.indexOf(row.severity);
  return place < 0 ? 4 : place;
}

/** The order everywhere: worst first, then the most called. */
export const compare = (a, b) => rank(a) - rank(b) || count(b) - count(a);

/** True if nobody listens on the port. */
export const isGone = (row) => row.state === "resolved" || row.code === "stale-declaration" || row.code === "dangling-service-port";

/**
 * What changed within 24 hours: `new` (first seen since then, and after the agent's start, before which it knows nothing),
 * `worse` or `better` (its code was of another severity), or the empty text.
 */
export function badge(row, startedAt, now) {
  const recent = (time) => now - Date.parse(time ?? "") < DAY;
  if (!row.code || row.state === "resolved") return "";
  if (recent(row.firstSeen) && Date.parse(row.firstSeen) > (Date.parse(startedAt ?? "") || 0)) return "new";
  const before = SEVERITY[row.previousCode], here = SEVERITY[row.code];
  if (before === undefined || here === undefined || before === here || !recent(row.changedAt)) return "";
  return here < before ? "worse" : "better";
}

/** What tells workloads apart: namespace, kind and name; a pod without a workload is its own. */
export const workKey = (row) => `${row.namespace ?? ""}/${row.workload?.kind ?? "Pod"}/${row.workload?.name ?? row.pod ?? ""}`;

/** Id of the fold of a workload's declared ports, as it stands in the URL. */
export const declaredFold = (of) => `declared:${workKey(of)}`;

/** Name of a workload with its namespace, `shop/web`; that of a pod without a workload; else `no known pod`. */
export function workloadName(row) {
  const name = row.workload?.name ?? row.pod;
  return name ? `${row.namespace ? `${row.namespace}/` : ""}${name}` : "no known pod";
}

/** Name of a caller: its workload or pod, its node, or its address. */
export function callerName(caller) {
  if (caller.namespace && (caller.workload || caller.pod)) return workloadName(caller);
  return caller.node ? `node ${caller.node}` : caller.address;
}

/** The door that a caller took, `via NodePort`; empty if it called the pod's own address. */
export const door = (via) => (via && via !== "unknown" ? `via ${DOORS[via] ?? via}` : "");

/** `9229/TCP`; `all ports` if the row is about a pod. */
export const portName = (row) => (row.port ? `${row.port}/${row.protocol ?? "TCP"}` : row.protocol ? `a named port/${row.protocol}` : "all ports");

/** Who serves the port, in one word. */
export const server = (row) => row.process ?? (isGone(row) ? "nobody" : row.code === "opaque-runtime" ? "in a sandbox" : "an unknown process");

/** `1 of 3 pods`; empty if all of them serve the port, or if their number is not known. */
export const somePods = (row) => (row.podsTotal && row.pods < row.podsTotal ? `${whole(row.pods)} of ${many(row.podsTotal, "pod")}` : "");

/** `as last known: worker-7 is silent` if nodes of the row do not answer, else the empty text. */
export function lastKnown(row) {
  const nodes = row.silent ?? [];
  return nodes.length ? `as last known: ${nodes[0]}${nodes.length > 1 ? ` and ${many(nodes.length - 1, "more node")} are` : " is"} silent` : "";
}

/** True if a pod's port has no finding though nothing is known to declare it: it is not judged yet, or a port storm stands for it. */
export const isUnjudged = (row) => !row.code && (row.declaration === "undeclared" || (row.declaration === "unknown" && Boolean(row.namespace)));

/** Number of such ports: those that the answer counts, and those that older agents list. */
export const unjudged = (chart) => (chart?.totals?.unjudged ?? 0) + (chart?.rows ?? []).filter(isUnjudged).length;

/** What is said of so many ports that are not judged, after a sentence; empty if there are none. */
export const unjudgedWords = (n) => (n ? ` ${many(n, "undeclared port waits", "undeclared ports wait")} for a finding or ${n === 1 ? "is" : "are"} part of a port storm.` : "");

/** `critical`, `accepted`, `resolved`, `declared` or `not judged yet`. */
export const standing = (row) => (isUnjudged(row) ? "not judged yet" : !row.code ? "declared" : row.state === "suppressed" ? "accepted" : row.state === "resolved" ? "resolved" : row.severity);

/** Title of a row: what was found, or `Accepted`, `Resolved`, `Declared`, `Not judged yet`. */
export function title(row) {
  if (isUnjudged(row)) return "Not judged yet";
  if (!row.code) return { explained: "Explained", unknown: "Of no known pod" }[row.declaration] ?? "Declared";
  return row.state === "suppressed" ? "Accepted" : row.state === "resolved" ? "Resolved" : WORDS[row.code] ?? row.code;
}

/** At most `most` callers in words: `shop/web, 203.0.113.9 and 6 more`; `nobody` without one. */
export function callers(row, most = 2) {
  const known = row.callers ?? [], unlisted = row.truncated || (!known.length && count(row) > 0);
  const names = [...new Set(known.map(callerName))], more = Math.max(0, names.length - most) + (row.moreCallers ?? 0);
  const said = [...names.slice(0, most), ...(more ? [`${whole(more)} more`] : []), ...(unlisted ? ["others that are not listed"] : [])];
  return said.length > 1 ? `${said.slice(0, -1).join(", ")} and ${said.at(-1)}` : said[0] ?? "nobody";
}

/** Why a row is what it is, in a few words: the reason that the agent gives, else who calls it, and how. */
export function why(row) {
  if (row.state === "suppressed") return row.reason ? `by ${row.reason}` : "by an exception";
  const first = row.callers?.find((caller) => row.code !== "undeclared-external" || caller.origin === "external") ?? row.callers?.[0];
  if (first && (row.code === "undeclared-external" || row.code === "undeclared-active")) {
    const more = row.callers.length - 1 + (row.moreCallers ?? 0);
    return `${row.code === "undeclared-external" ? "from" : "by"} ${callerName(first)}${more ? ` and ${more} more` : first.via ? ` ${door(first.via)}` : ""}`.trimEnd();
  }
  return row.reason ?? (row.code === "ephemeral-container" && row.container ? `container ${row.container}` : "");
}

/** Name for screen readers: `Port 9229 TCP of shop/web, node, critical, Reached from outside, 37 connections`. A row of a silent node says so. */
export function label(row) {
  const port = row.port ? `Port ${row.port} ${row.protocol ?? "TCP"}` : row.protocol ? "A named port" : "All ports";
  const parts = [`${port} of ${workloadName(row)}`, server(row), standing(row)];
  if (row.code) parts.push(WORDS[row.code] ?? row.code);
  return [...parts, many(count(row), unit(row)), lastKnown(row)].filter(Boolean).join(", ");
}

/** What the agent guesses about the port, as the finding's message says it; empty if it says nothing. */
export function guess(message) {
  const found = /[;,] ((?:this is likely|port \d+ is often) [^;:]+: callers can [^;:]+)/u.exec(message ?? "");
  return found ? `${found[1][0].toUpperCase()}${found[1].slice(1)}.` : "";
}

/** What is about the port: who has it open or why it is there. A sentence without its end. */
function opening(row, now) {
  const when = since(row.firstSeen, now), some = somePods(row);
  const seen = when ? `, first seen ${when}` : "";
  if (row.code === "stale-declaration") return `The manifest declares it, and nobody listens on it${some ? ` in ${some}` : ""}${seen}`;
  if (row.code === "dangling-service-port") return `A Service sends traffic to it, and nobody takes it${seen}`;
  if (row.code === "opaque-runtime") return `The pod runs in a sandbox whose sockets the node’s kernel does not see${seen}`;
  if (row.code === "port-storm") return `${server(row)} serves so many undeclared ports that this finding stands for all of them${seen}`;
  const where = some || (row.podsTotal > 1 ? `all ${many(row.podsTotal, "pod")}` : row.pods > 1 ? many(row.pods, "pod") : row.pod ? "the pod" : "no known pod");
  const declared = { declared: "the manifest declares it", explained: "the manifest does not declare it, but something expects it", unknown: "what the manifest says is not known" };
  const by = row.code === "ephemeral-container" ? `A debug container (${server(row)})` : server(row);
  return `${by} serves it in ${where}${seen}; ${declared[row.declaration] ?? "no manifest declares it"}`;
}

/** The story of a row in two sentences: who opened it and where, then who called it. */
export function story(row, now) {
  const n = count(row), far = row.code === "undeclared-external" && !(row.callers ?? []).some((c) => c.origin !== "external") ? " from outside the cluster" : "";
  const called = row.code === "opaque-runtime" ? "Its ports are not judged, which is not a pass"
    : n ? `It was called ${n === 1 ? "once" : n === 2 ? "twice" : many(n, "time")}${row.protocol === "UDP" ? " (packets)" : ""}${far}, by ${callers(row, 2)}`
    : row.exposure === "loopback" ? "Only the pod’s own containers can reach it, and none has called it"
    : row.policy === "blocked" ? "A NetworkPolicy keeps everybody out, and nobody has called it"
    : isGone(row) && row.state !== "resolved" ? "Nobody has called it" : "Nobody has called it so far";
  return `${opening(row, now)}. ${called}.`;
}
