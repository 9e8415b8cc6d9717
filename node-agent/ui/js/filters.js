/** The bar of filters: text, severities, menus, and what is active as chips. On phones the menus are in a sheet. */
import { at, button, el, shown, svg } from "./dom.js";
import { describe, hasUnlisted, matches, none } from "./filter.js";
import { mark } from "./marks.js";
import { chosen, MENUS, menuBody, menuText, sync } from "./menus.js";
import { openBox, openDialog, toggleMenu } from "./popup.js";
import { go, now, state } from "./state.js";
import { many, SEVERITIES } from "./words.js";

/** A pause in typing after which the next letter is a history entry of its own, and that before rows are filtered, in milliseconds. */
const PAUSE = 1200, SETTLE = 90;
/** `timer` runs while letters wait to be applied: the field is not overwritten then. `typed`: when letters were applied, and to which address that led. */
let ctx = null, typed = { at: 0, address: "" }, timer = 0;

function setFilters(filters, how) {
  go({ filters: { ...filters, unknown: [] } }, how);
}

function onText() {
  clearTimeout(timer);
  timer = setTimeout(flush, SETTLE);
}
/** Applies what was typed at once. */
function flush() {
  clearTimeout(timer);
  timer = 0;
  const q = at("q").value.trim();
  if (q === state.filters.q) return;
  // A step that something else made, meanwhile, stays in the history.
  const replace = Date.now() - typed.at < PAUSE && typed.address === location.href;
  setFilters({ ...state.filters, q }, { replace });
  typed = { at: Date.now(), address: location.href };
}

/** Switches a severity on or off. */
export function toggleSeverity(severity) {
  const on = state.filters.severity, next = SEVERITIES.filter((one) => on.includes(one) !== (one === severity));
  setFilters({ ...state.filters, severity: next });
}

/** Takes all filters away. */
export const clearAll = () => setFilters(none());

function onChange({ target }) {
  if (target.name && target.closest(".menu-body")) apply(target);
}
function onClick({ target }) {
  const hit = target.closest("button");
  if (!hit) return;
  const { severity, menu, chip, not } = hit.dataset;
  if (severity) toggleSeverity(severity);
  else if (menu) openMenu(menu);
  else if (not !== undefined) apply(hit);
  else if (chip === "all") { clearAll(); at("q").focus(); }
  else if (chip !== undefined) { setFilters(describe(state.filters)[Number(chip)]?.clear ?? state.filters); (at("chips").querySelector("button") ?? at("q")).focus(); }
}
function apply(target) {
  setFilters(chosen(target, state.filters));
  for (const body of document.querySelectorAll(".menu-body")) sync(body, state.filters);
}

/** The body of a menu, with counts under the other filters. */
function bodyOf(menu) {
  const { filters } = state, others = { ...filters, [menu.name]: menu.name === "since" ? "" : [] };
  return menuBody(menu, ctx.all, ctx.all.filter((row) => !row.left && matches(row, others, now())), filters);
}

/** Opens the menu of a filter; on phones the sheet. */
export function openMenu(name) {
  const menu = MENUS.find((one) => one.name === name), opener = document.querySelector(`[data-menu="${name}"]`);
  if (!opener.offsetParent) return openSheet();
  toggleMenu(opener, menu.title, () => bodyOf(menu));
}

/** The sheet with all menus. */
export function openSheet() {
  openDialog("sheet", "Filters", () => [
    ...MENUS.map((menu) => el("fieldset", {}, el("legend", {}, menu.title), bodyOf(menu))),
    button({ close: "" }, { class: "main-button" }, "Show"),
  ]);
  at("sheet").onchange = onChange;
  at("sheet").onclick = ({ target }) => { if (target.closest("[data-not]")) apply(target.closest("[data-not]")); };
}

