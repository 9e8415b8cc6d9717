import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as words from "../js/words.js";

const NOW = new Date(2026, 2, 20, 14, 20).getTime();
const earlier = (ms) => new Date(NOW - ms).toISOString();
const MIN = 60e3, HOUR = 3600e3, DAY = 24 * HOUR;
const row = (more) => ({
  fingerprint: "f", namespace: "shop", workload: { kind: "Deployment", name: "web" }, port: 9229, protocol: "TCP", process: "node",
  code: "undeclared-external", severity: "critical", state: "open", declaration: "undeclared", exposure: "pod", policy: "not-isolated",
  pods: 1, podsTotal: 3, nodes: [], attempts: 41, connections: 37, packets: 0, bytes: 0, firstSeen: earlier(42 * MIN), callers: [], ...more,
});

test("every code of the engine has a title and a severity, and no other has", () => {
  const source = readFileSync(new URL("../../engine/src/model/finding_code.rs", import.meta.url), "utf8");
  const codes = [...source.matchAll(/Self::\w+ => "([a-z-]+)"/gu)].map((found) => found[1]).filter((name) => !words.SEVERITIES.includes(name));
  assert.ok(codes.length >= 13);
  assert.deepEqual(Object.keys(words.WORDS).sort(), codes.sort());
});

test("numbers are short", () => {
  const of = [[0, "0"], [37, "37"], [999, "999"], [1000, "1.0k"], [1234, "1.2k"], [9960, "10k"], [17_900, "18k"], [999_499, "999k"], [999_500, "1.0M"], [1.1e6, "1.1M"], [5e12, "5.0T"]];
  for (const [n, text] of of) assert.equal(words.short(n), text);
});

test("bytes have binary units", () => {
  for (const [n, text] of [[0, "0 B"], [1023, "1023 B"], [1024, "1.0 KiB"], [1_258_291, "1.2 MiB"], [2 ** 40, "1.0 TiB"]]) assert.equal(words.bytes(n), text);
});

test("plurals follow the number", () => {
  assert.equal(words.many(1, "port"), "1 port");
  assert.equal(words.many(1204, "port"), "1,204 ports");
  assert.equal(words.many(2, "port is", "ports are"), "2 ports are");
});

test("times are said as people say them", () => {
  const of = [[500, "now"], [12e3, "12 s ago"], [42 * MIN, "42 min ago"], [5 * HOUR, "5 h ago"], [20 * HOUR, "yesterday"], [3 * DAY, "Tuesday"], [17 * DAY, "3 March"], [400 * DAY, "13 February 2025"]];
  for (const [passed, text] of of) assert.equal(words.since(earlier(passed), NOW), text);
  assert.equal(words.ago(earlier(3 * DAY), NOW), "3 days ago");
  assert.equal(words.ago(undefined, NOW), "");
  assert.equal(words.since("nonsense", NOW), "");
});

test("packets count for UDP", () => {
  assert.equal(words.count(row()), 37);
  assert.equal(words.count(row({ protocol: "UDP", packets: 5 })), 5);
});

test("the order is severity, then connections, then accepted, then declared", () => {
  const rows = [row({ code: undefined, severity: undefined, connections: 1e6 }), row({ state: "suppressed", connections: 1e6 }), row({ severity: "high", connections: 1 }), row({ severity: "high", connections: 9 }), row({ connections: 0 })];
  assert.deepEqual([...rows].sort(words.compare), [rows[4], rows[3], rows[2], rows[1], rows[0]]);
});

test("new is what was first seen within a day and after the agent's start", () => {
  const started = earlier(5 * DAY);
  assert.equal(words.badge(row(), started, NOW), "new");
  assert.equal(words.badge(row(), earlier(10 * MIN), NOW), "", "before its start the agent knew nothing");
  assert.equal(words.badge(row({ firstSeen: earlier(2 * DAY) }), started, NOW), "");
  assert.equal(words.badge(row({ state: "resolved" }), started, NOW), "");
});

