/**
 * Where everything of the chart stands: from bands, rows and callers to positions in pixels. Pure. Callers stand on the left, at
 * the mean height of what they call; ports in the middle, on the coast of their namespace; workloads on the right. Names are
 * rectangles within the width that never overlap. On phones workloads stand above their ports, and names are 30 px high.
 */

import { sum } from "./words.js";

/** Charts below this width are for phones. */
const PHONE = 690;
/** The gap between blocks of callers; their heading; from one caller to the next, and the same on phones. */
const GAP = 16, HEAD = 20, CALLER = 28, PHONE_CALLER = 32;
/** Maximum widths of all lines together where they leave a caller, and where they come to a port. */
const AT_CALLER = 20, AT_PORT = 14;

const mean = (numbers) => (numbers.length ? sum(numbers) / numbers.length : 0);

/** Width of a line: `1.2 + 1.1·log10(connections)`. */
export const lineWidth = (n) => 1.2 + 1.1 * Math.log10(Math.max(1, n));

/** The columns: where callers end, where the coast is, where workloads begin. */
function columns(width, isNarrow, overview) {
  if (isNarrow) return { caller: Math.round(Math.min(180, width * 0.32)), coast: Math.round(Math.min(180, width * 0.32) + width * 0.175), work: width };
  return { caller: Math.round(width * 0.262), coast: Math.round(width * 0.535), work: Math.round(width * (overview ? 0.845 : 0.785)) };
}

/** Ports and workloads from top to bottom. Returns `{ bands, rows, works, bottom }`; heights are centres, `y`, or tops. */
function coast({ bands, overview }, isNarrow) {
  const ROW = isNarrow ? 30 : 24, rows = [], works = [], islands = [];
  let y = 12;
  for (const band of bands) {
    const island = { id: band.id, title: band.title, top: y, fold: band.fold };
    y += 28;
    band.works.forEach((work, i) => {
      if (i && !overview) y += 6;
      if (isNarrow && work.name) {
        works.push({ ...work, inline: true, top: y });
        y += ROW;
      }
      const top = y;
      for (const row of work.rows) {
        rows.push({ ...row, y: y + ROW / 2, workId: work.id });
        y += ROW;
      }
      if (isNarrow) return;
      if (!overview) y += Math.max(0, 40 - (y - top));
      works.push({ ...work, top, bottom: y, one: overview });
    });
    if (band.fold) {
      y += band.works.length ? 2 : 0;
      island.foldY = y + ROW / 2;
      y += ROW;
    }
    y += 6;
    island.bottom = y;
    islands.push(island);
    y += 12;
  }
  return { bands: islands, rows, works, bottom: y };
}

/** Callers in blocks by group; those outside come first, the others by the mean height of what they call. */
function blocksOf(callers, edges, step) {
  const heights = new Map(), groups = new Map();
  for (const edge of edges) (heights.get(edge.from) ?? heights.set(edge.from, []).get(edge.from)).push(edge.row.y);
  const centre = (id) => mean(heights.get(id) ?? []);
  for (const one of callers.values()) if (heights.has(one.id)) (groups.get(one.group) ?? groups.set(one.group, []).get(one.group)).push(one.id);
  const last = (id) => Boolean(callers.get(id).fold !== undefined);
  const blocks = [...groups].map(([group, ids]) => {
    ids.sort((a, b) => last(a) - last(b) || centre(a) - centre(b) || (a < b ? -1 : 1));
    const size = HEAD + ids.length * step;
    return { group, ids, size, want: mean(ids.map(centre)) - size / 2, isOutside: ids.some((id) => callers.get(id).origin === "external") };
  });
  return blocks.sort((a, b) => b.isOutside - a.isOutside || a.want - b.want);
}

/** Puts each block as near to what it calls as the others let it: neighbours that would overlap move together. Returns the height. */
function place(blocks, bottom) {
  const pools = [];
  let before = 0;
  for (const block of blocks) {
    pools.push({ blocks: [block], wants: [block.want - before] });
    before += block.size + GAP;
    while (pools.length > 1 && mean(pools.at(-2).wants) > mean(pools.at(-1).wants)) {
      const { blocks: more, wants } = pools.pop(), into = pools.at(-1);
      into.blocks.push(...more);
      into.wants.push(...wants);
    }
  }
  const height = Math.max(bottom, before + 8), lowest = Math.max(10, height - before + 6);
  let offset = 0;
  for (const pool of pools) for (const block of pool.blocks) {
    block.top = Math.min(Math.max(mean(pool.wants), 10), lowest) + offset;
    offset += block.size + GAP;
  }
  return height;
}

/** The blocks as they stood before; callers that came since then stand below all others. */
function keepPlaces(blocks, previous, bottom, step) {
  const kept = previous.blocks.map((block) => ({ ...block, ids: [...block.ids] })), known = new Set(kept.flatMap((block) => block.ids));
  const added = blocks.flatMap((block) => block.ids).filter((id) => !known.has(id));
  if (added.length) {
    const top = Math.max(10, ...kept.map((block) => block.top + block.size + GAP));
    let block = kept.find((one) => one.group === "new callers");
    if (!block) kept.push((block = { group: "new callers", ids: [], size: HEAD, top, isOutside: false }));
    block.ids.push(...added);
    block.size += added.length * step;
  }
  return { blocks: kept, height: Math.max(bottom, previous.height, ...kept.map((block) => block.top + block.size + 8)) };
}

