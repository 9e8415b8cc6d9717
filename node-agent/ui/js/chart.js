/**
 * The chart: lines and marks as SVG, hidden from screen readers, and names as buttons above it. A live change redraws the lines and
 * rewrites the names that changed; nothing moves and focus stays, until other rows, folds or another width come.
 */
import { bdi, button, el, fill, shown, svg } from "./dom.js";
import { layout } from "./layout.js";
import { mark } from "./marks.js";
import { model } from "./model.js";
import { leadsTo } from "./rows.js";
import { go, state } from "./state.js";
import { SEVERITIES, joint, many, rank, short } from "./words.js";

/** What the last drawing of the one chart left: its input's key, layout, nodes of names and lines, and what is lit. */
let last = null;

const order = (severity) => (severity ? SEVERITIES.indexOf(severity) : 9);
const noted = (row) => (row.hubs ?? []).slice(0, 3).map((hub) => el("span", { class: "foot" }, hub));

/** What a name holds, by its kind: `[class, accessible name, children]`. */
const NAMES = {
  group: ({ of }) => ["nsname cut", null, [["outside the cluster", "the nodes", "namespaces", "other callers", "new callers"].includes(of) ? of : el("b", {}, bdi(of))]],
  band: ({ of }) => ["nsname cut", null, [el("b", {}, bdi(of))]],
  note: ({ of }) => ["at note", null, [el("small", {}, of.sub)]],
  fold: ({ of }) => ["at fold", null, [el("span", { class: "cut" }, of.text)]],
  caller: ({ of }, isNarrow) => ["at caller", of.label, [bdi(of.name, { class: "cut name" }), !isNarrow && of.sub && el("span", { class: "sub cut" }, of.sub), of.hub && el("span", { class: "foot" }, of.hub)]],
  workload: ({ of }) => [of.inline ? "at inline" : "at workload", `Workload ${of.name}${of.sub ? `, ${of.sub}` : ""}`, [el("b", { class: "cut" }, bdi(of.name)), el("small", { class: "cut" }, of.sub)]],
  port: ({ of }, isNarrow) => [`at port${of.severity ? "" : " declared"}${of.silent ? " silent" : ""}`, of.label, [mark(of), of.title && bdi(of.title, { class: "no cut" }),
    of.port && el("span", { class: "no" }, of.port, el("span", { class: of.protocol === "TCP" ? "tcp" : "" }, `/${of.protocol}`)), of.by && bdi(of.by, { class: "by cut" }),
    of.tally && el("span", { class: "tally" }, of.tally.slice(0, isNarrow ? 2 : 3).flatMap(({ severity, n }) => [mark({ severity }, 10), String(n)])), noted(of)]],
};
const IS_BUTTON = new Set(["fold", "caller", "workload", "port"]);

/** Writes a name into its element, and puts it in its place. */
function write(node, name, L) {
  const [kind, label, children] = NAMES[name.kind](name, L.isNarrow);
  node.setAttribute("class", kind);
  if (label) node.setAttribute("aria-label", shown(label));
  if (label) node.title = shown(label);
  const { style } = node;
  if (name.right && !(name.kind === "group" && L.isNarrow)) style.right = `${L.width - name.x - name.width}px`;
  else style.left = `${name.x}px`;
  style.top = `${name.y.toFixed(1)}px`;
  style.maxWidth = `${name.width}px`;
  fill(node, children);
}

/** What a name shows, as one text: if it is the same, the element stays untouched. */
const signature = ({ of, x, y, width }) => JSON.stringify([x, y, width, typeof of === "object" ? { ...of, edges: 0, of: 0, names: 0, subs: 0, rows: 0 } : of]);

/** A smooth line from a caller to a port. */
function flow(L, edge, y1, y2, width) {
  const x1 = L.col.caller, end = L.col.coast - (edge.severity ? 9 : 5) + (edge.row.inland ? 20 : 0), mid = (x1 + L.col.coast) / 2;
  const isNode = last.shown.callers.get(edge.from)?.origin === "node";
  const kind = `flow${edge.row.silent ? " silent" : ""} ${edge.severity ? `hot ${edge.severity}` : "declared"}${edge.ghost ? " ghost" : isNode ? " node" : ""}`;
  return svg("path", { class: kind, d: `M${x1 + 3} ${y1.toFixed(1)}C${mid} ${y1.toFixed(1)} ${mid} ${y2.toFixed(1)} ${end} ${y2.toFixed(1)}`, "stroke-width": (edge.ghost ? 1.5 : isNode ? 2.5 : width).toFixed(1) });
}

