import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { describe, format, isFiltered, matches, matchesDeclared, none, parse } from "../js/filter.js";

const read = (query) => parse(new URLSearchParams(query));
const { now, rows, cases } = JSON.parse(readFileSync(new URL("filter_cases.json", import.meta.url), "utf8"));

for (const { name, query, matching } of cases) {
  test(`rows: ${name}`, () => {
    const found = rows.filter((row) => matches(row, read(query), Date.parse(now))).map((row) => row.fingerprint);
    assert.deepEqual(found, matching);
  });
}

test("a query that the page writes reads back as the same filters and the same query", () => {
  for (const query of [
    "", "q=node+-shop/web", "q=a%26b%3D%2Bc%25", "q=%E2%80%AEgnp", "severity=critical,info", "namespace=a,-b", "caller=outside&caller=-shop/web", "since=24h",
    "since=2026-03-10T11:30:00Z", "state=open", "state=open,suppressed,resolved", "q=x&severity=high&namespace=a&caller=2001:db8::1&since=7d&state=resolved",
  ]) {
    assert.equal(format(read(query)), query);
    assert.deepEqual(read(format(read(query))), read(query));
  }
});

test("the default states and the order of values leave one spelling of a query", () => {
  assert.equal(format(read("state=suppressed,open")), "");
  assert.equal(format(read("severity=info,critical&severity=info")), "severity=critical,info");
  assert.equal(isFiltered(read("state=open,suppressed")), false);
});

test("values that mean nothing are named and filter nothing", () => {
  const filters = read("severity=bad,high&state=shut&since=yesterday&since=1h");
  assert.deepEqual(filters.unknown, ["severity=bad", "state=shut", "since=yesterday"]);
  assert.equal(format(filters), "severity=high");
});

test("too many and too long values are cut and named", () => {
  const filters = read(`namespace=${Array.from({ length: 80 }, (_, i) => `n${i}`).join(",")}&caller=${"x".repeat(600)}`);
  assert.equal(filters.namespace.length, 64);
  assert.deepEqual(filters.caller, []);
  assert.equal(filters.unknown.length, 17);
});

test("a text that is too long is cut, and said to be", () => {
  const filters = read(`q=${"x".repeat(600)}`);
  assert.equal(filters.q.length, 512);
  assert.deepEqual(filters.unknown, ["q beyond 512 characters"]);
});

test("each chip clears one filter and leaves the others", () => {
  const filters = read("q=node&severity=high,low&namespace=a,-b&caller=outside&since=24h&state=open");
  const chips = describe(filters);
  assert.deepEqual(chips.map((chip) => chip.text), [
    "“node”", "high", "low", "namespace a", "namespace not b", "called by outside", "changed in the last 24 hours", "state open",
  ]);
  assert.equal(format(chips[1].clear), "q=node&severity=low&namespace=a,-b&caller=outside&since=24h&state=open");
  assert.equal(format(chips[4].clear), "q=node&severity=high,low&namespace=a&caller=outside&since=24h&state=open");
});

test("counted declared ports match by namespace and text, and never by what is unknown of them", () => {
  const ports = { namespace: "shop", workload: { kind: "Deployment", name: "web" }, ports: 3, connections: 9 };
  assert.equal(matchesDeclared(ports, none()), true);
  assert.equal(matchesDeclared(ports, read("q=shop/we")), true);
  assert.equal(matchesDeclared(ports, read("q=-web")), false);
  assert.equal(matchesDeclared(ports, read("namespace=-shop")), false);
  for (const query of ["severity=high", "since=24h", "caller=outside", "state=resolved"]) assert.equal(matchesDeclared(ports, read(query)), false);
});
