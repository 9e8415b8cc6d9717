import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

globalThis.innerWidth = 1440;
const { state } = await import("../js/state.js");
const rows = await import("../js/rows.js");

const row = (fingerprint, more = {}) => ({
  fingerprint, namespace: "shop", workload: { kind: "Deployment", name: "web" }, port: 80, protocol: "TCP", code: "undeclared-active", severity: "high", state: "open",
  nodes: ["a"], connections: 5, packets: 0, attempts: 5, bytes: 50, lastSeen: "2026-03-10T12:00:00Z", ...more,
});
const answer = (list, more = {}) => ({ rows: list, declared: [], missing: [], totals: {}, ...more });
const shown = () => state.chart.rows.map((one) => one.fingerprint);
const waiting = () => state.waiting.map((one) => one.fingerprint);
const count = (fingerprint, connections, lastSeen) => rows.count([{ fingerprint, attempts: connections, connections, packets: 0, bytes: 0, lastSeen }], Date.parse(lastSeen));

beforeEach(() => { rows.replace(answer([row("a", { connections: 9 }), row("b")]), "user"); });

test("a new row waits, and a changed one stays in its place", () => {
  rows.merge(answer([row("b", { severity: "critical", code: "undeclared-external" }), row("c")]), ["b", "c"]);
  assert.deepEqual(shown(), ["a", "b"]);
  assert.deepEqual(waiting(), ["c"]);
  rows.adopt();
  assert.deepEqual(shown(), ["b", "a", "c"]);
  assert.deepEqual(waiting(), []);
});

test("a row that is gone stays as resolved until the rows are shown anew", () => {
  rows.merge(answer([]), ["a"]);
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state]), [["a", "resolved"], ["b", "open"]]);
  rows.adopt();
  assert.deepEqual(shown(), ["b"]);
});

test("a row that comes back takes its old place", () => {
  rows.merge(answer([]), ["a"]);
  rows.merge(answer([row("a")]), ["a"]);
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state]), [["a", "open"], ["b", "open"]]);
  assert.deepEqual(waiting(), []);
});

test("a waiting row that is gone waits no more", () => {
  rows.merge(answer([row("c")]), ["c"]);
  rows.merge(answer([]), ["c"]);
  assert.deepEqual(waiting(), []);
});

test("a full reading after a reconnection moves nothing, and doubles nothing", () => {
  rows.merge(answer([row("c")]), ["c"]);
  rows.replace(answer([row("c"), row("b"), row("d", { severity: "critical" })]), "live");
  assert.deepEqual(shown(), ["a", "b"]);
  assert.equal(state.chart.rows[0].state, "resolved");
  assert.deepEqual(waiting(), ["c", "d"]);
});

test("a row of a node that does not answer is not called resolved", () => {
  rows.replace(answer([row("b")], { missing: [{ node: "a" }] }), "live");
  assert.equal(state.chart.rows[0].state, "open");
  assert.deepEqual(state.chart.rows[0].silent, ["a"]);
  rows.replace(answer([row("a"), row("b")]), "live");
  assert.equal(state.chart.rows[0].silent, undefined);
});

test("where there was nothing, a new row is shown at once", () => {
  rows.replace(answer([]), "user");
  rows.merge(answer([row("c")]), ["c"]);
  assert.deepEqual(shown(), ["c"]);
});

test("counts replace those of the row, and older ones do not", () => {
  assert.equal(count("a", 12, "2026-03-10T12:00:10Z"), true);
  assert.equal(state.chart.rows[0].connections, 12);
  assert.equal(count("a", 11, "2026-03-10T12:00:05Z"), false);
  assert.equal(state.chart.rows[0].connections, 12);
  assert.equal(count("nobody", 1, "2026-03-10T12:00:10Z"), false);
});

test("what is counted goes to its minute, and minutes go by", () => {
  count("a", 12, "2026-03-10T12:00:10Z");
  assert.deepEqual(state.chart.rows[0].minutes, [3]);
  count("a", 14, "2026-03-10T12:02:10Z");
  assert.deepEqual(state.chart.rows[0].minutes, [3, 0, 2]);
  rows.roll(Date.parse("2026-03-10T15:00:00Z"));
  assert.equal(state.chart.rows[0].minutes.length, 60);
  assert.ok(state.chart.rows[0].minutes.every((n) => n === 0));
});

test("workloads are in the order of their worst port, then of its connections", () => {
  const of = (name, fingerprint, more) => row(fingerprint, { workload: { kind: "Deployment", name }, ...more });
  const list = [of("x", "x1", { connections: 1 }), of("y", "y1", { connections: 7 }), of("x", "x2", { severity: "critical" }), of("z", "z1", { code: undefined, severity: undefined, connections: 1e6 }), of("y", "y2", { state: "suppressed" })];
  assert.deepEqual(rows.sorted(list).map((one) => one.fingerprint), ["x2", "x1", "y1", "y2", "z1"]);
});

test("a row that the answer may only have cut off keeps its state, and is asked for", () => {
  const unsure = rows.replace(answer([row("b")], { totals: { unlisted: 7 } }), "live");
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state, one.left]), [["a", "open", undefined], ["b", "open", undefined]]);
  assert.deepEqual(unsure, ["a"]);
  assert.deepEqual(rows.replace(answer([row("b")], { totals: { unlisted: 0 } }), "live"), []);
  assert.equal(state.chart.rows[0].state, "resolved");
});