test("worse and better are changes of severity within a day", () => {
  const old = { firstSeen: earlier(9 * DAY), changedAt: earlier(HOUR) }, started = earlier(10 * DAY);
  const told = (more) => words.badge(row({ ...old, ...more }), started, NOW);
  assert.equal(told({ previousCode: "undeclared-active" }), "worse");
  assert.equal(told({ code: "undeclared-blocked", severity: "low", previousCode: "undeclared-reachable" }), "better");
  assert.equal(told({ code: "undeclared-host", severity: "high", previousCode: "undeclared-active" }), "", "of the same severity");
  assert.equal(told({ previousCode: "undeclared-active", changedAt: earlier(2 * DAY) }), "");
  assert.equal(told({ previousCode: "of-a-later-version" }), "");
});

test("a screen reader hears port, workload, process, severity, title and count", () => {
  assert.equal(words.label(row()), "Port 9229 TCP of shop/web, node, critical, Reached from outside, 37 connections");
  assert.equal(words.label(row({ state: "suppressed", connections: 1 })), "Port 9229 TCP of shop/web, node, accepted, Reached from outside, 1 connection");
  assert.equal(words.label(row({ code: undefined, severity: undefined, declaration: "declared" })), "Port 9229 TCP of shop/web, node, declared, 37 connections");
});

test("callers are named, and those that are not listed are mentioned", () => {
  const web = { origin: "pod", namespace: "shop", workload: { kind: "Deployment", name: "ops" }, address: "192.0.2.7", connections: 3, packets: 0 };
  const outside = { origin: "external", address: "203.0.113.9", via: "nodePort", connections: 2, packets: 0 };
  assert.equal(words.callers(row({ connections: 0 })), "nobody");
  assert.equal(words.callers(row({ callers: [outside, web] })), "203.0.113.9 and shop/ops");
  assert.equal(words.callers(row({ callers: [outside, web], moreCallers: 4, truncated: true }), 1), "203.0.113.9, 5 more and others that are not listed");
  assert.equal(words.callers(row({ callers: [], truncated: true })), "others that are not listed");
  assert.equal(words.why(row({ callers: [web, outside] })), "from 203.0.113.9 and 1 more");
  assert.equal(words.why(row({ callers: [outside] })), "from 203.0.113.9 via NodePort");
  assert.equal(words.callerName({ origin: "node", address: "192.0.2.1", node: "worker-3" }), "node worker-3");
});

test("the story says who opened it and who called it", () => {
  const outside = { origin: "external", address: "203.0.113.9", via: "nodePort", connections: 37, packets: 0 };
  assert.equal(words.story(row({ callers: [outside] }), NOW),
    "node serves it in 1 of 3 pods, first seen 42 min ago; no manifest declares it. It was called 37 times from outside the cluster, by 203.0.113.9.");
  assert.equal(words.story(row({ code: "stale-declaration", severity: "info", connections: 0, process: undefined, podsTotal: 1 }), NOW),
    "The manifest declares it, and nobody listens on it, first seen 42 min ago. Nobody has called it.");
});

test("every code has a story of two sentences that names nothing undefined", () => {
  for (const code of Object.keys(words.WORDS)) {
    const text = words.story(row({ code, process: undefined, pod: undefined, podsTotal: undefined, firstSeen: "" }), NOW);
    assert.match(text, /^[^]+\. [^]+\.$/u);
    assert.doesNotMatch(text, /undefined|null|NaN/u);
  }
});

test("a guess comes from the finding's message only", () => {
  const message = "port 9229/TCP is served by node but not declared by pod shop/web-1; this is likely the Node.js inspector: callers can run code in it; 203.0.113.9 called it: close it";
  assert.equal(words.guess(message), "This is likely the Node.js inspector: callers can run code in it.");
  assert.equal(words.guess("port 1/TCP is served by x; y called it"), "");
  assert.equal(words.guess(undefined), "");
});

