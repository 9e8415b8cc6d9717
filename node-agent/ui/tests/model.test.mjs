import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_CALLERS, MAX_LINES, MAX_NAMES, grouped, model, severityCounts } from "../js/model.js";
import { compare } from "../js/words.js";
import { cluster, declared, found, node, outside, pod, row } from "./rows.mjs";

const works = (shown) => shown.bands.flatMap((band) => band.works);
const rowsOf = (shown) => works(shown).flatMap((work) => work.rows);
const linesOf = (shown) => rowsOf(shown).flatMap((one) => one.edges);
const names = (shown) => rowsOf(shown).length + works(shown).length + shown.callers.size + shown.bands.filter((band) => band.fold).length;
const web = { namespace: "shop", workload: { kind: "Deployment", name: "web" } }, db = { namespace: "shop", workload: { kind: "StatefulSet", name: "db" } };

test("no rows make an empty chart", () => {
  const shown = model({ rows: [] });
  assert.deepEqual([shown.bands, shown.callers.size, shown.unlisted], [[], 0, 0]);
});

test("a few rows are shown as they are, namespaces and workloads in the order of their first row", () => {
  const rows = [found("critical", { namespace: "pay" }), found("high", web), found("low", { namespace: "pay" }), declared(web), declared(db)];
  const shown = model({ rows, budget: 16 });
  assert.deepEqual(shown.bands.map((band) => band.title), ["pay", "shop"]);
  assert.deepEqual(works(shown).map((work) => [work.name, work.rows.length]), [["web", 2], ["web", 2], ["db", 1]]);
  assert.ok(shown.bands.every((band) => !band.fold));
});

test("two workloads of one name and different kinds are two", () => {
  const shown = model({ rows: [found("high", web), found("high", { ...web, workload: { kind: "StatefulSet", name: "web" } })] });
  assert.equal(works(shown).length, 2);
});

test("first, declared ports of a workload become one row, of the last workloads first", () => {
  const rows = [found("high", web), ...Array.from({ length: 9 }, () => declared(web)), found("low", db), ...Array.from({ length: 9 }, () => declared(db))];
  const shown = model({ rows, budget: 16 });
  const folded = rowsOf(shown).filter((one) => one.fold);
  assert.deepEqual(folded.map((one) => one.by), ["9 declared ports"]);
  assert.equal(folded[0].foldId, "declared:shop/StatefulSet/db");
  assert.equal(rowsOf(model({ rows, budget: 16, folds: new Set([folded[0].foldId]) })).filter((one) => one.work === "shop/StatefulSet/db").length, 10);
});

test("second, workloads without findings become a line of their namespace", () => {
  const rows = [found("high", web), ...Array.from({ length: 30 }, (_, i) => declared({ workload: { kind: "Deployment", name: `quiet${i}` } }))];
  const shown = model({ rows, budget: 16 });
  assert.ok(rowsOf(shown).length <= 16);
  assert.match(shown.bands[0].fold.text, /^\d+ declared ports of \d+ more workloads$/u);
  assert.equal(shown.bands[0].fold.id, "quiet:shop");
  assert.equal(rowsOf(model({ rows, budget: 16, folds: new Set(["quiet:shop"]) })).length, 31);
});

test("third, the same port and process in over five workloads becomes one row", () => {
  const rows = Array.from({ length: 20 }, (_, i) => found(i ? "high" : "critical", { workload: { kind: "Deployment", name: `app${i}` }, port: 5005, process: "java", callers: [outside("203.0.113.9", 2)], connections: 2 }));
  const shown = model({ rows, budget: 16 });
  const [merged] = rowsOf(shown);
  assert.equal(rowsOf(shown).length, 1);
  assert.deepEqual([merged.severity, merged.of.length, merged.edges.length, merged.edges[0].n, merged.edges[0].severity], ["critical", 20, 1, 40, "critical"]);
  assert.equal(works(shown)[0].name, "20 workloads");
  assert.equal(rowsOf(model({ rows, budget: 16, folds: new Set([merged.id]) })).length, 20);
  const few = rows.slice(0, 5).concat(Array.from({ length: 14 }, (_, i) => found("low", { port: i + 1 })));
  assert.ok(rowsOf(model({ rows: few, budget: 16 })).every((one) => !one.fold));
});