/** What the ground and the lines look like, as one text. */
const groundSign = (L) => JSON.stringify([L.width, L.height, L.overview, L.bands.map(({ top, bottom }) => [top, bottom]), L.rows.map(({ y, wall, inland }) => [y, wall, inland]), L.works.map(({ top, bottom }) => [top, bottom]),
  L.callers.map(({ id, y, bar }) => [id, y, bar.toFixed(1)]), L.edges.map((edge) => [edge.from, edge.row.id, edge.severity, edge.ghost, edge.row.silent, ...[edge.y1, edge.y2, edge.width].map((n) => n.toFixed(1))])]);
/** Lines in the order in which they are drawn: the worst last. */
const inOrder = (edges) => [...edges].sort((a, b) => order(b.severity) - order(a.severity));

/** The ground and the lines. Leaves in `last.lines` and `last.bars` what can be lit. Returns the drawing of `before` if it is the same. */
function picture(L, before) {
  last.groundSign = groundSign(L);
  if (before?.groundSign === last.groundSign) {
    Object.assign(last, { ground: before.ground, bars: before.bars, counts: before.counts, lines: inOrder(L.edges).map((edge, i) => ({ edge, node: before.lines[i].node })) });
    return last.ground;
  }
  const { col, width, height } = L, x1 = col.caller, x2 = col.coast;
  const fade = (id, from, to) => svg("linearGradient", { id, gradientUnits: "userSpaceOnUse", x1: x2, x2: Math.min(width, x2 + 170), y1: 0, y2: 0 }, svg("stop", { offset: 0, class: from }), svg("stop", { offset: 1, class: to }));
  const ground = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, fade("g-coast", "s-coast", "s-land"), fade("g-wave", "s-wave", "s-none"));
  for (const { top, bottom } of L.bands) {
    const r = 10, edge = (d) => `M${width} ${top - d}H${x2 + r - d}Q${x2 - d} ${top - d} ${x2 - d} ${top + r - d}V${bottom - r + d}Q${x2 - d} ${bottom + d} ${x2 + r - d} ${bottom + d}H${width}`;
    ground.append(svg("path", { class: "land", d: `${edge(0)}Z` }), svg("path", { class: "wave", d: edge(4) }), svg("path", { class: "coast", d: edge(0) }));
  }
  last.lines = inOrder(L.edges).map((edge) => {
    const caller = edge.ghost && L.callers.find((one) => one.id === edge.from);
    return { edge, node: caller ? flow(L, edge, caller.y, edge.row.y, 1.5) : flow(L, edge, edge.y1, edge.y2, edge.width) };
  });
  ground.append(...last.lines.map(({ node }) => node));
  last.bars = L.callers.map((caller) => {
    const isOutside = last.shown.callers.get(caller.id)?.origin === "external";
    return { id: caller.id, node: svg("rect", { class: isOutside ? "bar ext" : "bar", x: x1 - 1, y: (caller.y - caller.bar / 2).toFixed(1), width: 4, height: caller.bar.toFixed(1), rx: 2 }) };
  });
  ground.append(...last.bars.map(({ node }) => node));
  for (const work of L.works) if (!work.inline && !work.one) ground.append(svg("path", { class: "bracket", d: `M${col.work - 8} ${work.top + 4}H${col.work - 2}V${work.bottom - 4}H${col.work - 8}` }));
  for (const row of L.rows) if (row.wall) ground.append(svg("line", { class: "wall", x1: x2 - 12 + (row.inland ? 22 : 0), x2: x2 - 12 + (row.inland ? 22 : 0), y1: row.y - 7, y2: row.y + 7 }));
  last.counts = svg("g", {});
  ground.append(last.counts);
  last.ground = ground;
  return ground;
}

