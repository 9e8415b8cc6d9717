/** The scenes of the stand-in: rows of `/v1/chart`, agents and details, made from short descriptions. All of it is invented. */

export const MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
export const iso = (time) => new Date(time).toISOString().replace(/\.\d+Z$/u, "Z");
const SEVERITY = {
  "undeclared-external": "critical", "undeclared-active": "high", "undeclared-host": "high", "port-storm": "high", "undeclared-reachable": "medium", "ephemeral-container": "medium",
  "undeclared-blocked": "low", "undeclared-explained": "low", "dangling-service-port": "low", "undeclared-loopback": "info", "stale-declaration": "info", unattributed: "info", "opaque-runtime": "info",
};
const ADDRESSES = { scan: ["198.51.100.7", "loadBalancer"], vpn: ["203.0.113.9", "nodePort"], inet: ["198.51.100.80", "loadBalancer"] };
const node = (n) => `worker-${String(n).padStart(2, "0")}`;

/** 16 hex digits that stand for a text. */
function digest(text) {
  let a = 0x811c9dc5, b = 0x1b873593;
  for (const c of text) { a = Math.imul(a ^ c.codePointAt(0), 16777619); b = Math.imul(b ^ a, 2246822519); }
  return [a, b].map((n) => (n >>> 0).toString(16).padStart(8, "0")).join("");
}

function callerOf(id, connections) {
  if (ADDRESSES[id]) return { origin: "external", address: ADDRESSES[id][0], via: ADDRESSES[id][1], connections, packets: 0 };
  if (id === "kubelet") return { origin: "node", address: "10.0.0.4", node: node(1), connections, packets: 0 };
  const [namespace, name] = id.split("/");
  return { origin: "pod", namespace, workload: { kind: "Deployment", name }, pod: `${name}-6c9f7d4b8-abcde`, address: `10.1.${digest(id).charCodeAt(0)}.${digest(id).charCodeAt(1)}`, connections, packets: 0 };
}

/** A row. `w` is the workload (`ns`, `name`, `kind`, `pods`), `from` connections by caller, `more` overrides fields. */
export function row(w, port, process, code, from = {}, more = {}, now = Date.now()) {
  const callers = Object.entries(from).map(([id, n]) => callerOf(id, n)), connections = callers.reduce((sum, c) => sum + c.connections, 0);
  const fingerprint = digest(`${w.ns}/${w.name}:${port}`), pod = `${w.name}-${w.kind === "Deployment" ? "6c9f7d4b8-x7k2p" : "0"}`;
  const made = {
    fingerprint, namespace: w.ns, workload: { kind: w.kind, name: w.name }, pod, container: "app", image: `registry.example/${w.ns}/${w.name}:4.12.1`, port, protocol: "TCP", process, code,
    severity: SEVERITY[code], state: "open", declaration: code ? "undeclared" : "declared", exposure: "pod", policy: "not-isolated", pods: w.pods, podsTotal: w.pods,
    nodes: Array.from({ length: Math.min(w.pods, 8) }, (_, i) => node((i + fingerprint.charCodeAt(3)) % 11 + 1)), attempts: Math.ceil(connections * 1.1), connections, packets: 0, bytes: connections * 34_000,
    firstSeen: iso(now - 20 * DAY), lastSeen: connections ? iso(now - 12e3) : undefined, findings: code ? Array.from({ length: Math.min(w.pods, 8) }, (_, i) => `${fingerprint}-${i}`) : undefined,
    callers: callers.length ? callers : undefined, minutes: connections && code ? minutes(connections, port) : undefined, ...more,
  };
  return JSON.parse(JSON.stringify(made));
}
function minutes(total, seed) {
  let s = seed * 9301 + 49297;
  const random = () => (s = (s * 9301 + 49297) % 233280) / 233280;
  return Array.from({ length: 60 }, () => (total < 300 ? (random() < 0.2 ? Math.ceil(random() * 5) : 0) : Math.round((total / 60) * (0.7 + random() * 0.6))));
}