test("fourth, over three times the budget there is a row for each namespace, with counts", () => {
  const rows = Array.from({ length: 90 }, (_, i) => found(["critical", "high", "medium", "low"][Math.floor(i / 25)], { namespace: `ns${i % 9}`, workload: { kind: "Deployment", name: `a${i}` }, port: i + 1, callers: [pod("edge", "proxy", 3)], connections: 3 }));
  const shown = model({ rows, budget: 16 });
  assert.ok(shown.overview);
  assert.equal(works(shown).length, 9);
  assert.deepEqual(rowsOf(shown)[0].tally[0].severity, "critical");
  assert.deepEqual([...shown.callers.keys()], ["ns/edge"]);
});

test("namespaces with nothing above low are one fold, and it opens", () => {
  const rows = Array.from({ length: 120 }, (_, i) => found(i < 40 ? "high" : "low", { namespace: `ns${i < 40 ? i % 4 : 4 + (i % 8)}`, workload: { kind: "Deployment", name: `a${i}` }, port: i + 1 }));
  const [band] = model({ rows, budget: 16 }).bands;
  assert.equal(band.works.length, 4);
  assert.equal(band.fold.text, "8 more namespaces, nothing above low");
  assert.equal(model({ rows, budget: 16, folds: new Set([band.fold.id]) }).bands[0].works.length, 12);
});

test("where few namespaces have very many ports, the worst are shown and the table has the others", () => {
  const rows = Array.from({ length: 900 }, (_, i) => found(i < 20 ? "critical" : "medium", { workload: { kind: "Deployment", name: `a${i % 300}` }, port: i + 1 })).sort(compare);
  const shown = model({ rows, budget: 16 });
  assert.ok(names(shown) <= MAX_NAMES);
  assert.equal(rowsOf(shown).filter((one) => one.severity === "critical").length, 20);
  assert.match(shown.bands[0].fold.text, /^\d+ more ports, worst medium: in the table$/u);
  const told = Number(/^\d+/u.exec(shown.bands[0].fold.text)[0]);
  assert.equal(rowsOf(shown).length + told, 900);
});

test("counted declared ports are a row of their workload, or of the namespace's fold", () => {
  const shown = model({ rows: [found("high", web)], declared: [{ ...web, ports: 3, connections: 9 }, { ...db, ports: 2, connections: 0 }], budget: 16 });
  assert.deepEqual(rowsOf(shown).map((one) => one.by), ["node", "3 declared ports", "2 declared ports"]);
  const many = Array.from({ length: 90 }, (_, i) => ({ namespace: `ns${i % 30}`, workload: { kind: "Deployment", name: `q${i}` }, ports: 2, connections: 0 }));
  const big = model({ rows: [found("high", web)], declared: many, budget: 16 });
  assert.equal(big.bands.length, 2);
  assert.equal(big.bands[1].fold.text, "180 declared ports of 90 workloads");
  assert.equal(model({ rows: [found("high", web)], declared: many, budget: 16, folds: new Set(["quiet"]) }).bands.length, 31);
});

test("callers are addresses with their door, workloads of namespaces, nodes, and others that are not listed", () => {
  const rows = [found("critical", { connections: 60, moreCallers: 4, callers: [outside("203.0.113.9", 37), pod("edge", "proxy", 5), node("worker-1", 3), node("worker-2", 3)] })];
  const { callers, bands } = model({ rows });
  assert.deepEqual([...callers.values()].map((one) => [one.group, one.name, one.sub]), [
    ["outside the cluster", "203.0.113.9", "via NodePort"], ["edge", "proxy", ""], ["other callers", "others, not listed", ""], ["the nodes", "2 nodes", "kubelet, probes"]]);
  assert.deepEqual(bands[0].works[0].rows[0].edges.map((edge) => edge.n), [37, 5, 6, 12]);
});