test("declared ports that are counted now do not stand there as rows too", () => {
  const plain = (fingerprint) => row(fingerprint, { code: undefined, severity: undefined });
  rows.replace(answer([row("a"), plain("p")]), "user");
  rows.replace(answer([row("a")], { declared: [{ namespace: "shop", ports: 65 }] }), "live");
  assert.deepEqual(shown(), ["a"]);
  rows.replace(answer([row("a"), plain("p")]), "live");
  assert.deepEqual(shown(), ["a", "p"]);
  assert.deepEqual(waiting(), []);
});

test("a row that the answer says is resolved stays greyed where it stands, and gets no place if it has none", () => {
  rows.merge(answer([row("a", { state: "resolved" }), row("z", { state: "resolved" })]), ["a", "z"]);
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state, one.left]), [["a", "resolved", true], ["b", "open", undefined]]);
  assert.deepEqual(waiting(), []);
});

test("a resolved row of which a second event comes still stays until the rows are shown anew", () => {
  for (const more of [{}, { pods: 2 }]) rows.merge(answer([row("a", { state: "resolved", ...more })]), ["a"]);
  assert.deepEqual(state.chart.rows.map((one) => [one.fingerprint, one.state, one.left]), [["a", "resolved", true], ["b", "open", undefined]]);
  rows.replace(answer([row("a", { state: "resolved" })]), "user");
  rows.merge(answer([row("a", { state: "resolved" })]), ["a"]);
  assert.equal(state.chart.rows[0].left, undefined, "one that is filtered for has not left");
});

test("after the agents' clock went back, what is counted goes to the minute of now", () => {
  rows.replace(answer([row("a", { minutes: [1, 2] })], { time: "2026-03-10T20:00:00Z" }), "user");
  rows.replace(answer([row("a", { minutes: [1, 2], lastSeen: "2026-03-10T18:59:00Z" })], { time: "2026-03-10T19:00:00Z" }), "live");
  count("a", 9, "2026-03-10T19:00:30Z");
  assert.deepEqual(state.chart.rows[0].minutes, [1, 6]);
});

test("after the agents' clock went back, counts replace those of the row again", () => {
  count("a", 12, "2026-03-10T12:00:30Z");
  assert.equal(count("a", 11, "2026-03-10T12:00:20Z"), false, "a little older: it was on its way");
  assert.equal(count("a", 13, "2026-03-10T11:50:40Z"), true);
  assert.equal(count("a", 14, "2026-03-10T11:50:42Z"), true);
  assert.equal(count("a", 13, "2026-03-10T11:50:41Z"), false);
  assert.equal(state.chart.rows[0].connections, 14);
});

test("the minutes of an answer that was overtaken by the next minute stand where those of the others do", () => {
  rows.replace(answer([row("a", { minutes: [4, 5] }), row("b", { minutes: [7] })], { time: "2026-03-10T12:10:58Z" }), "user");
  count("b", 6, "2026-03-10T12:11:00Z");
  rows.merge(answer([row("a", { minutes: [4, 5] }), row("c", { minutes: [3] }), row("d")], { time: "2026-03-10T12:10:59Z" }), ["a", "c", "d"]);
  assert.deepEqual([...state.chart.rows, ...state.waiting].map((one) => one.minutes), [[4, 5, 0], [7, 1], [3, 0], undefined]);
  rows.merge(answer([row("a", { minutes: [4, 5, 2] })], { time: "2026-03-10T12:11:01Z" }), ["a"]);
  assert.deepEqual(state.chart.rows[0].minutes, [4, 5, 2]);
});

test("a port that is served after its findings ended is a declared port, beside the resolved row or in its own place", () => {
  const served = row("a", { code: undefined, severity: undefined, declaration: "declared" }), ended = row("a", { state: "resolved", served });
  rows.replace(answer([ended, row("b")]), "user");
  const shownAll = () => rows.withServed(state.chart.rows).map((one) => [rows.leadsTo(one.fingerprint), one.code, one.state]);
  assert.deepEqual(shownAll(), [["b", "undeclared-active", "open"], ["a", "undeclared-active", "resolved"], ["a", undefined, "open"]]);
  assert.equal(new Set(rows.withServed(state.chart.rows).map((one) => one.fingerprint)).size, 3);
  rows.replace(answer([row("a")]), "user");
  rows.merge(answer([ended]), ["a"]);
  assert.deepEqual(shownAll(), [["a", "undeclared-active", "resolved"]], "what has just left still stands for its port: nothing moves");
  rows.replace(answer([served]), "user");
  rows.merge(answer([ended]), ["a"]);
  assert.deepEqual(shownAll(), [["a", undefined, "open"]]);
});

test("what is new, worse and resolved is told once", () => {
  const first = rows.changes(new Map(), state.chart.rows, []);
  rows.merge(answer([row("b", { severity: "critical", code: "undeclared-external" }), row("c")]), ["a", "b", "c"]);
  const second = rows.changes(first.after, state.chart.rows, state.waiting), of = (list) => list.map((one) => one.fingerprint);
  assert.deepEqual([of(second.fresh), of(second.worse), of(second.resolved)], [["c"], ["b"], ["a"]]);
  const third = rows.changes(second.after, state.chart.rows, state.waiting);
  assert.deepEqual([third.fresh, third.worse, third.resolved], [[], [], []]);
});

test("ports that are not judged are not shown, neither by themselves nor beside a resolved row", () => {
  const plain = (fingerprint, declaration) => row(fingerprint, { code: undefined, severity: undefined, declaration });
  const ended = row("e", { state: "resolved", served: plain("e", "undeclared") });
  const all = [row("a", { declaration: "undeclared" }), plain("b", "undeclared"), plain("c", "unknown"), plain("d", "declared"), ended, plain("x", "explained")];
  assert.deepEqual(rows.withServed(all).map((one) => one.fingerprint), ["a", "d", "e", "x"]);
});
