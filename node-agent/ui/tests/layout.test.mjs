import assert from "node:assert/strict";
import { test } from "node:test";

import { layout, lineWidth } from "../js/layout.js";
import { model } from "../js/model.js";
import { compare } from "../js/words.js";
import { cluster, found, outside, pod, random } from "./rows.mjs";

const WIDTHS = [1920, 1290, 882, 840, 680, 560, 559, 358, 300];

/** Fails if two names overlap, or one is not within the width and height. */
function check(L, text) {
  const names = [...L.names].sort((a, b) => a.y - b.y);
  names.forEach((a, i) => {
    assert.ok(a.x >= 0 && a.x + a.width <= L.width + 0.01, `${text}: ${a.key} is not within the width`);
    assert.ok(a.y >= 0 && a.y + a.height <= L.height + 0.01, `${text}: ${a.key} is not within the height`);
    for (let k = i + 1; k < names.length && names[k].y < a.y + a.height - 0.01; k += 1) {
      const b = names[k], apart = a.x + a.width <= b.x + 0.01 || b.x + b.width <= a.x + 0.01;
      assert.ok(apart, `${text}: ${a.key} and ${b.key} overlap`);
    }
  });
  assert.equal(new Set(names.map((one) => one.key)).size, names.length, `${text}: keys are not unique`);
  for (const edge of L.edges) for (const value of [edge.y1, edge.y2, edge.width]) assert.ok(Number.isFinite(value), text);
}

test("names never overlap and stay within the width, whatever the cluster", () => {
  const pick = random(11);
  for (let seed = 1; seed <= 60; seed += 1) {
    const shape = { seed, namespaces: 1 + pick(9), workloads: 1 + pick(9), ports: 1 + pick(5), callers: pick(9), length: 1 + pick(253) };
    const rows = cluster(shape).sort(compare), budget = 16 + pick(60);
    const counted = Array.from({ length: pick(30) }, (_, i) => ({ namespace: `quiet${i % 7}`, workload: { kind: "Deployment", name: `q${i}` }, ports: 1 + pick(9), connections: 0 }));
    const shown = model({ rows, declared: counted, budget, folds: new Set(pick(2) ? ["quiet", "callers:inside"] : []) });
    for (const width of WIDTHS) check(layout(shown, width), `${JSON.stringify(shape)} at ${width}`);
  }
});

test("thousands of ports, one port, and none are laid out", () => {
  for (const rows of [[], [found("info")], cluster({ namespaces: 60, workloads: 60 }).sort(compare).slice(0, 3000), cluster({ namespaces: 2, workloads: 900 }).sort(compare)]) {
    for (const width of WIDTHS) check(layout(model({ rows, budget: 29 }), width), `${rows.length} rows at ${width}`);
  }
});

test("a line's width follows the logarithm of its connections", () => {
  assert.equal(lineWidth(0), 1.2);
  assert.equal(lineWidth(1), 1.2);
  assert.ok(Math.abs(lineWidth(1e3) - 4.5) < 1e-9);
  assert.ok(Math.abs(lineWidth(1e6) - 7.8) < 1e-9);
});

test("lines are at most 20 px together at a caller, and 14 px at a port", () => {
  const rows = Array.from({ length: 12 }, () => found("critical", { connections: 8e6, callers: Array.from({ length: 8 }, (_, k) => outside(`203.0.113.${k}`, 1e6)) }));
  const L = layout(model({ rows, budget: 40 }), 900);
  for (const caller of L.callers) {
    const ends = L.edges.filter((edge) => edge.from === caller.id).map((edge) => edge.y1);
    assert.ok(Math.max(...ends) - Math.min(...ends) <= 20 && caller.bar <= 20);
  }
  for (const row of L.rows) {
    const into = L.edges.filter((edge) => edge.row === row), ends = into.map((edge) => edge.y2);
    assert.ok(Math.max(...ends) - Math.min(...ends) <= 14);
    assert.ok(into.reduce((all, edge) => all + edge.width, 0) <= 14.01);
  }
});

test("lines leave a caller in the order of their ports, so that they do not cross there", () => {
  const rows = Array.from({ length: 6 }, () => found("high", { connections: 9, callers: [pod("edge", "proxy", 9)] }));
  const { edges } = layout(model({ rows }), 900), down = edges.map((edge) => edge.y1);
  assert.deepEqual(down, [...down].sort((a, b) => a - b));
});

test("callers outside the cluster come first", () => {
  const rows = [found("high", { callers: [pod("edge", "proxy")], connections: 1 }), found("critical", { callers: [outside("203.0.113.9")], connections: 1 })];
  assert.deepEqual(layout(model({ rows }), 900).blocks.map((block) => block.group), ["outside the cluster", "edge"]);
});

test("callers that come later stand below, and nothing moves", () => {
  const rows = cluster({ namespaces: 3, workloads: 4, callers: 2 }).sort(compare), first = model({ rows, budget: 60 }), before = layout(first, 882);
  const later = rows.map((one, i) => (i < 6 ? { ...one, connections: one.connections + 5e6, callers: [...one.callers, outside(`198.51.100.${i}`, 5e6)] } : one));
  const shown = model({ rows: later, budget: 60, keep: new Set(first.callers.keys()) }), after = layout(shown, 882, before);
  const place = (L) => new Map(L.names.map((name) => [name.key, [name.x, name.y, name.width]])), now = place(after);
  for (const [key, where] of place(before)) assert.deepEqual(now.get(key), where, key);
  assert.ok(after.names.length > before.names.length);
  check(after, "later");
  check(layout(shown, 882, after), "once more");
});

test("a chart of 3,000 ports takes no more work than one of 300 for its lines and names", () => {
  const rows = cluster({ namespaces: 60, workloads: 60 }).sort(compare).slice(0, 3000), L = layout(model({ rows, budget: 29 }), 882);
  assert.ok(L.names.length <= 260 && L.edges.length <= 400, `${L.names.length} names, ${L.edges.length} lines`);
});
