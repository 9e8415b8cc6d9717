import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** The host: `answer(url)` gives the body of an answer, or a number for a failure. The stream of events is held open. */
let answer = () => 404, events = null, agents = [];
const asked = [];
Object.assign(globalThis, { innerWidth: 1440, location: { pathname: "/", search: "", hostname: "localhost" }, history: { pushState() {}, replaceState() {} }, addEventListener() {}, reportError(error) { throw error; } });
Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
// Timers of the page that only watch over others must not hold the tests.
const { setInterval: every, setTimeout: after } = globalThis;
globalThis.setInterval = (...given) => every(...given).unref();
globalThis.setTimeout = (does, time, ...given) => (time > 10_000 ? after(does, time, ...given).unref() : after(does, time, ...given));
globalThis.fetch = async (path) => {
  const url = new URL(path, "http://host");
  asked.push(url);
  if (url.pathname === "/v1/watch") return new Response(new ReadableStream({ start(to) { events = to; } }));
  const body = url.pathname === "/v1/agents" ? { items: agents } : url.pathname === "/v1/chart" ? answer(url) : {};
  return typeof body === "number" ? Response.json({ detail: "told to fail" }, { status: body }) : Response.json(body);
};

const { state, subscribe } = await import("../js/state.js");
const { none } = await import("../js/filter.js");
const { detail, show, start } = await import("../js/feed.js");

const row = (fingerprint, more = {}) => ({ fingerprint, namespace: "shop", workload: { kind: "Deployment", name: "web" }, port: 80, protocol: "TCP", code: "undeclared-active", severity: "high", state: "open", nodes: ["a"], connections: 5, packets: 0, callers: [], ...more });
const chart = (rows, { declared = [], unlisted = 0, open = {} } = {}) => ({ time: "2026-03-10T12:00:00Z", rows, declared, missing: [], totals: { open, unlisted } });
const shown = () => state.chart?.rows.map((one) => [one.fingerprint, one.state]);
const tell = (name, data) => events.enqueue(new TextEncoder().encode(`id: 1\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`));

/** Waits until the state is as wanted; it is looked at after each change. */
function until(isSo) {
  return new Promise((done) => { subscribe(() => { if (isSo()) done(); }); if (isSo()) done(); });
}
/** Has everything read from `host`, under the filters. */
async function read(host, change = {}) {
  let came = 0;
  answer = (url) => { came += 1; return host(url); };
  const before = state.chart;
  Object.assign(state, { filters: none(), folds: new Set(), port: null, ...change });
  if (before) show(); else start();
  await until(() => came > 0 && state.chart !== before && state.chart);
}

beforeEach(() => { asked.length = 0; });

test("a row that leaves the filter of the host is asked for without it, and is not told as resolved", async () => {
  let severity = "high";
  const host = (url) => {
    const all = [row("a", { severity }), row("b", { severity: "low" })], only = url.searchParams.get("fingerprint")?.split(","), of = url.searchParams.get("severity");
    return chart(all.filter((one) => (!only || only.includes(one.fingerprint)) && (!of || one.severity === of)), { unlisted: 9 });
  };
  await read(host, { filters: { ...none(), severity: ["high"] } });
  await until(() => shown().length === 1);
  severity = "medium";
  tell("Finding", { fingerprint: "a" });
  await until(() => state.chart.rows[0].severity === "medium");
  assert.deepEqual(shown(), [["a", "open"]]);
});

test("a fold that cannot be read stays counted and says why, and the others open", async () => {
  const counted = (name, more) => ({ namespace: "shop", workload: { kind: "Deployment", name }, ports: 3, connections: 0, ...more });
  const bare = { namespace: "shop", pod: "toolbox", ports: 2, connections: 0 };
  const host = (url) => {
    if (url.searchParams.get("workload") === "Deployment/x") return 500;
    if (url.searchParams.get("workload") === "Deployment/z") return chart([], { declared: [counted("z")] });
    if (url.searchParams.get("pod") === "toolbox") return chart([row("t", { code: undefined, workload: undefined, pod: "toolbox" })]);
    return chart([row("a")], { declared: [counted("x"), counted("z"), bare] });
  };
  await read(host, { folds: new Set(["declared:shop/Deployment/x", "declared:shop/Deployment/z", "declared:shop/Pod/toolbox"]) });
  assert.deepEqual(shown().map(([fingerprint]) => fingerprint).sort(), ["a", "t"]);
  assert.deepEqual(state.chart.declared.map((one) => one.workload?.name), ["x", "z"]);
  assert.match(state.unopened.get("declared:shop/Deployment/x"), /shop\/x cannot be listed: 500: told to fail/u);
  assert.match(state.unopened.get("declared:shop/Deployment/z"), /too many/u);
});

