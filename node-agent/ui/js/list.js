/** The list of findings, by workload; and what list, table and detail share: parts that are only made anew if they changed. */
import { breakable, button, el, shown } from "./dom.js";
import { lightRow } from "./chart.js";
import { mark, spark } from "./marks.js";
import { grouped, tally, workloadText } from "./model.js";
import { badge, count, isGone, portName, server, short, since, somePods, standing, title, unit, why } from "./words.js";

/** With more groups than these, each shows its first rows only. */
const MANY_GROUPS = 40, FIRST = 2;

/** What each host holds: key → `{ sign, node }`. */
const held = new WeakMap();

/**
 * Sets the children of `host`: `items` are `{ key, sign, make }`. A child whose `sign` is the same stays as it is; focus inside one
 * that is made anew goes to the element with the same `data-…`.
 */
export function keyed(host, items) {
  const before = held.get(host) ?? new Map(), after = new Map(), focused = host.contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
  for (const { key, sign, make } of items) {
    const known = before.get(key);
    after.set(key, known?.sign === sign && known.node.parentNode === host ? known : { sign, node: make() });
  }
  held.set(host, after);
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
  const [[name, value]] = Object.entries(focused ?? {}).length ? Object.entries(focused) : [[]];
  if (name && !host.contains(document.activeElement)) host.querySelector(`[data-${name.replace(/[A-Z]/gu, (c) => `-${c.toLowerCase()}`)}="${CSS.escape(value)}"]`)?.focus({ preventScroll: true });
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
  const n = count(row), news = badge(row, ctx.state.chart?.startedAt, ctx.now), when = since(row.firstSeen, ctx.now), about = [row.silent && `as last known, ${row.silent.join(", ")} is silent`, server(row), why(row), somePods(row)].filter(Boolean).join(", ");
  return el("li", {}, button({ open: row.fingerprint }, { class: `row${row.state === "open" && !row.silent ? "" : " off"}`, "aria-current": ctx.state.port === row.fingerprint && "true" },
    mark({ severity: row.severity, state: row.state, gone: isGone(row) }),
    el("span", { class: "w" }, el("span", { class: "l1" }, el("span", { class: "sr" }, `${standing(row)} `), number(row), el("span", { class: "what cut" }, title(row)), news && el("span", { class: `badge ${news}` }, news)),
      el("span", { class: "l2" }, el("bdi", { class: "cut" }, phrase(about)), el("span", { class: "since" }, `, ${when}`))),
    el("span", { class: "r" }, el("span", { class: "r1" }, spark(row.minutes), el("span", { class: n ? "n" : "n zero" }, short(n), el("span", { class: "sr" }, ` ${unit(row)}s`))), el("span", { class: "r2" }, when))));
}

/** What a row shows, as one text. */
export const rowSign = (row, ctx) => JSON.stringify([row.fingerprint, row.state, row.silent, row.code, row.severity, row.previousCode, row.process, row.reason, row.pods, row.podsTotal, count(row), row.minutes, row.callers?.map((one) => [one.address, one.workload?.name]), since(row.firstSeen, ctx.now), badge(row, ctx.state.chart?.startedAt, ctx.now)]);

function group({ key, rows }, ctx, isLong) {
  const fold = `rows:${key}`, first = isLong && !ctx.state.folds.has(fold) ? rows.slice(0, FIRST) : rows, rest = rows.slice(first.length);
  const sign = `${first.map((row) => `${rowSign(row, ctx)}${row.fingerprint === ctx.state.port}`).join()}${rest.map((row) => row.severity + row.state)}`;
  const make = () => el("div", { class: "group" },
    el("h3", {}, owner(rows[0]), el("span", { class: "k" }, workloadText(rows))), el("ul", {}, first.map((row) => listRow(row, ctx))),
    rest.length > 0 && button({ more: fold }, { class: "more" }, `${rest.length} more${tally(rest).map(({ severity, n }) => `, ${n} ${severity}`).join("")}`));
  return { key, sign, make };
}

/** Draws the list into `host`. `ctx`: `{ state, rows, now, go }`, `rows` filtered and in order. Ports without a finding are not listed. */
export function drawList(host, ctx) {
  const root = part(host, "list", (made) => {
    made.addEventListener("click", (event) => {
      const more = event.target.closest("[data-more]")?.dataset.more, { go, state } = made.ctx;
      if (more) go({ folds: new Set([...state.folds, more]) });
    });
    const light = (event) => lightRow(event.target.closest("[data-open]")?.dataset.open);
    for (const name of ["mouseover", "focusin"]) made.addEventListener(name, light);
    for (const name of ["mouseleave", "focusout"]) made.addEventListener(name, () => lightRow(null));
  });
  root.ctx = ctx;
  const groups = grouped(ctx.rows.filter((row) => row.code));
  keyed(root, groups.map((one) => group(one, ctx, groups.length > MANY_GROUPS)));
}
