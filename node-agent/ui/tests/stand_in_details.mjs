/** What the stand-in answers about one finding: the finding, the way in, and what can be done. */
const declaration = (row) => ({ status: row.declaration, declaredBy: row.code ? [] : [`container/${row.container}`], explainedBy: row.declaration === "explained" ? [{ source: "probe", ref: `${row.container}/livenessProbe`, audience: "node" }] : [] });
const pod = (row) => ({ namespace: row.namespace, name: row.pod, uid: "5f1c2a9e-0000-4000-8000-000000000001", workload: row.workload, hostNetwork: row.exposure === "host" });
const envelope = (row, time) => ({ schema: "portolan/v1", node: row.nodes[0], time });
const container = (row) => ({ name: row.container, id: "containerd://c0ffee", image: row.image });

function traffic(row) {
  const { attempts, connections, packets, bytes, lastSeen = null, callers = [] } = row;
  const peers = callers.map((c) => ({
    address: c.address, origin: c.origin, ref: c.pod ? `${c.namespace}/${c.pod}` : null, ...(c.workload ? { workload: c.workload } : {}), ...(c.node ? { callerNode: c.node } : {}),
    ...(c.via ? { via: { address: "10.0.0.4", port: 32264, kind: c.via, ref: `${row.namespace}/${row.workload?.name}-debug`, client: null } } : {}), connections: c.connections, packets: c.packets, bytes: 0, firstSeen: row.firstSeen, lastSeen,
  }));
  return { since: row.firstSeen, attempts, connections, packets, bytes, lastSeen, peers, truncated: Boolean(row.truncated) };
}

function listener(row, time) {
  if (!row.process) return null;
  return {
    kind: "Listener", ...envelope(row, time), id: row.fingerprint, fingerprint: row.fingerprint, protocol: row.protocol, port: row.port, addresses: [row.exposure === "loopback" ? "127.0.0.1" : "0.0.0.0"], v6Only: false, sockets: 1,
    netns: { inode: 4026532791, name: null }, servedBy: "process", process: { pid: 4121, name: row.process, executable: `/usr/local/bin/${row.process}` }, openedAt: row.firstSeen, state: "open", pod: pod(row), container: container(row), declaration: declaration(row), traffic: traffic(row),
  };
}

/** `/v1/findings/{id}` */
export function finding(row, id, time) {
  return {
    kind: "Finding", ...envelope(row, time), id, fingerprint: row.fingerprint, state: row.state, code: row.code, severity: row.severity, firstSeen: row.firstSeen, lastSeen: row.lastSeen ?? row.firstSeen, pod: pod(row), container: container(row), protocol: row.protocol, port: row.port,
    message: `${row.process} serves ${row.port}/${row.protocol}, which no manifest declares${row.port === 9229 ? "; this is likely the Node.js inspector: callers can run code in the pod" : ""}`,
    listener: listener(row, time), declaration: declaration(row), exposure: row.exposure, policy: { verdict: row.policy, policies: row.policy === "blocked" ? ["payments/ledger-only"] : [] }, traffic: traffic(row), suppressedBy: row.state === "suppressed" ? { rule: "shop-metrics", reason: "scraped" } : null,
  };
}

/** `/v1/explain` */
export function explanation(row, target, time) {
  const outside = row.code === "undeclared-external", service = { namespace: row.namespace, name: `${row.workload?.name}-debug`, port: { name: null, protocol: row.protocol, port: row.port, targetPort: String(row.port), nodePort: 32264 } };
  return {
    kind: "Explanation", ...envelope(row, time), target: { kind: "port", text: target }, answer: [`${row.process} serves ${target}.`], notes: [], partial: [], next: [], services: [], pods: [{ pod: pod(row), addresses: ["10.1.3.4"], ready: true, opaqueRuntime: null, netns: null, listening: 2, findings: [] }], truncated: false,
    ends: [{ doors: outside ? [{ kind: "nodePort", addresses: ["any address of any node"], port: 32264, service }] : [], pod: pod(row), protocol: row.protocol, port: row.port, state: "open", listener: listener(row, time), declaration: declaration(row), exposure: row.exposure, policy: { verdict: row.policy, policies: [] }, findings: [], nearest: [] }],
  };
}

/** `/v1/findings/{id}/remedies` */
export function remedies(row, id) {
  const name = row.workload?.name ?? row.pod, shut = [
    "apiVersion: networking.k8s.io/v1", "kind: NetworkPolicy", `metadata: {name: ${name}-declared-ports, namespace: ${row.namespace}}`, "spec:", `  podSelector: {matchLabels: {app: ${name}}}`, "  policyTypes: [Ingress]", "  ingress:", "  - ports: [{port: 8080, protocol: TCP}]", ""].join("\n");
  const items = [
    { kind: "shut-out", summary: `Best close it. This policy admits only what ${name} declares.`, warnings: ["Ports that are declared later need a change of the policy."], yaml: shut, command: "kubectl apply -f FILE" },
    { kind: "declare", summary: "Declare it if callers are meant to use it.", warnings: [], yaml: `spec:\n  template:\n    spec:\n      containers:\n      - name: ${row.container}\n        ports:\n        - containerPort: ${row.port}\n          protocol: ${row.protocol}\n`, command: `kubectl -n ${row.namespace} patch ${row.workload?.kind.toLowerCase()} ${name} --patch-file FILE` },
    { kind: "accept", summary: "Accept it if it is known and wanted.", warnings: ["An exception hides the finding, not the port."], yaml: `- name: ${name}-${row.port}\n  match: {namespaces: [${row.namespace}], ports: [${row.port}]}\n  reason: TODO\n  expires: TODO\n` },
  ];
  return { schema: "portolan/v1", finding: id, items: row.code === "undeclared-explained" ? [items[1], items[2], items[0]] : items };
}
