/**
 * Stands in for an agent or `kubectl portolan ui`: the page's files with the real headers, and the whole API of the page over invented
 * rows. `node tests/stand_in.mjs PORT [SCENE]`; scenes: few, none, thousands, hostile, partial, old, slow, dead, node.
 *
 * Steering, by POST: /test/scene?name=  /test/row (a row in the body: it is put in place, and a Finding is told)  /test/gone?fingerprint=
 * /test/traffic?fingerprint=&by=  /test/agent (an AgentSummary in the body)  /test/event?event=&data=  /test/cut  /test/forget (the next
 * resume gets `reset`)  /test/lost  /test/down?on=1|0 (no answers)  /test/delay?ms=  /test/fail?status= (lists fail; 0: no more).
 * GET /test/log: requests so far, open streams and events.
 */
import { createServer } from "node:http";
import { readFile, readdir } from "node:fs/promises";
import { extname } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

import { escaped, matches, matchesDeclared, parse } from "../js/filter.js";
import { explanation, finding, remedies } from "./stand_in_details.mjs";
import { iso, scene } from "./stand_in_scenes.mjs";

const FOLDER = new URL("../", import.meta.url);
const TYPES = { ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8" };
const SEVERITIES = ["critical", "high", "medium", "low", "info"];
/** Rows of an answer, listed declared ports, and events that are remembered. */
const MAX_ROWS = 5000, DECLARED = 64, MEMORY = 1000;
const KINDS = ["Finding", "Listener", "Connection", "Loss", "AgentStatus", "Agent", "Traffic"];

/** The headers that every file has, as src/lib.rs has them. */
async function pageHeaders() {
  const source = await readFile(new URL("src/lib.rs", FOLDER), "utf8");
  const policy = /CONTENT_SECURITY_POLICY: &str = "([^"]*)"/u.exec(source)[1].replace(/\\\n\s*/gu, "");
  return { "content-security-policy": policy, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store" };
}

/** A stand-in with its state; `listen(port)` starts it. */
export class StandIn {
  constructor(name = "few") {
    Object.assign(this, { run: Math.floor(Math.random() * 1e6).toString(36), next: 1, events: [], streams: new Set(), requests: [], down: false, delay: 0, fail: 0, forget: false });
    this.set(name);
  }

  set(name) {
    this.name = name;
    this.scene = scene(name);
    this.rows = new Map(this.scene.rows.map((row) => [row.fingerprint, row]));
    if (this.scene.slow) this.reveal();
  }

  /** Lets one more agent answer every now and then. */
  reveal() {
    const { all, agents } = this.scene;
    const bring = () => {
      const part = agents.filter((agent) => agent.state === "up").length / agents.length;
      this.rows = new Map(all.slice(0, Math.ceil(all.length * part)).map((row) => [row.fingerprint, row]));
    };
    bring();
    const timer = setInterval(() => {
      const waiting = agents.find((agent) => agent.state === "asking");
      if (!waiting) return clearInterval(timer);
      Object.assign(waiting, { state: "up", since: iso(Date.now()) });
      this.scene.missing = this.scene.missing.filter((one) => one.node !== waiting.node);
      bring();
      this.tell("Agent", waiting);
    }, this.scene.slow);
    timer.unref();
  }

  /** Sends an event; without an id if it is one that is not remembered. */
  tell(event, data, { id = true } = {}) {
    const one = { event, data: JSON.stringify(data), id: id ? `${this.run}-${this.next++}` : null };
    if (id) this.events = [...this.events, one].slice(-MEMORY);
    for (const stream of this.streams) if (stream.kinds.includes(event) || event === "lost" || event === "reset") this.write(stream, one);
  }

  write(stream, { event, data, id }) {
    stream.response.write(`${id ? `id: ${id}\n` : ""}event: ${event}\ndata: ${data}\n\n`);
  }

  watch(request, response, params) {
    const kinds = (params.get("kind") ?? KINDS.slice(0, 5).join(",")).split(",");
    if (kinds.some((kind) => !KINDS.includes(kind))) return problem(response, 400, `kind must be one of ${KINDS.join(", ")}`);
    if (kinds.includes("Traffic") && [...params.keys()].some((key) => key !== "kind")) return problem(response, 400, "Traffic takes no filters");
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write("retry: 1000\n\n");
    const last = request.headers["last-event-id"], stream = { response, kinds, last: last ?? null };
    const at = this.events.findIndex((event) => event.id === last);
    if (last && (this.forget || (at < 0 && last !== `${this.run}-0`))) this.write(stream, { event: "reset", data: "{}" });
    else if (last) for (const event of this.events.slice(at + 1)) if (kinds.includes(event.event)) this.write(stream, event);
    this.forget = false;
    response.write(`id: ${this.run}-${this.next - 1}\n\n`);
    if (kinds.includes("Traffic")) this.write(stream, { event: "Traffic", data: JSON.stringify(this.counts([...this.rows.values()])), id: null });
    const alive = setInterval(() => response.write(`: alive\nid: ${this.run}-${this.next - 1}\n\n`), 15_000);
    this.streams.add(stream);
    response.on("close", () => { clearInterval(alive); this.streams.delete(stream); });
  }

