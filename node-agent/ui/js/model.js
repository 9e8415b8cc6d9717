/**
 * What the chart shows, and what it folds: from the rows of `/v1/chart` to bands (namespaces), workloads, ports and callers.
 * Pure. The order of what comes out is that of the rows, so that counts that change move nothing. Bounds: `MAX_NAMES` names,
 * `MAX_LINES` lines, `MAX_CALLERS` callers outside and as many inside the cluster; what is beyond them is counted and named.
 */
import { SEVERITIES, count, declaredFold, door, isGone, joint, label, many, rank, server, short, sum, unit, workKey, workloadName } from "./words.js";

export const MAX_NAMES = 200;
export const MAX_LINES = 400;
export const MAX_CALLERS = 16;
/** A caller of more ports than these is a hub: a letter stands for its lines. */
const HUB_PORTS = 8;
/** The same port and process in more workloads of a namespace than these is one row. */
const SAME = 5;
/** Names that are kept for callers. */
const CALLER_NAMES = 2 * MAX_CALLERS + 4;
const OUTSIDE = "outside the cluster", NODES = "the nodes", OTHERS = "other callers", NAMESPACES = "namespaces";

/** The calls of all rows. */
const calls = (rows) => sum(rows.map((row) => count(row)));
/** Adds to the list under a key of a map. */
const put = (map, key, item) => (map.has(key) ? map.get(key).push(item) : map.set(key, [item]));

/** Rows by workload, in the order in which each first comes: `[{ key, rows }]`. */
export function grouped(rows) {
  const groups = new Map();
  for (const row of rows) put(groups, workKey(row), row);
  return [...groups].map(([key, of]) => ({ key, rows: of }));
}

/** Counts of open rows by severity, the worst first, without zeros: `[{ severity, n }]`. Those of silent nodes are not counted. */
export function severityCounts(rows) {
  const counts = new Map();
  for (const row of rows) if (row.code && row.state === "open" && !row.silent) counts.set(row.severity, (counts.get(row.severity) ?? 0) + 1);
  return SEVERITIES.filter((severity) => counts.has(severity)).map((severity) => ({ severity, n: counts.get(severity) }));
}

/** `Deployment, 3 pods`. */
export function workloadText(rows) {
  const pods = Math.max(...rows.map((row) => row.podsTotal ?? row.pods ?? 0));
  const kind = rows.find((row) => row.workload)?.workload.kind ?? (rows[0].pod ? "Pod" : "");
  return [kind, pods && (kind !== "Pod" || pods > 1) && many(pods, "pod")].filter(Boolean).join(", ");
}

/** Who a caller is in the chart; `wide`: namespaces stand for their workloads. */
function callerOf(caller, row, wide) {
  if (caller.origin === "external") return { id: `outside/${caller.address}`, group: OUTSIDE, name: caller.address, sub: door(caller.via), origin: "external" };
  if (caller.origin === "node") return { id: "nodes", group: NODES, name: caller.node ?? caller.address, sub: "", origin: "node" };
  const of = caller.origin === "same-pod" && !caller.namespace ? row : caller, known = of.workload || of.pod;
  if (wide) return { id: `ns/${of.namespace ?? ""}`, group: NAMESPACES, name: of.namespace ?? "unknown pods", sub: "", origin: "pod" };
  if (!known) return { id: `in/${caller.address}`, group: of.namespace ?? OTHERS, name: caller.address, sub: "", origin: "pod" };
  return { id: workKey(of), group: of.namespace ?? OTHERS, name: of.workload?.name ?? of.pod, sub: "", origin: "pod" };
}

/** Collects the callers of rows: who they are, and one edge for each row and caller. */
class Callers {
  constructor(wide) {
    this.wide = wide;
    this.known = new Map();
  }

  /** The edges of a shown row that stands for these rows. */
  edges(rows) {
    const edges = new Map();
    const add = (who, n, row) => {
      let known = this.known.get(who.id);
      if (!known) this.known.set(who.id, (known = { ...who, names: new Set(), subs: new Set() }));
      known.names.add(who.name);
      if (who.sub) known.subs.add(who.sub);
      const severity = row.code && row.state === "open" ? row.severity : undefined, edge = edges.get(who.id);
      if (!edge) edges.set(who.id, { from: who.id, n, unit: unit(row), severity });
      else {
        edge.n += n;
        edge.unit = joint(edge.unit, unit(row));
        if (rankOf(severity) < rankOf(edge.severity)) edge.severity = severity;
      }
    };
    for (const row of rows) {
      const listed = row.callers ?? [], n = count(row);
      for (const caller of listed) add(callerOf(caller, row, this.wide), count(caller, row.protocol), row);
      const rest = n - sum(listed.map((caller) => count(caller, row.protocol)));
      if (row.moreCallers || row.truncated || (!listed.length && n > 0)) add({ id: "others", group: OTHERS, name: "others, not listed", sub: "", origin: "others" }, Math.max(0, rest), row);
    }
    return [...edges.values()];
  }
}
const rankOf = (severity) => (severity ? SEVERITIES.indexOf(severity) : 9);