test("sums of rows count the packets of UDP, and say what they are of", () => {
  const dns = { protocol: "UDP", packets: 40, callers: [{ ...pod("edge", "proxy"), packets: 40, connections: 0 }] }, web = { connections: 3, callers: [pod("edge", "proxy", 3)] };
  const labels = (rows) => [...model({ rows, budget: 16 }).callers.values()].map((one) => one.label);
  assert.deepEqual(labels([found("high", dns)]), ["proxy of edge, calls 1 port, 40 packets"]);
  assert.deepEqual(labels([found("high", web)]), ["proxy of edge, calls 1 port, 3 connections"]);
  assert.deepEqual(labels([found("high", dns), found("high", web)]), ["proxy of edge, calls 2 ports, 43 calls"]);
  assert.deepEqual(labels([found("high", { ...web, connections: 1, callers: [pod("edge", "proxy")] })]), ["proxy of edge, calls 1 port, 1 connection"]);
  const many = (of) => Array.from({ length: 100 }, (_, i) => found("high", { ...of, port: 53, namespace: `ns${i % 10}`, workload: { kind: "Deployment", name: `app${i}` } }));
  const [merged] = rowsOf(model({ rows: many(dns).slice(0, 20).map((one) => ({ ...one, namespace: "shop" })), budget: 16 }));
  assert.deepEqual([merged.of.length, merged.total, merged.edges[0].n, merged.edges[0].unit], [20, 800, 800, "packet"]);
  const [space] = rowsOf(model({ rows: [...many(dns), ...many(web)].map((one, i) => ({ ...one, port: i })), budget: 16 }));
  assert.deepEqual([space.total, space.edges[0].unit], [430, "call"]);
});

test("a row that says only that callers came shows them as not listed", () => {
  assert.deepEqual([...model({ rows: [found("high", { truncated: true })] }).callers.keys()], ["others"]);
  assert.deepEqual([...model({ rows: [found("high", { connections: 5 })] }).callers.keys()], ["others"]);
  assert.equal(model({ rows: [found("high")] }).callers.size, 0);
});

test("a caller of over eight ports is a hub: only its lines to critical and high are always drawn", () => {
  const rows = ["high", "medium", ...Array(7).fill("low")].map((severity) => found(severity, { callers: [pod("platform", "prometheus", 9)], connections: 9 }));
  const shown = model({ rows });
  assert.equal([...shown.callers.values()][0].hub, "a");
  assert.ok(rowsOf(shown).every((one) => one.hubs[0] === "a"));
  assert.deepEqual(linesOf(shown).map((edge) => edge.ghost), [false, ...Array(8).fill(true)]);
  assert.equal([...model({ rows: rows.slice(1) }).callers.values()][0].hub, undefined);
});

test("over sixteen callers the others are one, with how many", () => {
  const rows = Array.from({ length: 10 }, (_, i) => found("critical", { connections: 4, callers: Array.from({ length: 4 }, (_, k) => outside(`203.0.113.${i * 4 + k}`, 1 + k)) }));
  const shown = model({ rows });
  assert.equal(shown.callers.size, MAX_CALLERS + 1);
  assert.equal(shown.callers.get("callers:outside").name, "24 more");
  assert.match(shown.callers.get("callers:outside").label, /^24 more, \d+ connections$/u);
  const all = linesOf(shown).reduce((total, edge) => total + edge.n, 0);
  assert.equal(all, 100, "no connection is lost");
  assert.equal(model({ rows, folds: new Set(["callers:outside"]) }).callers.size, 40);
});

test("kept callers stay listed when others become busier", () => {
  const rows = [0, 1, 2].map((i) => found("critical", { callers: Array.from({ length: 8 }, (_, k) => outside(`203.0.113.${i * 8 + k}`, 1 + k)) }));
  const first = new Set(model({ rows }).callers.keys());
  const later = rows.map((one) => ({ ...one, callers: one.callers.map((caller, k) => ({ ...caller, connections: 100 - k })) }));
  assert.deepEqual(new Set(model({ rows: later, keep: first }).callers.keys()), first);
});

test("accepted and declared rows have grey lines", () => {
  const callers = [pod("edge", "proxy", 5)], shown = model({ rows: [found("high", { state: "suppressed", callers }), declared({ callers })] });
  assert.deepEqual(linesOf(shown).map((edge) => edge.severity), [undefined, undefined]);
});