function build(host) {
  const glass = svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("circle", { cx: 6, cy: 6, r: 4.6, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }), svg("path", { d: "m9.6 9.6 3.6 3.6", stroke: "currentColor", "stroke-width": 1.5 }));
  const field = el("input", { id: "q", type: "search", placeholder: "Name, port, process, image, address", autocomplete: "off", spellcheck: "false", maxlength: 512 });
  host.replaceChildren(
    el("label", { class: "field" }, el("span", { class: "sr" }, "Filter by name, port, process, image or address; a leading minus excludes"), glass, field, el("kbd", { "aria-hidden": "true" }, "/")),
    el("div", { class: "sevs", role: "group", "aria-label": "Severity" }, SEVERITIES.map((severity) => button({ severity }, { class: "sev" }, mark({ severity }), el("span", {}, severity), " ", el("b")))),
    ...MENUS.map((menu) => el("div", { class: "menu wide" }, button({ menu: menu.name }, { class: "pick", "aria-expanded": "false" }, menu.title, " ", el("b", { class: "cut" })))),
    el("div", { class: "chips", id: "chips", role: "group", "aria-label": "Active filters", hidden: true }),
  );
  field.addEventListener("input", onText);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { flush(); event.preventDefault(); }
    if (event.key === "Escape") { if (field.value) { field.value = ""; flush(); event.preventDefault(); } else at("main").focus({ preventScroll: true }); event.stopPropagation(); }
  });
  host.addEventListener("submit", (event) => event.preventDefault());
  host.addEventListener("click", onClick);
  host.addEventListener("change", onChange);
}

/** Draws the bar. `ctx`: `all` rows, and `counts` of open rows by severity under the other filters, null for those that are not known. */
export function drawFilters(host, context) {
  ctx = context;
  if (!host.firstChild) build(host);
  const { filters } = state, field = at("q");
  if (!timer && field.value.trim() !== filters.q) field.value = filters.q;
  for (const hit of host.querySelectorAll("[data-severity]")) {
    const { severity } = hit.dataset, known = ctx.counts[severity] ?? null, n = known === null ? "–" : known.toLocaleString("en");
    hit.setAttribute("aria-pressed", String(filters.severity.includes(severity)));
    hit.setAttribute("aria-label", `${severity}: ${known === null ? "not known" : n}`);
    hit.querySelector("b").textContent = n;
  }
  for (const menu of MENUS) {
    const hit = host.querySelector(`[data-menu="${menu.name}"]`);
    hit.querySelector("b").textContent = shown(menuText(menu, filters));
    hit.classList.toggle("on", menu.name === "since" ? Boolean(filters.since) : filters[menu.name].length > 0);
  }
  if (openBox()?.querySelector(".menu-body")) sync(openBox(), filters);
  drawChips();
}
/** Rows with callers that are not listed, and that the filters hide: what looks at callers may miss them. */
function missed() {
  const { filters } = state;
  if (!filters.q && !filters.caller.length) return 0;
  const others = { ...filters, q: "", caller: [] };
  return ctx.all.filter((row) => hasUnlisted(row) && !row.left && matches(row, others, now()) && !matches(row, filters, now())).length;
}

let drawn = "";
function drawChips() {
  const chips = describe(state.filters), n = missed(), key = JSON.stringify([chips.map((chip) => chip.text), n]);
  at("chips").hidden = !chips.length;
  if (key === drawn) return;
  drawn = key;
  at("chips").replaceChildren(...chips.map((chip, i) => button({ chip: i }, { class: "chip", "aria-label": `Clear ${chip.text}` }, el("bdi", { class: "cut" }, chip.text), el("span", { "aria-hidden": "true" }, "✕"))),
    ...(chips.length ? [button({ chip: "all" }, { class: "plain" }, "Clear all"), button({ copy: "link" }, { class: "plain" }, "Copy link")] : []),
    ...(n ? [el("span", { class: "mute small" }, `${many(n, "more port has", "more ports have")} callers that are not listed: the filter does not see those.`)] : []));
}