/** A row of the chart for one port. */
function portRow(row, callers) {
  return {
    id: row.fingerprint, of: [row.fingerprint], severity: row.code ? row.severity : undefined, state: row.state, gone: isGone(row), silent: Boolean(row.silent),
    inland: row.exposure === "loopback", wall: row.policy === "blocked", port: row.port ? String(row.port) : "", protocol: row.protocol,
    by: row.port ? server(row) : row.protocol ? "a named port" : "all ports", edges: callers.edges([row]), total: count(row), label: label(row), work: workKey(row),
  };
}

/** A row that stands for several ports. */
function foldRow(id, rows, more, callers, looks) {
  return { id, of: rows.map((row) => row.fingerprint), fold: true, silent: rows.length > 0 && rows.every((row) => row.silent), state: "open", port: "", edges: callers.edges(rows), total: calls(rows), ...looks, label: `${looks.label}${more ? `, ${more}` : ""}` };
}

/** Workloads with their ports, in the order of the rows; those that only have counted ports come last. */
function workloads(rows, declared) {
  const works = new Map();
  const work = (of) => {
    const key = workKey(of);
    if (!works.has(key)) works.set(key, { key, ns: of.namespace ?? "", name: of.workload?.name ?? of.pod ?? "no known pod", of, found: [], declared: [], counted: 0, all: [] });
    return works.get(key);
  };
  for (const row of rows) {
    const w = work(row);
    (row.code ? w.found : w.declared).push(row);
    w.all.push(row);
  }
  for (const counted of declared) work(counted).counted += counted.ports;
  return [...works.values()];
}

/** Rows that a workload takes in the chart. */
const rowsTaken = (w) => (w.quiet ? 0 : w.found.length - w.merged.length + (w.folded ? 1 : w.declared.length + (w.counted ? 1 : 0)));

/** Folds, the least important first, until the rows are within the budget: declared ports, then workloads without findings, then
 *  the same port and process in many workloads. Returns the merged rows. Workloads of which only a count is known are folded
 *  anyway, where a namespace has several. */
function fold(works, folds, budget) {
  let left = budget;
  const onlyCounted = new Map();
  for (const w of works) if (!w.all.length) put(onlyCounted, w.ns, w);
  for (const w of works) {
    const isOpen = folds.has(declaredFold(w.of));
    if (isOpen && w.declared.length) w.counted = 0;
    Object.assign(w, { merged: [], isOpen, folded: !isOpen && w.counted > 0, quiet: !w.all.length && onlyCounted.get(w.ns).length > 1 && !folds.has(`quiet:${w.ns}`) });
    left -= rowsTaken(w);
  }
  const shrink = (w, change) => {
    left += rowsTaken(w);
    change();
    left -= rowsTaken(w);
  };
  for (const w of [...works].reverse()) if (left < 0 && !w.isOpen && w.declared.length > 1) shrink(w, () => { w.folded = true; });
  if (left < 0) for (const w of works) if (!w.found.length && !w.isOpen && !folds.has(`quiet:${w.ns}`)) shrink(w, () => { w.quiet = true; });
  if (left >= 0) return [];
  const same = new Map();
  for (const w of works) for (const row of w.quiet ? [] : [...w.found, ...(w.folded ? [] : w.declared)]) put(same, `${w.ns}:${row.code ? "" : "declared "}${row.port}/${row.protocol} ${server(row)}`, { w, row });
  const merged = [];
  for (const [key, all] of same) {
    if (all.length <= SAME || left >= 0 || folds.has(`same:${key}`)) continue;
    for (const { w, row } of all) shrink(w, () => (row.code ? w.merged.push(row) : (w.declared = w.declared.filter((one) => one !== row))));
    left -= 1;
    merged.push({ id: `same:${key}`, ns: all[0].w.ns, first: all[0].w, rows: all.map(({ row }) => row) });
  }
  return merged;
}