test("every row is shown, or folded where its fingerprint leads to it, in the open chart", () => {
  const rows = cluster({ namespaces: 3, workloads: 6, ports: 3 }).sort(compare);
  const shown = model({ rows, budget: 30 });
  const inFolds = new Set(shown.bands.flatMap((band) => band.fold?.of ?? []));
  const quiet = shown.bands.reduce((all, band) => all + (band.fold?.id.startsWith("quiet") ? band.quiet.flatMap((w) => w.declared).length : 0), 0);
  assert.equal(rows.filter((one) => shown.rowOf.has(one.fingerprint) || inFolds.has(one.fingerprint)).length + quiet, rows.length);
});

test("3,000 ports stay within the bounds, in every shape of cluster", () => {
  for (const shape of [{ namespaces: 40, workloads: 30 }, { namespaces: 2, workloads: 600 }, { namespaces: 700, workloads: 3 }, { namespaces: 1, workloads: 1, ports: 3000 }, { namespaces: 5, workloads: 12, callers: 8 }]) {
    for (const budget of [16, 29, 80]) for (const folds of [[], ["namespaces", "quiet", "callers:inside", "callers:outside"]]) {
      const rows = cluster({ ...shape, seed: budget }).sort(compare).slice(0, 3000), shown = model({ rows, budget, folds: new Set(folds) });
      assert.ok(names(shown) <= MAX_NAMES, `${JSON.stringify(shape)}: ${names(shown)} names`);
      assert.ok(linesOf(shown).length <= MAX_LINES);
      assert.ok(folds.length || shown.callers.size <= 2 * MAX_CALLERS + 4);
      assert.ok(rowsOf(shown).every((one) => one.edges.every((edge) => shown.callers.has(edge.from))));
      assert.equal(new Set(rowsOf(shown).map((one) => one.id)).size, rowsOf(shown).length);
    }
  }
});

test("counts that change move no row and no workload", () => {
  const rows = cluster({ namespaces: 3, workloads: 5 }).sort(compare), ids = (shown) => rowsOf(shown).map((one) => one.id);
  const later = rows.map((one, i) => ({ ...one, connections: one.connections + i * 997 }));
  assert.deepEqual(ids(model({ rows: later, budget: 20 })), ids(model({ rows, budget: 20 })));
});

test("a severity that changes moves nothing in the overview while its first rank is kept", () => {
  const rows = cluster({ namespaces: 30 }).sort(compare), ranks = new Map(rows.map((one) => [one.fingerprint, rows.indexOf(one) < 99 ? 0 : 4]));
  const worse = rows.map((one) => ({ ...one, severity: "critical", code: "undeclared-external", state: "open" }));
  const ids = (all) => rowsOf(model({ rows: all, budget: 20, ranks })).map((one) => one.id);
  assert.deepEqual(ids(worse), ids(rows));
});

test("groups and tallies keep the order of rows and count what is open", () => {
  const rows = [found("high", db), found("low", web), found("high", { ...db, state: "suppressed" })];
  assert.deepEqual(grouped(rows).map((group) => group.rows.length), [2, 1]);
  assert.deepEqual(severityCounts(rows), [{ severity: "high", n: 1 }, { severity: "low", n: 1 }]);
});

test("rows without a namespace, a workload, a port or callers are shown", () => {
  const rows = [row({ namespace: undefined, workload: undefined, pod: undefined, code: "unattributed", severity: "info" }), found("info", { port: undefined, protocol: undefined, code: "opaque-runtime", callers: undefined })];
  const shown = model({ rows });
  assert.deepEqual(shown.bands.map((band) => band.title), ["no known pod", "shop"]);
});

test("rows of silent nodes are marked, also where one row stands for several, and are not counted as open", () => {
  const silent = ["worker-7"], rows = [found("high", { ...web, silent }), found("low", web)];
  assert.deepEqual(rowsOf(model({ rows })).map((one) => one.silent), [true, false]);
  assert.deepEqual(severityCounts(rows), [{ severity: "low", n: 1 }]);
  const same = Array.from({ length: 20 }, (_, i) => found("high", { workload: { kind: "Deployment", name: `app${i}` }, port: 5005, silent: i < 19 ? silent : undefined }));
  assert.equal(rowsOf(model({ rows: same, budget: 16 }))[0].silent, false, "one of its nodes answers");
  assert.equal(rowsOf(model({ rows: same.map((one) => ({ ...one, silent })), budget: 16 }))[0].silent, true);
});