/** The heads of the columns, at their places. */
function heads(L) {
  const head = (text, x, right) => {
    const made = el("span", {}, text);
    if (right) made.style.right = `${L.width - x}px`;
    else made.style.left = `${x}px`;
    return made;
  };
  return [head("Callers", L.col.caller - 9, true), head(!L.overview ? "Ports" : L.isNarrow ? "Namespaces" : "Namespaces and their findings", L.col.coast + 14), !L.overview && !L.isNarrow && head("Workloads", L.col.work + 10)];
}

/** What the shapes and places that are drawn mean, how many lines are left out, and a way back from opened folds. */
function legend({ L, shown: { unlisted } }, folds) {
  const line = (width) => svg("svg", { width: 18, height: 10, "aria-hidden": "true" }, svg("line", { class: "flow declared", x1: 0, x2: 18, y1: 5, y2: 5, "stroke-width": width }));
  const wall = svg("svg", { width: 8, height: 12, "aria-hidden": "true" }, svg("line", { class: "wall", x1: 4, x2: 4, y1: 1, y2: 11 }));
  const has = (test) => L.rows.some(test), say = (isDrawn, ...parts) => isDrawn && el("span", {}, parts);
  return [
    say(has((row) => !row.severity), mark({}, 12), "declared"), say(has((row) => row.severity && row.state === "suppressed"), mark({ severity: "medium", state: "suppressed" }, 11), "accepted"),
    say(has((row) => row.severity && row.gone), mark({ severity: "info", gone: true }, 12), "nobody listens"), say(has((row) => row.silent), el("span", { class: "silent" }, mark({ severity: "medium" }, 11)), "node silent, as last known"),
    say(has((row) => row.wall), wall, "policy keeps out"), say(has((row) => row.inland), "inland: loopback"), say(has((row) => row.hubs?.length), el("span", { class: "foot", "aria-hidden": "true" }, "a"), "its lines on hover"),
    say(unlisted > 0, `${many(unlisted, "thin line")} not drawn`), folds.size > 0 && button({ unfold: "" }, { class: "link" }, "Fold all again"),
    L.edges.length > 0 && el("span", { class: "end" }, `${L.edges.map((edge) => edge.unit).reduce(joint)}s`, line(1.2), "1", line(4.5), "1k", line(7.8), "1M"),
  ];
}

/** Lights the path through a caller, a port (by the id of its row) or a workload; null: none. */
function light(what) {
  if (!last) return;
  const rows = new Set(what?.row ? [what.row] : []), callers = new Set(what?.caller ? [what.caller] : []), works = new Set(what?.workload ? [what.workload] : []), texts = [];
  if (what?.workload) for (const row of last.L.rows) if (row.workId === what.workload) rows.add(row.id);
  const wanted = new Set(rows), { coast, caller: x1 } = last.L.col;
  last.chart.classList.toggle("focus", Boolean(what));
  for (const { edge, node } of last.lines) {
    const on = Boolean(what) && (what.caller ? edge.from === what.caller : wanted.has(edge.row.id));
    node.classList.toggle("lit", on);
    if (!on) continue;
    rows.add(edge.row.id);
    callers.add(edge.from);
    if (what.caller) texts.push(svg("text", { class: "count", x: coast - 14, y: edge.row.y - 7 }, short(edge.n)));
    else if (what.row && edge.row.edges.length > 1) texts.push(svg("text", { class: "count start", x: x1 + 9, y: last.L.callers.find((one) => one.id === edge.from).y - 8 }, short(edge.n)));
  }
  for (const row of what ? last.L.rows : []) {
    if (!rows.has(row.id)) continue;
    works.add(row.workId);
    if (!what.caller && row.total) texts.push(svg("text", { class: "count", x: coast - 14 + (row.inland ? 20 : 0), y: row.y - 7 }, short(row.total)));
  }
  last.counts.replaceChildren(...texts);
  const sets = { port: rows, caller: callers, workload: works };
  for (const { name, node } of last.names.values()) if (sets[name.kind]) node.classList.toggle("lit", sets[name.kind].has(name.of.id));
  for (const { id, node } of last.bars) node.classList.toggle("lit", callers.has(id));
}