/** The row of the same port and process in many workloads. */
function sameRow({ id, rows }, callers) {
  const [first] = rows, worst = severityCounts(rows)[0]?.severity, name = `${first.port ? `Port ${first.port} ${first.protocol}` : "All ports"}, ${server(first)}, in ${many(rows.length, "workload")}`;
  const looks = { severity: first.code ? worst ?? first.severity : undefined, state: worst || !first.code ? "open" : first.state, gone: rows.every(isGone), inland: rows.every((row) => row.exposure === "loopback"), wall: rows.every((row) => row.policy === "blocked"),
    port: first.port ? String(first.port) : "", protocol: first.protocol, by: server(first), label: name };
  return foldRow(id, rows, severityCounts(rows).map(({ severity, n }) => `${n} ${severity}`).join(", "), callers, looks);
}

/** The shown rows of a workload. */
function shownRows(w, callers) {
  const merged = new Set(w.merged), rows = w.found.filter((row) => !merged.has(row)).map((row) => portRow(row, callers));
  if (!w.folded) rows.push(...w.declared.map((row) => portRow(row, callers)));
  const n = w.counted + (w.folded ? w.declared.length : 0);
  if (n) {
    const of = w.folded ? w.declared : [], text = many(n, w.folded ? "declared port" : "more declared port");
    rows.push({ ...foldRow(`declared:${w.key}`, of, "", callers, { by: text, label: `${text} of ${workloadName(w.of)}` }), foldId: declaredFold(w.of), work: w.key });
  }
  return rows;
}

/** Namespaces with their workloads: the chart as long as it is within its bounds. */
function islands(works, merged, folds, callers) {
  const bands = new Map(), firsts = new Map();
  for (const one of merged) put(firsts, one.first, one);
  for (const w of works) {
    if (!bands.has(w.ns)) bands.set(w.ns, { id: w.ns, title: w.ns || "no known pod", works: [], quiet: [], rest: [] });
    const band = bands.get(w.ns);
    for (const one of firsts.get(w) ?? []) {
      const row = { ...sameRow(one, callers), work: one.id };
      band.works.push({ id: one.id, name: many(one.rows.length, "workload"), sub: "the same port", rows: [row], many: true });
    }
    if (w.quiet) band.quiet.push(w);
    else if (rowsTaken(w) > 0) band.works.push({ id: w.key, name: w.name, sub: workloadText(w.all.length ? w.all : [w.of]), rows: shownRows(w, callers) });
  }
  return foldQuiet([...bands.values()], folds);
}

const portsOf = (works) => sum(works.map((w) => w.declared.length + w.counted + w.found.length));
const foldText = (works, more) => `${many(portsOf(works), "declared port")} of ${many(works.length, `${more}workload`)}`;

/** Writes the folds of bands; namespaces without anything else become one band. */
function foldQuiet(bands, folds) {
  const quiet = bands.filter((band) => !band.works.length);
  const joined = quiet.length > 3 && !folds.has("quiet") ? quiet : [];
  for (const band of bands) if (band.quiet.length) band.fold = { id: `quiet:${band.id}`, text: foldText(band.quiet, band.works.length ? "more " : "") };
  if (!joined.length) return bands;
  const works = joined.flatMap((band) => band.quiet);
  return [...bands.filter((band) => !joined.includes(band)), { id: "", title: many(joined.length, "more namespace"), works: [], quiet: works, rest: [], fold: { id: "quiet", text: foldText(works, "") } }];
}

/** Keeps at most so many names: whole workloads in order, then as many rows as there is room for; the table has the others. */
function cut(bands, works, room) {
  const order = new Map(works.map((w, i) => [w.key, i])), all = bands.flatMap((band) => band.works.map((work) => ({ band, work })));
  let left = room - bands.length;
  for (const { band, work } of all.sort((a, b) => (order.get(a.work.id) ?? -1) - (order.get(b.work.id) ?? -1))) {
    const fits = Math.max(0, Math.min(work.rows.length, left - 1));
    band.rest.push(...work.rows.slice(fits).map((row) => ({ row, whole: !fits })));
    work.rows = work.rows.slice(0, fits);
    left -= fits ? fits + 1 : 0;
  }
  for (const band of bands) {
    band.works = band.works.filter((work) => work.rows.length);
    if (!band.rest.length) continue;
    const worst = SEVERITIES.find((severity) => band.rest.some(({ row }) => row.severity === severity && row.state === "open"));
    band.fold = { id: "table", text: `${many(sum(band.rest.map(({ row }) => row.of.length || 1)), "more port")}${worst ? `, worst ${worst}` : ""}: in the table`, of: band.rest.flatMap(({ row }) => row.of) };
  }
  return bands;
}