  counts(rows) {
    const items = rows.filter((row) => row.lastSeen).map(({ fingerprint, attempts, connections, packets, bytes, lastSeen }) => ({ fingerprint, attempts, connections, packets, bytes, lastSeen }));
    return { schema: "portolan/v1", time: iso(Date.now()), items };
  }

  chart(params) {
    const filters = parse(params), now = Date.now(), only = params.get("fingerprint")?.split(","), workload = params.get("workload"), pod = params.get("pod");
    const isOf = (one) => (!workload || [one.workload?.name, `${one.workload?.kind}/${one.workload?.name}`].includes(workload)) && (!pod || one.pod === pod);
    const fits = (row) => matches(row, filters, now) && (!only || only.includes(row.fingerprint)) && isOf(row);
    const all = [...this.rows.values()].filter(fits), found = all.filter((row) => row.code), declared = all.filter((row) => !row.code);
    found.sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || b.connections - a.connections);
    let counted = only ? [] : this.scene.declared.filter((one) => matchesDeclared(one, filters) && isOf(one));
    const most = Number(params.get("declared") ?? DECLARED), opened = most >= 1000 ? counted.flatMap((one) => unfolded(one)) : [];
    if (opened.length) counted = [];
    const listed = declared.length + opened.length <= most ? [...declared, ...opened] : [], rows = [...found, ...listed].slice(0, MAX_ROWS);
    const open = {};
    for (const row of found) if (row.state === "open") open[row.severity] = (open[row.severity] ?? 0) + 1;
    const { cluster, node, startedAt, missing, agents } = this.scene, sum = (of) => agents.filter((agent) => agent.state === "up").reduce((total, agent) => total + (of(agent) ?? 0), 0);
    return {
      schema: "portolan/v1", cluster, node, time: iso(now), asOf: `${this.run}-${this.next - 1}`, startedAt, rows, declared: [...counted, ...(listed.length ? [] : countedOf(declared))], missing,
      totals: { open, suppressed: found.filter((row) => row.state === "suppressed").length, declared: declared.length, findings: found.reduce((total, row) => total + (row.findings?.length ?? 0), 0), listeners: sum((agent) => agent.listeners), pods: sum((agent) => agent.pods), unlisted: Math.max(0, found.length + listed.length - rows.length) },
    };
  }

  /** The row of a finding's id. */
  rowOf(id) {
    return [...this.rows.values()].find((row) => row.findings?.includes(id));
  }

  async api(request, response, path, params) {
    if (this.scene.dead) return problem(response, 503, "no agent answers");
    if (path === "/v1/watch") return this.watch(request, response, params);
    if (this.fail) return problem(response, this.fail, "the stand-in was told to fail");
    if (this.delay) await new Promise((done) => { setTimeout(done, this.delay); });
    const time = iso(Date.now()), one = /^\/v1\/findings\/([^/]+)(\/remedies)?$/u.exec(path);
    if (path === "/v1/chart") return this.answerChart(response, params);
    if (path === "/v1/agents") return json(response, { schema: "portolan/v1", items: this.scene.agents, continue: null });
    if (path === "/v1/pods") return json(response, { schema: "portolan/v1", items: [], continue: null });
    if (path === "/v1/explain") {
      const target = params.get("target") ?? "", row = [...this.rows.values()].find((some) => `${some.namespace}/${some.pod}:${some.port}` === target.replace(/\/(udp|sctp)$/u, ""));
      return row ? json(response, explanation(row, target, time)) : problem(response, 404, "no pod has this port");
    }
    if (!one) return problem(response, 404, "no such path");
    const id = decodeURIComponent(one[1]), row = this.rowOf(id);
    if (!row) return problem(response, 404, "no such finding");
    return json(response, one[2] ? remedies(row, id) : finding(row, id, time));
  }

  answerChart(response, params) {
    const chart = this.chart(params), output = params.get("output") ?? "json";
    if (output === "json") return json(response, chart);
    const cell = (value) => `"${String(value ?? "").replace(/"/gu, '""').replace(/^[=+\-@\t\r]/u, "'$&")}"`;
    const text = output === "csv" ? ["namespace,workload,port,code", ...chart.rows.map((row) => [row.namespace, row.workload?.name, row.port, row.code].map(cell).join(","))] : chart.rows.map((row) => JSON.stringify(row));
    response.writeHead(200, { "content-type": output === "csv" ? "text/csv" : "application/x-ndjson" });
    response.end(`${text.join("\n")}\n`);
  }

  async steer(request, response, path, params) {
    let body = "";
    for await (const part of request) body += part;
    const data = body ? JSON.parse(body) : {};
    const does = {
      scene: () => { this.set(params.get("name")); for (const stream of this.streams) stream.response.destroy(); },
      row: () => { this.rows.set(data.fingerprint, data); this.tell("Finding", this.findingOf(data)); },
      gone: () => { const row = this.rows.get(params.get("fingerprint")); this.rows.delete(row?.fingerprint); if (row) this.tell("Finding", { ...this.findingOf(row), state: "resolved" }); },
      traffic: () => { const row = this.rows.get(params.get("fingerprint")), by = Number(params.get("by") ?? 1); Object.assign(row, { connections: row.connections + by, attempts: row.attempts + by, lastSeen: new Date().toISOString() }); this.tell("Traffic", this.counts([row]), { id: false }); },
      agent: () => { const at = this.scene.agents.findIndex((agent) => agent.node === data.node); if (at < 0) this.scene.agents.push(data); else this.scene.agents[at] = { ...this.scene.agents[at], ...data }; this.scene.missing = this.scene.agents.filter((agent) => agent.state === "down").map((agent) => ({ node: agent.node, reason: agent.reason ?? "no answer", since: agent.since, pods: agent.pods })); this.tell("Agent", this.scene.agents.find((agent) => agent.node === data.node)); },
      event: () => this.tell(params.get("event"), data),
      cut: () => { for (const stream of this.streams) stream.response.destroy(); },
      forget: () => { this.forget = true; },
      lost: () => this.tell("lost", { missed: 3 }, { id: false }),
      down: () => { this.down = params.get("on") !== "0"; if (this.down) for (const stream of this.streams) stream.response.destroy(); },
      delay: () => { this.delay = Number(params.get("ms")); },
      fail: () => { this.fail = Number(params.get("status")); },
      log: () => {},
    }[path.slice("/test/".length)];
    if (!does) return problem(response, 404, "no such steering");
    does();
    json(response, { requests: this.requests, streams: [...this.streams].map(({ kinds, last }) => ({ kinds, last })), events: this.events.length });
  }

  findingOf(row) {
    return finding(row, row.findings?.[0] ?? row.fingerprint, iso(Date.now()));
  }

  async file(request, response, path) {
    const name = path.slice("/ui/".length), known = [...(await readdir(new URL("js/", FOLDER))).map((one) => `js/${one}`), ...(await readdir(new URL("css/", FOLDER))).map((one) => `css/${one}`)];
    const found = path === "/" ? "page.html" : known.find((one) => one.endsWith(`/${name}`));
    if (!found) return problem(response, 404, "no such file");
    const file = await readFile(new URL(found, FOLDER)), packed = /\bgzip\b/u.test(request.headers["accept-encoding"] ?? "");
    response.writeHead(200, { ...(await pageHeaders()), "content-type": TYPES[extname(found)], ...(packed ? { "content-encoding": "gzip" } : {}) });
    response.end(packed ? gzipSync(file) : file);
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://stand.in"), { pathname, searchParams } = url;
    if (pathname.startsWith("/test/")) return this.steer(request, response, pathname, searchParams);
    this.requests = [...this.requests, request.url].slice(-5000);
    if (this.down) return request.socket.destroy();
    if (pathname.startsWith("/v1/")) return this.api(request, response, pathname, searchParams);
    return this.file(request, response, pathname);
  }

  /** Listens on a port of loopback; 0 takes a free one. Resolves to the server. */
  listen(port) {
    const server = createServer((request, response) => { this.answer(request, response).catch((error) => { if (!response.headersSent) problem(response, 500, error.stack); else response.destroy(); }); });
    return new Promise((done) => { server.listen(port, "127.0.0.1", () => done(server)); });
  }
}

function unfolded({ namespace, workload, pod, ports }) {
  return Array.from({ length: ports }, (_, i) => ({ fingerprint: `${escaped(namespace)}-${workload.name}-${i}`, namespace, workload, pod, container: "app", port: 8080 + i, protocol: "TCP", process: "app", state: "open", declaration: "declared", exposure: "pod", policy: "not-isolated", pods: 1, podsTotal: 1, nodes: ["worker-01"], attempts: 0, connections: 0, packets: 0, bytes: 0, firstSeen: iso(Date.now()) }));
}
function countedOf(rows) {
  const works = new Map();
  for (const row of rows) {
    const key = `${row.namespace}/${row.workload?.name}`, one = works.get(key) ?? { namespace: row.namespace, workload: row.workload, pod: row.pod, ports: 0, connections: 0 };
    works.set(key, { ...one, ports: one.ports + 1, connections: one.connections + row.connections });
  }
  return [...works.values()];
}
function json(response, body) {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
function problem(response, status, detail) {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ title: "no", status, detail }));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [port = "8470", name = "few"] = process.argv.slice(2);
  const server = await new StandIn(name).listen(Number(port));
  process.stdout.write(`http://127.0.0.1:${server.address().port}/ shows the scene ${name}\n`);
}