test("a declared port of an opened fold whose findings ended is listed beside its resolved row", async () => {
  const plain = (fingerprint) => row(fingerprint, { code: undefined, severity: undefined }), counted = { namespace: "shop", workload: { kind: "Deployment", name: "web" }, ports: 2, connections: 0 };
  const host = (url) => (url.searchParams.has("workload") ? chart([plain("p"), plain("e")]) : chart([row("e", { state: "resolved" })], { declared: [counted] }));
  await read(host, { folds: new Set(["declared:shop/Deployment/web"]), filters: { ...none(), state: ["open", "resolved"] } });
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state, one.served?.fingerprint]), [["e", "resolved", "e"], ["p", "open", undefined]]);
});

test("a port of the address that the list does not hold is asked for in any state", async () => {
  const host = (url) => chart(url.searchParams.get("fingerprint") === "old" && url.searchParams.get("state").includes("resolved") ? [row("old", { state: "resolved" })] : url.searchParams.has("fingerprint") ? [] : [row("a")]);
  await read(host, { port: "old" });
  await until(() => state.beyond?.fingerprint === "old");
  assert.equal(state.beyond.row.state, "resolved");
  await read(host, { port: "nobody" });
  await until(() => state.beyond?.fingerprint === "nobody");
  assert.equal(state.beyond.row, null);
});

test("a filter that changes while the list is on its way is asked for afterwards", async () => {
  let isChanging = false;
  const host = (url) => {
    if (isChanging && !url.searchParams.has("namespace")) state.filters = { ...none(), namespace: ["shop"] };
    return chart([row(url.searchParams.get("namespace") ?? "all")], { unlisted: 9 });
  };
  await read(host);
  isChanging = true;
  await read(host);
  await until(() => shown()[0][0] === "shop");
  assert.equal(asked.at(-1).searchParams.get("namespace"), "shop");
});

test("an agent that is asked again after all have answered moves no row and takes none away", async () => {
  let list = [row("x", { nodes: ["a"], connections: 1 })], missing = [{ node: "b" }];
  const host = () => ({ ...chart(list), missing }), fingerprints = () => shown().map(([fingerprint]) => fingerprint);
  const agent = (node, to) => { agents = [...agents.filter((one) => one.node !== node), { node, state: to }]; tell("Agent", { node, state: to }); };
  await read(host);
  agent("a", "up");
  agent("b", "asking");
  list = [row("x", { nodes: ["a"], connections: 1 }), row("y", { nodes: ["b"], connections: 9 })];
  missing = [];
  agent("b", "up");
  await until(() => shown().length === 2);
  assert.deepEqual(fingerprints(), ["y", "x"], "while agents are asked, rows take the place that they have by their order");
  const answered = asked.length;
  await until(() => asked.slice(answered).some((url) => url.pathname === "/v1/agents"));
  list = [row("x", { nodes: ["a"], connections: 99 })];
  missing = [{ node: "b" }];
  agent("b", "asking");
  await until(() => state.chart.rows.some((one) => one.connections === 99));
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.silent]), [["y", ["b"]], ["x", undefined]]);
  list = [...list, row("y", { nodes: ["b"], connections: 9 }), row("z", { nodes: ["b"], severity: "critical" })];
  missing = [];
  agent("b", "up");
  await until(() => !state.chart.rows[0].silent);
  assert.deepEqual([fingerprints(), state.waiting.map((one) => one.fingerprint)], [["y", "x"], ["z"]]);
});

