/** The list of findings, by workload; and what list, table and detail share: parts that are only made anew if they changed. */
import { breakable, button, el, sameData, shown } from "./dom.js";
import { lightRow } from "./chart.js";
import { mark, spark } from "./marks.js";
import { grouped, severityCounts, workloadText } from "./model.js";
import { badge, count, isGone, lastKnown, perMinute, portName, server, short, since, somePods, standing, title, unit, why, workKey } from "./words.js";

/** With more groups than these, each shows its first rows only. */
const MANY_GROUPS = 40, FIRST = 2;

/** Groups that are made at once; the others are made when they come within so many pixels of the view, so many together. */
const AT_ONCE = 30, MARGIN = 1200, TOGETHER = 20;
/** Estimated heights of a group's heading, a row, and the button for more, in pixels. */
const HEADING = 30, ROW = 50, MORE = 37;

/** The children of each host, by key: `{ sign, node }`. */
const children = new WeakMap();

/**
 * Sets the children of `host`: `items` are `{ key, sign, make }`. A child whose `sign` is the same stays as it is; focus inside one
 * that is made anew goes to the element with the same `data-…`.
 */
export function keyed(host, items) {
  const before = children.get(host) ?? new Map(), after = new Map(), focused = host.contains(document.activeElement) && sameData(document.activeElement);
  for (const { key, sign, make } of items) {
    const known = before.get(key);
    after.set(key, known?.sign === sign && known.node.parentNode === host ? known : { sign, node: make() });
  }
  children.set(host, after);
  let at = host.firstChild;
  for (const { node } of after.values()) {
    if (node === at) at = at.nextSibling;
    else host.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
  if (focused && !host.contains(document.activeElement)) host.querySelector(focused)?.focus({ preventScroll: true });
}

/** Keys of groups that were near the view, and stay made; beyond `MOST_NEAR` they are forgotten, and made again when needed. */
const near = new Set(), MOST_NEAR = 5000;
function keep(key) {
  if (near.size >= MOST_NEAR) near.clear();
  near.add(key);
}
/** Makes the group of a row at the next drawing, wherever it stands: focus may return to it. */
export const keepNear = (row) => keep(workKey(row));
/** Makes the groups that a placeholder stands for, after it came near the view. */
const observer = new IntersectionObserver((entries) => {
  const redraws = new Set();
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    target.groupKeys.forEach(keep);
    redraws.add(target.redraw);
  }
  for (const redraw of redraws) redraw();
}, { rootMargin: `${MARGIN}px 0px` });

/**
 * Items for `keyed` of groups: the first ones and those that came near the view as `whole(group)` makes them; for the others one empty
 * element, `place(pixels)`, stands for several, `height(group)` pixels each. `redraw` draws the same host again.
 */
export function nearby(groups, { whole, height, place, all = false, redraw }) {
  const items = [];
  let away = null;
  groups.forEach((group, i) => {
    if (all || i < AT_ONCE || near.has(group.key)) {
      away = null;
      items.push(whole(group));
      return;
    }
    if (!away || away.keys.length >= TOGETHER) items.push((away = { key: `away ${group.key}`, keys: [], pixels: 0 }));
    away.keys.push(group.key);
    away.pixels += height(group);
  });
  return items.map((item) => (item.keys ? placeholder(item, place, redraw) : item));
}

/** An item whose element is watched: when it comes near the view, its groups are made. */
function placeholder({ key, keys, pixels }, place, redraw) {
  const make = () => {
    const made = Object.assign(place(pixels), { groupKeys: keys, redraw });
    observer.observe(made);
    return made;
  };
  return { key, sign: keys.join(), make };
}

/** The element of a part inside a host that parts share; made by `make(node)` if another part stands there. */
export function part(host, name, make) {
  const here = host.firstElementChild;
  if (here?.dataset.part === name && !here.nextSibling) return here;
  const made = el("div", { "data-part": name });
  host.replaceChildren(made);
  make(made);
  return made;
}

/** Text whose words break after `/`, `:`, `@` and `_` only; a word that is too long ends with an ellipsis, and its title has it all. */
export const phrase = (text) => shown(text).split(" ").flatMap((word, i) => {
  const isLong = word.split(/[/:@_]/u).some((part) => part.length > 11);
  return isLong || word.includes("-") ? [i > 0 && " ", el("span", { class: "word", title: isLong && word }, breakable(word))] : breakable(i ? ` ${word}` : word);
});

/** `9229/TCP` with the protocol in its own element. */
export const number = (row) => el("span", { class: "no" }, row.port ? [String(row.port), el("span", { class: row.protocol === "UDP" || row.protocol === "SCTP" ? "protocol" : "tcp" }, `/${row.protocol ?? "TCP"}`)] : portName(row));