const W = (ns, name, kind, pods) => ({ ns, name, kind, pods });
function few(now) {
  const web = W("shop", "web", "Deployment", 3), checkout = W("shop", "checkout", "Deployment", 4), redis = W("shop", "cart-redis", "StatefulSet", 3), model = W("payments", "fraud-model", "Deployment", 1);
  const ledger = W("payments", "ledger-db", "StatefulSet", 2), gateway = W("payments", "gateway", "Deployment", 2), logs = W("platform", "log-agent", "DaemonSet", 11), ingress = W("platform", "ingress", "Deployment", 2);
  const r = (w, port, process, code, from, more) => row(w, port, process, code, from, more, now), old = { changedAt: undefined };
  const scraped = { "platform/prometheus": 2880 };
  return [
    r(web, 9229, "node", "undeclared-external", { vpn: 37 }, { pods: 1, firstSeen: iso(now - 42 * MINUTE), findings: ["9229-0"], attempts: 41, bytes: 1258291 }), r(web, 8080, "node", undefined, { "platform/ingress": 1.1e6 }),
    r(checkout, 5005, "java", "undeclared-active", { "shop/ops-shell": 12 }, { firstSeen: iso(now - 3 * DAY) }), r(checkout, 8081, "java", "undeclared-explained", { kubelet: 1440 }, { reason: "for a liveness probe", declaration: "explained" }), r(checkout, 8080, "java", undefined, { "shop/web": 182e3 }),
    r(redis, 16379, "redis-server", "undeclared-active", { "shop/cart-redis": 5400 }, old), r(redis, 9121, "redis_exporter", "undeclared-active", scraped, { state: "suppressed", reason: "rule shop-metrics until 31 March" }), r(redis, 6379, "redis-server", undefined, { "shop/web": 41e4, "shop/checkout": 96e3 }),
    r(model, 8265, "raylet", "undeclared-external", { scan: 214 }, { firstSeen: iso(now - 30 * HOUR), changedAt: iso(now - 5 * HOUR), previousCode: "undeclared-reachable" }), r(model, 10001, "raylet", "undeclared-loopback", {}, { exposure: "loopback", firstSeen: iso(now - 30 * HOUR) }), r(model, 8500, "tensorflow", undefined, { "payments/gateway": 88e3 }),
    r(ledger, 9187, "postgres_exporter", "undeclared-active", scraped), r(ledger, 8000, "python3", "ephemeral-container", {}, { pods: 1, container: "debugger-x7k2p", firstSeen: iso(now - 18 * MINUTE) }), r(ledger, 8008, "patroni", "undeclared-blocked", {}, { policy: "blocked", reason: "policy payments/ledger-only" }), r(ledger, 5432, "postgres", undefined, { "payments/gateway": 64e4 }),
    r(gateway, 6060, "gateway", "undeclared-reachable", {}, { firstSeen: iso(now - 4 * DAY) }), r(gateway, 15090, "envoy", "undeclared-explained", { "platform/prometheus": 1440 }, { reason: "a port of Istio’s proxy", declaration: "explained" }), r(gateway, 8443, "envoy", undefined, { "shop/checkout": 91e3 }),
    r(logs, 2020, "fluent-bit", "undeclared-host", {}, { exposure: "host", reason: "host network" }), r(logs, 24224, "fluent-bit", undefined),
    r(ingress, 8443, undefined, "stale-declaration", {}, { reason: "declared by container/controller", declaration: "declared", firstSeen: iso(now - 26 * HOUR) }), r(ingress, 443, "nginx", undefined, { inet: 1.2e6 }),
  ];
}
const counted = ["cert-manager", "external-dns", "grafana", "loki", "metrics-server", "argocd"].map((name, i) => ({ namespace: "platform", workload: { kind: "Deployment", name }, pod: `${name}-0`, ports: 2 + (i % 2), connections: 1000 * i }));

/** A big cluster: 40 namespaces, about 600 workloads. */
function thousands(now) {
  let seed = 7;
  const random = (n) => Math.floor(((seed = (seed * 16807) % 2147483647) / 2147483647) * n), pick = (list) => list[random(list.length)];
  const stems = ["billing", "search", "media", "auth", "ledger", "catalog", "orders", "risk", "mail", "data", "ml", "edge", "ci", "crm", "geo", "chat", "stock", "price", "audit", "video"];
  const nss = stems.flatMap((stem) => [`${stem}-prod`, `${stem}-stage`]), parts = ["api", "web", "worker", "db", "cache", "queue", "sync", "jobs", "proxy", "admin", "cron", "feed", "index", "store", "relay", "hooks"];
  const side = [[9090, "metrics"], [5005, "java"], [6060, "pprof"], [9229, "node"], [8081, "java"], [9187, "postgres_exporter"], [2112, "agent"], [4000, "debugger"], [7070, "gops"], [3000, "grafana"]];
  const rows = [], declared = [];
  nss.forEach((ns, at) => {
    for (let i = 0; i < 9 + random(13); i += 1) {
      const w = W(ns, `${parts[i % 16]}${i > 15 ? "-b" : ""}`, "Deployment", 1 + random(5)), quiet = at > 26, used = new Set();
      declared.push({ namespace: ns, workload: { kind: w.kind, name: w.name }, pod: `${w.name}-0`, ports: 1 + random(3), connections: 10 ** (1 + random(5)) });
      for (let k = random(quiet ? 3 : 7); k > 0; k -= 1) {
        const [port, process] = pick(side), dice = random(100);
        const code = quiet ? pick(["undeclared-explained", "undeclared-loopback"]) : dice < 3 ? "undeclared-external" : dice < 22 ? "undeclared-active" : dice < 60 ? "undeclared-reachable" : dice < 85 ? "undeclared-explained" : "undeclared-loopback";
        const from = code === "undeclared-external" ? { [pick(["scan", "vpn", "inet"])]: 1 + random(400) } : code === "undeclared-active" ? { [`${pick(nss)}/${pick(parts)}`]: 1 + random(9000) } : {};
        if (used.has(port + k)) continue;
        used.add(port + k);
        rows.push(row(w, port + k, process, code, from, { exposure: code === "undeclared-loopback" ? "loopback" : "pod" }, now));
      }
    }
  });
  return { rows, declared };
}