test("details are kept for a minute, and asked for anew when callers, reason or policy change", async () => {
  const caller = (address, connections = 1) => ({ origin: "external", address, connections, packets: 0 }), first = row("d", { findings: ["d-1"], callers: [caller("203.0.113.1"), caller("203.0.113.2")] });
  const open = async (one) => {
    asked.length = 0;
    let parts = 0;
    await new Promise((done) => { detail(one, () => { parts += 1; if (parts === 3) done(); }); });
    return asked.map((url) => url.pathname);
  };
  const both = ["/v1/findings/d-1", "/v1/findings/d-1/remedies"];
  assert.deepEqual(await open(first), both);
  assert.deepEqual(await open(first), []);
  assert.deepEqual(await open({ ...first, connections: 99, callers: [caller("203.0.113.2", 98), caller("203.0.113.1")] }), [], "counts change, the callers are the same");
  for (const more of [{ callers: [...first.callers, caller("203.0.113.3")] }, { moreCallers: 1 }, { truncated: true }, { policy: "blocked" }, { reason: "expected" }]) assert.deepEqual(await open({ ...first, ...more }), both, JSON.stringify(more));
  const { now } = Date;
  try {
    Date.now = () => now() + 61_000;
    assert.deepEqual(await open(first), both);
    assert.deepEqual(await open(first), []);
  } finally { Date.now = now; }
});

test("when the agents' clock goes back, everything is read anew", async () => {
  await read(() => chart([row("a", { minutes: [1, 2] })]));
  const { now } = Date, before = state.chart, counted = (time) => ({ time, items: [{ fingerprint: "a", attempts: 9, connections: 9, packets: 0, bytes: 0, lastSeen: time }] });
  try {
    Date.now = () => now() + 120_000;
    tell("Traffic", counted("2026-03-10T12:02:00Z"));
    await until(() => state.chart.rows[0].connections === 9);
    await new Promise((done) => { setTimeout(done, 50); });
    assert.equal(state.chart, before);
    tell("Traffic", counted("2026-03-10T11:50:00Z"));
    await until(() => state.chart !== before);
  } finally { Date.now = now; }
});

/** Answers with 503 so many times, then as `host` does. Other requests are answered at once. */
function busyFirst(times, host, isMeant = () => true) {
  let left = times;
  return (url) => { if (!isMeant(url) || left <= 0) return host(url); left -= 1; return 503; };
}

test("a list for which the host was too busy is asked for again, and the reason stands until it comes", async () => {
  await read(() => chart([row("a")]));
  answer = busyFirst(1, () => chart([row("a"), row("b")]));
  show();
  await until(() => state.failed !== null);
  assert.match(state.failed, /^503/u);
  await until(() => state.failed === null && shown().length === 2);
});

test("changed rows for which the host was too busy are asked for again", async () => {
  await read(() => chart([row("a")]));
  answer = busyFirst(1, () => chart([row("a", { severity: "medium" })]));
  tell("Finding", { fingerprint: "a" });
  await until(() => state.failed !== null);
  await until(() => state.failed === null && state.chart.rows[0].severity === "medium");
});

test("a port of the address for which the host was too busy is asked for again", { timeout: 20_000 }, async () => {
  const host = (url) => chart(url.searchParams.has("fingerprint") ? [row("old", { state: "resolved" })] : [row("a")]);
  await read(busyFirst(1, host, (url) => url.searchParams.has("fingerprint")), { port: "old" });
  await until(() => state.beyond?.failed);
  await until(() => state.beyond?.row);
  assert.deepEqual([state.beyond.row.fingerprint, state.beyond.failed], ["old", null]);
});

test("a fold for which the host was too busy opens later", { timeout: 20_000 }, async () => {
  const counted = { namespace: "shop", workload: { kind: "Deployment", name: "web" }, ports: 2, connections: 0 };
  const host = (url) => (url.searchParams.has("workload") ? chart([row("p", { code: undefined })]) : chart([row("a")], { declared: [counted] }));
  await read(busyFirst(1, host, (url) => url.searchParams.has("workload")), { folds: new Set(["declared:shop/Deployment/web"]) });
  assert.match(state.unopened.get("declared:shop/Deployment/web"), /503/u);
  await until(() => state.chart.rows.some((one) => one.fingerprint === "p"));
  assert.equal(state.unopened.size, 0);
});

test("ports that wait to be judged are counted anew after a finding came", { timeout: 20_000 }, async () => {
  let unjudged = 1;
  const host = (url) => {
    const some = url.searchParams.has("fingerprint"), answer = chart(some || !unjudged ? [row("a"), row("b")] : [row("b")]);
    return { ...answer, totals: { ...answer.totals, unjudged: some ? 0 : unjudged } };
  };
  await read(host);
  assert.equal(state.chart.totals.unjudged, 1);
  unjudged = 0;
  tell("Finding", { fingerprint: "a" });
  await until(() => state.chart.totals.unjudged === 0);
  assert.equal(asked.filter((url) => url.pathname === "/v1/chart" && !url.searchParams.has("fingerprint")).length, 2, "news that come together lead to one reading");
});
