/** The table of findings: ten columns, a body for each workload. What print and auditors get. */
import { button, el } from "./dom.js";
import { keyed, number, owner, part, phrase, rowSign } from "./list.js";
import { mark, spark } from "./marks.js";
import { grouped, workloadText } from "./model.js";
import { WORDS, badge, callers, count, isGone, server, short, since, standing, unit, whole, why } from "./words.js";

const HEADS = ["Severity", "Port", "Process", "What it is", "Why", "Called by", "Connections", "Last hour", "Pods", "Since"];

function tableRow(row, ctx) {
  const news = badge(row, ctx.state.chart?.startedAt, ctx.now), n = count(row), cell = (name, ...children) => el("td", { class: name }, ...children);
  return el("tr", { class: row.state === "open" ? null : "off" },
    cell("", el("span", { class: "s" }, mark({ severity: row.severity, state: row.state, gone: isGone(row) }), standing(row))),
    cell("nb", button({ open: row.fingerprint }, { class: "link-port" }, number(row))), cell("names", el("bdi", {}, phrase(server(row)))),
    cell("", WORDS[row.code] ?? row.code, " ", el("span", { class: "mute nb" }, row.code), " ", news && el("span", { class: `badge ${news}` }, news)),
    cell("names", el("bdi", {}, phrase(row.state === "suppressed" ? `accepted ${why(row)}` : why(row)))), cell("names", el("bdi", {}, phrase(callers(row, 3)))),
    cell("num", short(n), unit(row) === "packet" && " packets"), cell("", spark(row.minutes)),
    cell("nb", row.podsTotal ? `${whole(row.pods)} of ${whole(row.podsTotal)}` : whole(row.pods)), cell("nb", since(row.firstSeen, ctx.now)));
}

/** Workloads that are drawn at a time: a long table comes bit by bit, so that the page answers meanwhile. */
const CHUNK = 80;

const head = () => el("thead", {}, el("tr", {}, HEADS.map((text) => el("th", { scope: "col", class: text === "Connections" ? "num" : null }, text))));

function body({ key, rows }, ctx) {
  const make = () => el("tbody", {}, el("tr", { class: "wl" }, el("th", { scope: "rowgroup", colspan: HEADS.length }, owner(rows[0]), " ", workloadText(rows))), rows.map((row) => tableRow(row, ctx)));
  return { key: `of ${key}`, sign: rows.map((row) => rowSign(row, ctx)).join(), make };
}

/** Draws the table into `host`; `ctx` as for `drawList`. On paper all of it comes at once. */
export function drawTable(host, ctx) {
  const root = part(host, "table", (made) => made.append(el("table"))), groups = grouped(ctx.rows.filter((row) => row.code));
  Object.assign(root, { ctx, most: root.most ?? CHUNK });
  const most = ctx.state.printing ? groups.length : root.most;
  clearTimeout(root.timer);
  if (groups.length > most) root.timer = setTimeout(() => { root.most += CHUNK; if (root.isConnected) drawTable(host, root.ctx); }, 30);
  keyed(root.firstElementChild, [{ key: "head", sign: "", make: head }, ...groups.slice(0, most).map((one) => body(one, ctx))]);
}