/** A row per namespace, for clusters that the chart cannot show port by port. Those with nothing above low are one fold. */
function overview(rows, rankIn, folds, budget, callers) {
  const spaces = new Map();
  for (const row of rows) put(spaces, row.namespace ?? "", row);
  const all = [...spaces].map(([ns, of]) => ({ ns, of, worst: of.reduce((worst, row) => Math.min(worst, rankIn(row)), 9) })).sort((a, b) => a.worst - b.worst);
  const isOpen = folds.has("namespaces"), most = Math.floor((MAX_NAMES - CALLER_NAMES) / 2) - 2;
  const loud = isOpen ? all.slice(0, most) : all.filter(({ worst }) => worst < 3).slice(0, Math.min(budget, most)), listed = loud.length ? loud : all.slice(0, Math.min(budget, most)), rest = all.slice(listed.length);
  const works = listed.map(({ ns, of }) => {
    const counts = severityCounts(of), sub = many(new Set(of.map(workKey)).size, "workload"), lined = of.filter((row) => row.code && row.state === "open" && row.severity !== "info");
    const row = { id: `ns:${ns}`, of: of.map((one) => one.fingerprint), ns, severity: counts[0]?.severity, state: "open", port: "", title: ns || "no known pod", tally: counts, edges: callers.edges(lined), total: calls(of), work: `ns:${ns}`,
      label: `Namespace ${ns || "of no known pod"}: ${counts.map(({ severity, n }) => `${n} ${severity}`).join(", ") || "nothing open"}, in ${sub}` };
    return { id: row.id, name: "", sub, rows: [row] };
  });
  const worst = rest.length && SEVERITIES[rest[0].worst], band = { id: "", title: many(all.length, "namespace"), works, quiet: [], rest: [] };
  if (rest.length) band.fold = { id: isOpen ? "table" : "namespaces", text: `${many(rest.length, "more namespace")}, ${rest[0].worst < 3 ? `worst ${worst}` : "nothing above low"}${isOpen ? ": in the table" : ""}`, of: rest.flatMap(({ of }) => of.map((row) => row.fingerprint)) };
  return [band];
}

/** Limits the callers of each side of the border; those beyond are one caller, "22 more". Kept ones stay. */
function limit(rows, known, { keep, folds, room, wide }) {
  const weight = new Map();
  for (const row of rows) for (const { from, n, unit: what, severity } of row.edges) {
    const one = weight.get(from) ?? weight.set(from, { worst: 9, n: 0, rows: 0 }).get(from);
    Object.assign(one, { worst: Math.min(one.worst, rankOf(severity)), n: one.n + n, unit: joint(one.unit, what), rows: one.rows + 1 });
  }
  const renamed = new Map(), listed = new Map();
  const side = (id) => (known.get(id).group === OUTSIDE ? "outside" : known.get(id).origin === "pod" ? "inside" : "");
  for (const where of ["outside", "inside", ""]) {
    const ids = [...weight.keys()].filter((id) => side(id) === where), foldId = `callers:${where}`;
    const most = !where ? ids.length : folds.has(foldId) ? Math.max(MAX_CALLERS, Math.floor(room / 2)) : MAX_CALLERS;
    const by = (id) => weight.get(id);
    ids.sort((a, b) => keep.has(b) - keep.has(a) || by(a).worst - by(b).worst || by(b).n - by(a).n || (a < b ? -1 : 1));
    for (const id of ids.slice(0, most)) listed.set(id, { ...known.get(id), ...by(id) });
    const rest = ids.slice(most);
    for (const id of rest) renamed.set(id, foldId);
    if (rest.length) listed.set(foldId, { id: foldId, group: where === "outside" ? OUTSIDE : wide ? NAMESPACES : OTHERS, name: `${rest.length} more`, sub: "", origin: where === "outside" ? "external" : "pod", fold: !folds.has(foldId), names: new Set(), subs: new Set(), worst: by(rest[0]).worst, n: sum(rest.map((id) => by(id).n)), unit: rest.map((id) => by(id).unit).reduce(joint), rows: 0 });
  }
  for (const row of renamed.size ? rows : []) row.edges = joined(row.edges, renamed);
  return listed;
}

