/** The table of findings: ten columns, a body for each workload. What print and auditors get. */
import { button, el } from "./dom.js";
import { keyed, nearby, number, owner, part, phrase, rowSign } from "./list.js";
import { mark, spark } from "./marks.js";
import { grouped, workloadText } from "./model.js";
import { WORDS, badge, callers, count, isGone, lastKnown, perMinute, server, short, since, standing, unit, whole, why } from "./words.js";

const HEADS = ["Severity", "Port", "Process", "What it is", "Why", "Called by", "Connections", "Last hour", "Pods", "Since"];

function tableRow(row, ctx) {
  const news = badge(row, ctx.state.chart?.startedAt, ctx.now), n = count(row), minutes = perMinute(row, ctx.now), cell = (name, ...children) => el("td", { class: name }, ...children);
  return el("tr", { class: [row.state !== "open" || row.silent ? "off" : "", row.silent ? "silent" : ""].join(" ").trim() || null },
    cell("", el("span", { class: "s" }, mark({ severity: row.severity, state: row.state, gone: isGone(row) }), standing(row))),
    cell("nb", button({ open: row.fingerprint }, { class: "link-port" }, number(row))), cell("names", el("bdi", {}, phrase(server(row)))),
    cell("", WORDS[row.code] ?? row.code, " ", el("span", { class: "mute nb" }, row.code), " ", news && el("span", { class: `badge ${news}` }, news)),
    cell("names", el("bdi", {}, phrase([lastKnown(row), row.state === "suppressed" ? `accepted ${why(row)}` : why(row)].filter(Boolean).join(", ")))), cell("names", el("bdi", {}, phrase(callers(row, 3)))),
    cell("num", short(n), unit(row) === "packet" && " packets"), cell("", minutes ? spark(minutes) : el("span", { class: "mute" }, "not known")),
    cell("nb", row.podsTotal ? `${whole(row.pods)} of ${whole(row.podsTotal)}` : whole(row.pods)), cell("nb", since(row.firstSeen, ctx.now)));
}

/** Estimated heights of a workload's heading and of a row, in pixels. */
const HEADING = 31, ROW = 35;

const head = () => el("thead", {}, el("tr", {}, HEADS.map((text) => el("th", { scope: "col", class: text === "Connections" ? "num" : null }, text))));

function body({ key, rows }, ctx) {
  const make = () => el("tbody", {}, el("tr", { class: "wl" }, el("th", { scope: "rowgroup", colspan: HEADS.length }, owner(rows[0]), " ", workloadText(rows))), rows.map((row) => tableRow(row, ctx)));
  return { key, sign: rows.map((row) => rowSign(row, ctx)).join(), make };
}

/** An empty body that stands for others. */
function bodyPlace(pixels) {
  const made = el("tr", {}, el("td", { colspan: HEADS.length }));
  made.style.height = `${pixels}px`;
  return el("tbody", { "aria-hidden": "true" }, made);
}

/** Draws the table into `host`; `ctx` as for `drawList`. On paper all of it comes at once. */
export function drawTable(host, ctx) {
  const root = part(host, "table", (made) => {
    made.append(el("table"));
    made.redraw = () => { if (made.isConnected) drawTable(host, made.ctx); };
  });
  root.ctx = ctx;
  const groups = grouped(ctx.rows.filter((row) => row.code));
  keyed(root.firstElementChild, [{ key: "", sign: "", make: head }, ...nearby(groups, { whole: (one) => body(one, ctx), height: ({ rows }) => HEADING + rows.length * ROW, place: bodyPlace, all: ctx.state.printing, redraw: root.redraw })]);
}
