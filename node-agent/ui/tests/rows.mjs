/** Rows of a chart for tests: invented, and the same for the same seed. */

/** A generator of whole numbers from 0 to below `n`. */
export function random(seed) {
  let state = (seed % 2147483646) + 1;
  return (n) => Math.floor(((state = (state * 16807) % 2147483647) / 2147483647) * n);
}

let last = 0;
/** A row; `more` replaces fields. */
export function row(more = {}) {
  last += 1;
  return {
    fingerprint: `f${last}`, namespace: "shop", workload: { kind: "Deployment", name: "web" }, pod: "web-0", port: 8000 + (last % 999), protocol: "TCP", process: "node",
    state: "open", declaration: "undeclared", exposure: "pod", policy: "not-isolated", pods: 1, podsTotal: 1, nodes: ["worker-1"], attempts: 0, connections: 0, packets: 0, bytes: 0,
    firstSeen: "2026-03-03T08:00:00Z", callers: [], ...more,
  };
}

/** A row with a finding of this severity. */
export const found = (severity, more = {}) => row({ severity, code: { critical: "undeclared-external", high: "undeclared-active", medium: "undeclared-reachable", low: "undeclared-explained", info: "undeclared-loopback" }[severity], ...more });

/** A declared port. */
export const declared = (more = {}) => row({ declaration: "declared", ...more });

export const pod = (namespace, name, connections = 1) => ({ origin: "pod", namespace, workload: { kind: "Deployment", name }, address: "10.0.0.1", connections, packets: 0 });
export const outside = (address, connections = 1, via = "nodePort") => ({ origin: "external", address, via, connections, packets: 0 });
export const node = (name, connections = 1) => ({ origin: "node", address: "10.1.0.1", node: name, connections, packets: 0 });

/** A cluster of very many rows, the worst first. */
export function cluster({ seed = 7, namespaces = 40, workloads = 15, ports = 5, callers = 3, length = 8 }) {
  const pick = random(seed), rows = [], name = (stem, i) => `${stem}${i}`.padEnd(length, "x");
  for (let n = 0; n < namespaces; n += 1) for (let w = 0; w < 1 + pick(workloads); w += 1) for (let p = 0; p < 1 + pick(ports); p += 1) {
    const from = Array.from({ length: pick(callers + 1) }, () => [() => pod(name("ns", pick(namespaces)), name("app", pick(workloads)), pick(9e5)), () => outside(`203.0.113.${pick(250)}`, 1 + pick(400)), () => node(`worker-${pick(90)}`, 1440)][pick(8) % 3]());
    const connections = from.reduce((all, one) => all + one.connections, 0);
    const base = { namespace: name("ns", n), workload: { kind: "Deployment", name: name("app", w) }, callers: from, connections, port: 1 + pick(65535), process: name("proc", pick(9)), exposure: ["pod", "pod", "loopback"][pick(3)], policy: ["open", "blocked"][pick(2)], truncated: pick(9) === 0 };
    rows.push(p ? found(["critical", "high", "medium", "low", "info"][Math.min(4, pick(9))], { ...base, state: pick(12) ? "open" : "suppressed" }) : declared(base));
  }
  return rows;
}