/** What a pod may call itself. */
function hostile(now) {
  const evil = W("team-a", "<img src=x onerror=alert(1)>", "Deployment", 1), long = W("n".repeat(63), "w".repeat(253), "StatefulSet", 5000);
  return [
    row(evil, 31337, "\u202Egnp.exe\u0007<b>", "undeclared-external", { vpn: 3 }, { reason: "</p><script>alert(1)</script>", image: `registry.example/${"<script>alert(1)</script>".repeat(4)}` }, now),
    row(evil, 4444, "x".repeat(180), "undeclared-active", { "team-a/مرحبا-שלום": 3 }, {}, now), row(evil, 80, "\u202Enginx", undefined, {}, {}, now),
    row(long, 65535, "a b\nc", "undeclared-reachable", {}, {}, now), row(W("javascript:alert(1)", "\"><svg onload=alert(1)>", "Deployment", 2), 1, "' or 1=1 --", "undeclared-host", {}, {}, now),
  ];
}

function agentsOf(n, now, change = () => ({})) {
  return Array.from({ length: n }, (_, i) => ({ node: node(i + 1), state: "up", since: iso(now - 20 * DAY), version: "0.1.0", kernel: "6.8.0-45-generic", startedAt: iso(now - 20 * DAY), pods: 6 + (i % 5), listeners: 17 + (i % 7), amiss: [], lost: {}, ...change(i + 1) }));
}

/** Makes a scene: `{rows, declared, agents, missing, node, slow, dead}`. */
export function scene(name, now = Date.now()) {
  const base = { rows: few(now), declared: counted, agents: agentsOf(12, now), missing: [], cluster: "prod-eu", node: undefined, startedAt: iso(now - 20 * DAY), slow: 0, dead: false };
  const silent = { state: "down", reason: "no answer within 5 s", since: iso(now - 22 * MINUTE), pods: 31, listeners: 0 };
  const lost = (n) => ({ ...silent, node: node(n) });
  if (name === "none") return { ...base, rows: base.rows.filter((one) => !one.code) };
  if (name === "thousands") return { ...base, ...thousands(now), agents: agentsOf(100, now, (n) => (n === 17 || n === 31 ? { ...silent, pods: 47 } : n === 44 ? { lost: { "connection-ring-full": 12 } } : {})), missing: [17, 31].map((n) => ({ node: node(n), reason: silent.reason, since: silent.since, pods: 47 })) };
  if (name === "hostile") return { ...base, rows: hostile(now), declared: [], cluster: "<b>\u202Eeu</b>" };
  if (name === "partial") return { ...base, agents: agentsOf(12, now, (n) => (n === 7 ? silent : n === 4 ? { amiss: ["inet_csk_listen_start: refused, EPERM"], lost: { "connection-records-limited": 1203 } } : {})), missing: [{ node: node(7), reason: silent.reason, since: silent.since, pods: 31 }] };
  if (name === "old") return { ...base, agents: agentsOf(12, now, (n) => (n < 3 ? { version: "0.0.9", lacks: ["connections per minute", "when a code changed"] } : {})) };
  if (name === "slow") return { ...base, agents: agentsOf(12, now, (n) => (n > 5 ? { state: "asking", since: iso(now) } : {})), slow: 4000, missing: Array.from({ length: 7 }, (_, i) => ({ node: node(i + 6), reason: "being asked", since: iso(now) })), all: base.rows };
  if (name === "dead") return { ...base, dead: true };
  if (name === "node") return { ...base, cluster: undefined, node: node(3), agents: [agentsOf(3, now)[2]], rows: base.rows.filter((one) => one.nodes.includes(node(3)) || one.port === 9229) };
  return { ...base, agents: agentsOf(12, now), ...(name === "few" ? {} : { unknown: true }), lost };
}