/** What is lit when nothing is pointed at: what was clicked, else the port whose detail is open. */
const resting = () => last?.pinned ?? (state.port && last?.shown.rowOf.has(state.port) ? { row: last.shown.rowOf.get(state.port) } : null);

/** Lights the path of a row of `/v1/chart`; null lights what rests. */
export const lightRow = (fingerprint) => light((fingerprint && last?.shown.rowOf.has(fingerprint) && { row: last.shown.rowOf.get(fingerprint) }) || resting());

/** The name that an event is about. */
const nameOf = (event) => {
  const hit = event.target?.closest?.("button[data-name]");
  return hit ? last?.names.get(hit.dataset.name)?.name : undefined;
};
/** What lights the path of a name; null if it has none, or if the name is not there any more. */
const pathOf = (name) => ({ port: { row: name?.of.id }, caller: { caller: name?.of.id }, workload: { workload: name?.of.id } })[name?.kind] ?? null;

/** The button of a name; if it is gone, such as that of a fold that opened, the one of the same column that stands nearest. */
function nearest(gone) {
  if (!gone) return null;
  const isCaller = gone.kind === "caller", far = ({ name }) => Math.abs(name.y - gone.y);
  return [...last.names.values()].filter(({ name }) => (isCaller ? name.kind === "caller" : name.kind === "port" || name.kind === "fold")).sort((a, b) => far(a) - far(b))[0]?.node;
}

/** Opens what was chosen: the detail of a port, a fold, a namespace; a caller or a workload stays lit. */
function choose(name) {
  const { of, kind } = name, open = (id) => go({ folds: new Set([...state.folds, id]) });
  // Rows without a namespace have no filter: the table lists them.
  if (of.ns !== undefined && kind === "port") go(of.ns ? { filters: { ...state.filters, namespace: [of.ns] } } : { view: "table" });
  else if (kind === "fold") (of.id === "table" ? go({ view: "table" }) : open(of.id));
  else if (kind === "port" && of.fold) open(of.foldId ?? of.id);
  else if (kind === "port") go({ port: leadsTo(of.id) });
  else if (of.fold) open(of.id);
  else {
    const path = pathOf(name), isSame = JSON.stringify(path) === JSON.stringify(last.pinned);
    last.pinned = isSame ? null : path;
    light(isSame ? null : path);
  }
}

/** Arrows: up and down within a column, left and right along the line. */
function walk(event) {
  const move = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key], across = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape" && last?.pinned) {
    last.pinned = null;
    light(resting());
    event.stopPropagation();
  }
  const lists = [...last.chart.querySelectorAll("ul")].map((list) => [...list.querySelectorAll("button")]), here = document.activeElement, column = lists.findIndex((list) => list.includes(here));
  if (column < 0 || (!move && !across) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  let to;
  if (move) to = lists[column][Math.max(0, Math.min(lists[column].length - 1, lists[column].indexOf(here) + move))];
  else {
    const next = lists[column + across] ?? [], lit = next.filter((one) => one.classList.contains("lit")), top = (one) => one.getBoundingClientRect().top, from = top(here);
    [to] = (lit.length ? lit : next).sort((a, b) => Math.abs(top(a) - from) - Math.abs(top(b) - from));
  }
  if (to) stopAt(to);
  to?.focus();
}

/** Makes a name the chart's one stop of the Tab key. */
function stopAt(node) {
  last.chart.querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
  node.setAttribute("tabindex", "0");
}

/** Makes the chart's elements and listeners, once per host. */
function prepare(host) {
  const chart = el("div", { class: "chart" }), parts = { heads: el("div", { class: "heads", "aria-hidden": "true" }), chart, legend: el("div", { class: "legend" }) };
  parts.card = el("div", { class: "chart-card" }, parts.heads, chart, parts.legend);
  fill(host, parts.card);
  const show = (event) => { const name = nameOf(event); if (name && pathOf(name)) light(pathOf(name)); };
  const hide = () => light(resting());
  for (const [on, off] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    chart.addEventListener(on, show);
    chart.addEventListener(off, hide);
  }
  chart.addEventListener("focusin", (event) => { const hit = event.target.closest("button[data-name]"); if (hit) { stopAt(hit); } });
  chart.addEventListener("click", (event) => { const name = nameOf(event); if (name) choose(name); });
  chart.addEventListener("keydown", walk);
  parts.legend.addEventListener("click", (event) => { if (event.target.closest("[data-unfold]")) go({ folds: new Set() }); });
  // Scroll bars and the window change the width: what is drawn follows.
  new ResizeObserver(() => { if (last?.card === parts.card && !state.printing && Math.abs(parts.card.clientWidth - last.L.width) >= 1 && parts.card.clientWidth) drawChart(host, { ...last.input, width: 0 }); }).observe(parts.card);
  return parts;
}