/** Edges under their new names, one for each caller. */
function joined(edges, renamed) {
  const all = new Map();
  for (const edge of edges) {
    const from = renamed.get(edge.from) ?? edge.from, one = all.get(from);
    if (!one) all.set(from, { ...edge, from });
    else Object.assign(one, { n: one.n + edge.n, unit: joint(one.unit, edge.unit), severity: rankOf(edge.severity) < rankOf(one.severity) ? edge.severity : one.severity });
  }
  return [...all.values()];
}

/** Names of callers, and letters for those that call very many ports. */
function letter(listed, rows, wide) {
  const hubs = wide ? [] : [...listed.values()].filter((one) => one.rows > HUB_PORTS).sort((a, b) => b.rows - a.rows).slice(0, 26);
  hubs.forEach((one, i) => { one.hub = String.fromCharCode(97 + i); });
  for (const one of listed.values()) {
    if (one.origin === "node") Object.assign(one, { name: one.names.size > 1 ? many(one.names.size, "node") : one.name, sub: "kubelet, probes" });
    else if (one.subs.size) one.sub = [...one.subs].join(", ");
    const from = one.group === one.name || [OUTSIDE, NODES, OTHERS, NAMESPACES].includes(one.group) ? "" : ` of ${one.group}`;
    one.label = `${one.name}${from}${one.sub ? ` ${one.sub}` : ""}, ${one.rows ? `calls ${many(one.rows, wide ? "namespace" : "port")}, ` : ""}${short(one.n)} ${one.unit}${one.n === 1 ? "" : "s"}`;
  }
  for (const row of rows) {
    row.hubs = [];
    for (const edge of row.edges) {
      const { hub } = listed.get(edge.from);
      if (!hub) continue;
      row.hubs.push(hub);
      edge.ghost = rankOf(edge.severity) > 1;
    }
    row.hubs.sort();
  }
}

/** Takes the thinnest lines away, beyond `MAX_LINES`. Returns how many. */
function thin(rows) {
  const all = rows.flatMap((row) => row.edges), beyond = all.length - MAX_LINES;
  if (beyond <= 0) return 0;
  const drop = new Set(all.sort((a, b) => rankOf(b.severity) - rankOf(a.severity) || a.n - b.n).slice(0, beyond));
  for (const row of rows) row.edges = row.edges.filter((edge) => !drop.has(edge));
  return beyond;
}

/**
 * What the chart shows. `rows`: `ChartRow`s in order; `declared`: `DeclaredPorts`; `folds`: ids of opened folds; `budget`: rows
 * that fit. Two things keep a live chart still: `ranks`, the ranks of rows (by fingerprint) when it was first drawn, and `keep`,
 * the callers that it lists.
 *
 * Returns `{ bands, callers, rowOf, overview, unlisted }`: bands with `works` with `rows` with `edges`; callers by id; the id of
 * the shown row of each fingerprint; the number of lines that are not drawn.
 */
export function model({ rows, declared = [], folds = new Set(), budget = 16, ranks = new Map(), keep = new Set() }) {
  const rankIn = (row) => ranks.get(row.fingerprint) ?? rank(row), works = workloads(rows, declared), merged = fold(works, folds, budget);
  const namespaces = new Set(works.filter((w) => w.all.length).map((w) => w.ns)).size, room = MAX_NAMES - CALLER_NAMES;
  const spans = works.filter((w) => rowsTaken(w) > 0), taken = sum(spans.map(rowsTaken)) + merged.length, names = taken + spans.length + merged.length + namespaces;
  const isOver = taken > 3 * budget || names > room, wide = isOver && namespaces > 3;
  let callers = new Callers(wide), bands;
  if (wide) bands = overview(rows, rankIn, folds, budget, callers);
  else {
    bands = islands(works, merged, folds, callers);
    if (isOver || names > room) bands = cut(bands, works, room);
  }
  const shown = bands.flatMap((band) => band.works.flatMap((work) => work.rows)), used = shown.length + sum(bands.map((band) => band.works.length + 1));
  const listed = limit(shown, callers.known, { keep, folds, room: MAX_NAMES - used - 4, wide });
  letter(listed, shown, wide);
  const unlisted = thin(shown), rowOf = new Map();
  for (const row of shown) for (const fingerprint of row.of) rowOf.set(fingerprint, row.id);
  return { bands, callers: listed, rowOf, overview: wide, unlisted };
}