/** `shop / web` and what it is. */
export const owner = (row) => el("bdi", { class: "cut" }, `${row.namespace ?? "no namespace"} / `, el("b", {}, row.workload?.name ?? row.pod ?? "no known pod"));

function listRow(row, ctx) {
  const n = count(row), news = badge(row, ctx.state.chart?.startedAt, ctx.now), when = since(row.firstSeen, ctx.now), about = [lastKnown(row), server(row), why(row), somePods(row)].filter(Boolean).join(", ");
  return el("li", {}, button({ open: row.fingerprint }, { class: `row${row.state === "open" && !row.silent ? "" : " off"}${row.silent ? " silent" : ""}` },
    mark({ severity: row.severity, state: row.state, gone: isGone(row) }),
    el("span", { class: "w" }, el("span", { class: "l1" }, el("span", { class: "sr" }, `${standing(row)} `), number(row), el("span", { class: "what cut" }, title(row)), news && el("span", { class: `badge ${news}` }, news)),
      el("span", { class: "l2" }, el("bdi", { class: "cut" }, phrase(about)), el("span", { class: "since" }, `, ${when}`))),
    el("span", { class: "r" }, el("span", { class: "r1" }, spark(perMinute(row, ctx.now)), el("span", { class: n ? "n" : "n zero" }, short(n), el("span", { class: "sr" }, ` ${unit(row)}s`))), el("span", { class: "r2" }, when))));
}

/** The counts per minute as one text, made once for each list of them: most rows have the same list at the next drawing. */
const minuteTexts = new WeakMap();
function minutesText({ minutes }) {
  if (!minutes) return "";
  if (!minuteTexts.has(minutes)) minuteTexts.set(minutes, minutes.join());
  return minuteTexts.get(minutes);
}

/** What a row shows, as one text. */
export const rowSign = (row, ctx) => JSON.stringify([row.fingerprint, row.state, row.silent, row.code, row.severity, row.previousCode, row.process, row.reason, row.pods, row.podsTotal, count(row), row.moreCallers, row.truncated, perMinute(row, ctx.now) ? minutesText(row) : null,
  row.callers?.map((one) => [one.address, one.workload?.name]), since(row.firstSeen, ctx.now), badge(row, ctx.state.chart?.startedAt, ctx.now)]);

/** The rows of a group that are shown, and those behind "more". `isLong`: the list has many groups. */
function split({ key, rows }, ctx, isLong) {
  const first = isLong && !ctx.state.folds.has(`rows:${key}`) ? rows.slice(0, FIRST) : rows;
  return { first, rest: rows.slice(first.length) };
}

function group(one, ctx, isLong) {
  const { key, rows } = one, { first, rest } = split(one, ctx, isLong), sign = `${first.map((row) => rowSign(row, ctx)).join()}${rest.map((row) => row.severity + row.state)}${workloadText(rows)}`;
  const make = () => el("div", { class: "group" },
    el("h3", {}, owner(rows[0]), el("span", { class: "k" }, workloadText(rows))), el("ul", {}, first.map((row) => listRow(row, ctx))),
    rest.length > 0 && button({ more: `rows:${key}` }, { class: "more" }, `${rest.length} more${severityCounts(rest).map(({ severity, n }) => `, ${n} ${severity}`).join("")}`));
  return { key, sign, make };
}

/** The height that a group is likely to have, in pixels. */
function heightOf(one, ctx, isLong) {
  const { first, rest } = split(one, ctx, isLong);
  return HEADING + first.length * ROW + (rest.length ? MORE : 0);
}
function groupPlace(pixels) {
  const made = el("div", {});
  made.style.height = `${pixels}px`;
  return made;
}

/** Draws the list into `host`. `ctx`: `{ state, rows, now, go }`, `rows` filtered and in order. Ports without a finding are not listed. */
export function drawList(host, ctx) {
  const root = part(host, "list", (made) => {
    made.redraw = () => { if (made.isConnected) drawList(host, made.ctx); };
    made.addEventListener("click", (event) => {
      const more = event.target.closest("[data-more]")?.dataset.more, { go, state } = made.ctx;
      if (more) go({ folds: new Set([...state.folds, more]) });
    });
    const light = (event) => lightRow(event.target.closest("[data-open]")?.dataset.open);
    for (const name of ["mouseover", "focusin"]) made.addEventListener(name, light);
    for (const name of ["mouseleave", "focusout"]) made.addEventListener(name, () => lightRow(null));
  });
  root.ctx = ctx;
  const groups = grouped(ctx.rows.filter((row) => row.code)), isLong = groups.length > MANY_GROUPS;
  keyed(root, nearby(groups, { whole: (one) => group(one, ctx, isLong), height: (one) => heightOf(one, ctx, isLong), place: groupPlace, redraw: root.redraw }));
}