/** Where each line leaves its caller and comes to its port: side by side, in the order of the other end. */
function ends(edges, callers, rows) {
  const yOf = new Map(callers.map((caller) => [caller.id, caller.y])), out = new Map(), into = new Map();
  for (const edge of edges) {
    (out.get(edge.from) ?? out.set(edge.from, []).get(edge.from)).push(edge);
    (into.get(edge.row) ?? into.set(edge.row, []).get(edge.row)).push(edge);
  }
  for (const caller of callers) {
    const all = out.get(caller.id) ?? [], full = Math.max(1, sum(all.map((edge) => edge.width + 1)) - 1), squeeze = Math.min(1, AT_CALLER / full);
    let from = caller.y - (full * squeeze) / 2;
    for (const edge of all.sort((a, b) => a.row.y - b.row.y)) {
      edge.y1 = from + (edge.width * squeeze) / 2;
      from += (edge.width + 1) * squeeze;
    }
    caller.bar = Math.min(AT_CALLER, Math.max(8, full * squeeze));
  }
  for (const row of rows) {
    const all = into.get(row) ?? [], full = sum(all.map((edge) => edge.width)), squeeze = full > AT_PORT ? AT_PORT / full : 1;
    let from = row.y - (full * squeeze) / 2;
    for (const edge of all.sort((a, b) => yOf.get(a.from) - yOf.get(b.from))) {
      edge.y2 = from + (edge.width * squeeze) / 2;
      from += edge.width * squeeze;
    }
    // Lines that are squeezed get thinner, so that they do not cover each other.
    for (const edge of all) edge.width = Math.max(0.8, edge.width * squeeze);
  }
}

/** The rectangles of all names: `{ kind, key, of, x, y, width, height, right }`, `y` the top; `right` names end at `x + width`. */
function names(L, callers) {
  const { col, width, isNarrow, overview } = L, list = [], x1 = col.caller, x2 = col.coast, high = isNarrow ? 30 : 24;
  const add = (kind, key, of, x, y, room, height, more) => list.push({ kind, key: `${kind} ${key}`, of, x, y, width: Math.max(8, room), height, ...more });
  for (const block of L.blocks) {
    if (block.group) add("group", block.group, block.group, 4, block.top + 2, x1 - 13, 16, { right: true });
    for (const id of block.ids) add("caller", id, callers.get(id), 3, L.callers.find((one) => one.id === id).y - high / 2, x1 - 4, high, { right: true });
  }
  for (const band of L.bands) {
    add("band", band.id, band.title, x2 + 14, band.top + 8, width - x2 - 20, 16);
    if (band.fold) add("fold", `${band.fold.id} ${band.id}`, band.fold, x2 + 6, band.foldY - high / 2, width - x2 - 12, high);
  }
  for (const row of L.rows) {
    const left = x2 - 7 + (row.inland ? 22 : 0);
    add("port", row.id, row, left, row.y - high / 2, (isNarrow ? width - 6 : col.work - 12) - left, high);
  }
  for (const work of L.works) {
    if (work.inline) add("workload", work.id, work, x2 + 8, work.top, width - x2 - 14, high);
    else if (overview) add("note", work.id, work, col.work, (work.top + work.bottom) / 2 - 12, width - col.work - 4, 24);
    else add("workload", work.id, work, col.work + 4, (work.top + work.bottom) / 2 - 19, width - col.work - 10, 38);
  }
  return list;
}

/**
 * Positions for a width in pixels. `shown` is what `model` returns; `previous` is an earlier layout of the same rows at the same
 * width, whose callers keep their places. Returns `{ width, height, isNarrow, overview, col, bands, rows, works, blocks, callers,
 * edges, names }`.
 */
export function layout(shown, width, previous) {
  const isNarrow = width < PHONE, step = isNarrow ? PHONE_CALLER : CALLER, { overview } = shown, { bands, rows, works, bottom } = coast(shown, isNarrow);
  let edges = rows.flatMap((row) => row.edges.map((edge) => ({ ...edge, row, width: lineWidth(edge.n) })));
  const fresh = blocksOf(shown.callers, edges, step);
  const { blocks, height } = previous ? keepPlaces(fresh, previous, bottom, step) : { blocks: fresh, height: place(fresh, bottom) };
  const callers = blocks.flatMap((block) => block.ids.map((id, i) => ({ id, y: block.top + HEAD + (i + 0.5) * step })));
  const listed = new Set(callers.map((caller) => caller.id));
  edges = edges.filter((edge) => listed.has(edge.from));
  ends(edges, callers, rows);
  const L = { width, height, isNarrow, overview, col: columns(width, isNarrow, overview), bands, rows, works, blocks, callers, edges };
  return { ...L, names: names(L, shown.callers) };
}