/** Makes the names anew, or rewrites those that changed if the same names stand there. */
function drawNames(L, before) {
  const isSame = before && before.L.width === L.width && before.L.names.length === L.names.length && L.names.every((name) => before.names.has(name.key));
  const made = new Map(), columns = { caller: [], port: [], workload: [] }, plain = [];
  for (const name of L.names) {
    const sign = signature(name), known = before?.names.get(name.key), node = known?.node ?? (IS_BUTTON.has(name.kind) ? button({ name: name.key }, { tabindex: "-1" }) : el("div"));
    if (known?.sign !== sign) {
      if (known) node.removeAttribute("style");
      write(node, name, L);
    }
    made.set(name.key, { name, node, sign });
    const column = { caller: "caller", port: "port", fold: "port", workload: "workload" }[name.kind];
    if (column) columns[column].push({ name, node });
    else plain.push(node);
  }
  last.names = made;
  if (isSame) return null;
  const list = (label, column) => el("ul", { "aria-label": label }, column.sort((a, b) => a.name.y - b.name.y).map(({ node }) => el("li", {}, node)));
  return [...plain, list("Callers", columns.caller), list("Ports", columns.port), list("Workloads", columns.workload)];
}

/**
 * Draws the chart into `host`. `rows` and `declared` as `/v1/chart` gives them, filtered and in their order; `folds` the opened
 * folds; `width` in pixels at most that of the host; `budget` the rows that fit.
 */
export function drawChart(host, input) {
  const { rows, declared = [], folds = new Set(), width, budget = 16 } = input;
  const before = last?.host === host && host.contains(last.chart) ? last : null, parts = before?.parts ?? prepare(host);
  const room = parts.card.clientWidth || width, wide = Math.max(240, Math.min(width || room, room));
  const key = JSON.stringify([wide, budget, [...folds], rows.map((row) => row.fingerprint), declared.map((one) => [one.namespace, one.workload?.name, one.pod])]);
  const still = before?.key === key ? before : null, ranks = still?.ranks ?? new Map(rows.map((row) => [row.fingerprint, rank(row)]));
  const shownNow = model({ rows, declared, folds, budget, ranks, keep: new Set(still?.shown.callers.keys()) });
  if (still) for (const [id, one] of still.shown.callers) if (!shownNow.callers.has(id)) shownNow.callers.set(id, { ...one, n: 0, rows: 0 });
  const L = layout(shownNow, wide, still?.L);
  last = { ...parts, parts, host, input, key, ranks, shown: shownNow, L, pinned: still?.pinned ?? null };
  const focused = parts.chart.contains(document.activeElement) ? document.activeElement.dataset.name : null, stop = parts.chart.querySelector('button[tabindex="0"]')?.dataset.name;
  parts.chart.style.height = `${L.height}px`;
  parts.chart.classList.toggle("overview", Boolean(L.overview));
  parts.chart.classList.toggle("slim", L.isNarrow);
  const ground = picture(L, before), made = drawNames(L, before);
  if (made) {
    fill(parts.heads, heads(L));
    fill(parts.chart, ground, made);
    const first = last.names.get(stop)?.node ?? parts.chart.querySelector("[aria-label=Ports] button") ?? parts.chart.querySelector("button");
    if (first) stopAt(first);
    if (focused) (last.names.get(focused)?.node ?? nearest(before?.names.get(focused)?.name) ?? first)?.focus({ preventScroll: true });
  } else if (ground !== before.ground) before.ground.replaceWith(ground);
  fill(parts.legend, legend(last, folds));
  light((focused && pathOf(nameOf({ target: document.activeElement }))) ?? resting());
}