test("the guess is found in what the engine writes", () => {
  // Fails if the engine words its guess otherwise: `guess` and these phrases must change together.
  const source = readFileSync(new URL("../../engine/src/rules/well_known_ports.rs", import.meta.url), "utf8");
  const formats = [...source.matchAll(/write!\(f, "([^"]+)"/gu)].map((found) => found[1]);
  assert.equal(formats.length, 2, "the guess by program, and that by number");
  const rows = [...source.matchAll(/by_(?:program|number)!\(\w+, "([^"]+)", "[^"]+", \[.*?\], \[.*?\], "([^"]+)"\)/gu)];
  assert.ok(rows.length > 30);
  for (const format of formats) for (const [, what, allows] of rows) {
    const said = format.replace("{}", "9229").replace("{what}", what).replace("{allows}", allows);
    assert.doesNotMatch(said, /[{}]/u);
    const expected = `${said[0].toUpperCase()}${said.slice(1)}.`;
    assert.equal(words.guess(`port 9229/TCP is served by x but not declared by pod shop/web-1; ${said}; y called it`), expected);
    assert.equal(words.guess(`port 9229/TCP is served by x; ${said}`), expected);
  }
});

test("counts per minute are not known where the answer holds none of a port that was just called", () => {
  const called = row({ lastSeen: earlier(5 * MIN) });
  assert.equal(words.perMinute(called, NOW), null);
  assert.equal(words.perMinute(row({ code: undefined, lastSeen: earlier(5 * HOUR) }), NOW), null, "declared ports have no counts per minute");
  assert.deepEqual(words.perMinute({ ...called, lastSeen: earlier(2 * HOUR) }, NOW), Array(60).fill(0));
  assert.deepEqual(words.perMinute(row({ connections: 0 }), NOW), Array(60).fill(0), "what was never called was not called in the last hour");
  assert.deepEqual(words.perMinute({ ...called, minutes: [3, 4] }, NOW).slice(-3), [0, 3, 4]);
  assert.equal(words.perMinute({ ...called, minutes: Array(99).fill(1) }, NOW).length, 60);
});

test("a name that an agent chose is never taken from the language itself", () => {
  for (const name of ["constructor", "toString", "__proto__"]) {
    assert.equal(words.title(row({ code: name })), name);
    assert.equal(words.door(name), `via ${name}`);
    assert.equal(words.badge(row({ firstSeen: earlier(9 * DAY), previousCode: name, changedAt: earlier(HOUR) }), earlier(10 * DAY), NOW), "");
  }
});

test("a row of a silent node says that it is as last known", () => {
  assert.equal(words.lastKnown(row()), "");
  assert.equal(words.lastKnown(row({ silent: ["worker-7"] })), "as last known: worker-7 is silent");
  assert.equal(words.lastKnown(row({ silent: ["worker-7", "worker-8"] })), "as last known: worker-7 and 1 more node are silent");
  assert.match(words.label(row({ silent: ["worker-7"] })), /37 connections, as last known: worker-7 is silent$/u);
});

test("a fold of declared ports belongs to one kind of workload", () => {
  const deployment = row(), set = row({ workload: { kind: "StatefulSet", name: "web" } });
  assert.notEqual(words.declaredFold(deployment), words.declaredFold(set));
  assert.equal(words.declaredFold(row({ workload: undefined, pod: "web-0" })), "declared:shop/Pod/web-0");
});

test("a port without a finding that nothing declares is not called declared", () => {
  const plain = { code: undefined, severity: undefined }, titles = { undeclared: "Not judged yet", unknown: "Not judged yet", declared: "Declared", explained: "Explained" };
  for (const [declaration, title] of Object.entries(titles)) {
    const one = row({ ...plain, declaration }), isWaiting = title === "Not judged yet";
    assert.deepEqual([words.title(one), words.standing(one), words.isUnjudged(one)], [title, isWaiting ? "not judged yet" : "declared", isWaiting]);
  }
  assert.equal(words.isUnjudged(row()), false, "it has a finding");
  assert.match(words.label(row({ ...plain, declaration: "unknown" })), /node, not judged yet, 37 connections$/u);
  const ofNode = row({ ...plain, declaration: "unknown", namespace: undefined });
  assert.deepEqual([words.isUnjudged(ofNode), words.title(ofNode)], [false, "Of no known pod"]);
});

test("ports that are not judged are counted in one sentence, whether the agent counts or lists them", () => {
  const listed = [row(), row({ code: undefined }), row({ code: undefined, declaration: "declared" })];
  assert.deepEqual([undefined, { totals: {}, rows: [] }, { totals: { unjudged: 4 }, rows: [] }, { totals: {}, rows: listed }, { totals: { unjudged: 4 }, rows: listed }].map(words.unjudged), [0, 0, 4, 1, 5]);
  assert.equal(words.unjudgedWords(0), "");
  assert.equal(words.unjudgedWords(1), " 1 undeclared port waits for a finding or is part of a port storm.");
  assert.equal(words.unjudgedWords(1204), " 1,204 undeclared ports wait for a finding or are part of a port storm.");
});
