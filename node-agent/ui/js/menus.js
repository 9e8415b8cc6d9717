/** What the menus of the filters hold: options to include or exclude, as check boxes that a keyboard reaches. */
import { bdi, button, el } from "./dom.js";
import { DEFAULT_STATES, STATES, sinceWords, stateWords } from "./filter.js";
import { callerName } from "./words.js";

/** Maximum number of options that a menu lists; the field above them finds the others. */
const MOST = 200;
/** Options above which a menu has a field to search in. */
const FEW = 8;
const TIMES = ["", "1h", "24h", "7d", "30d"];

/** The menus: `name` is that of the filter. */
export const MENUS = [
  { name: "namespace", title: "Namespace", all: "all" },
  { name: "caller", title: "Called by", all: "anyone" },
  { name: "since", title: "Changed" },
  { name: "state", title: "State" },
];

/** What a menu's button says of its filter. */
export function menuText({ name, all }, filters) {
  if (name === "since") return sinceWords(filters.since);
  if (name === "state") return stateWords(filters.state);
  const values = filters[name], first = values[0]?.startsWith("-") ? `not ${values[0].slice(1)}` : values[0];
  return values.length > 1 ? `${first} +${values.length - 1}` : first ?? all;
}

const bump = (counts, key) => { if (key) counts.set(key, (counts.get(key) ?? 0) + 1); };

/** Values of a filter with the number of rows of `matching` that have it, by name; outside and the nodes first. */
function optionsOf(name, rows, matching, filters) {
  const counts = countsOf(name, matching), first = name === "caller" ? ["outside", "nodes"] : [];
  for (const value of countsOf(name, rows).keys()) if (!counts.has(value)) counts.set(value, 0);
  for (const value of filters[name]) { const bare = value.replace(/^-/u, ""); if (!counts.has(bare)) counts.set(bare, 0); }
  const rest = [...counts.keys()].filter((value) => !first.includes(value)).sort();
  return [...first, ...rest].map((value) => ({ value, n: counts.get(value) ?? 0 }));
}

function countsOf(name, rows) {
  const counts = new Map();
  if (name === "namespace") for (const row of rows) bump(counts, row.namespace);
  else {
    for (const row of rows) {
      const mine = new Set(row.code === "undeclared-external" ? ["outside"] : []);
      for (const caller of row.callers ?? []) {
        if (caller.origin === "external") mine.add("outside").add(caller.address);
        else if (caller.origin === "node") mine.add("nodes");
        else { if (caller.namespace) mine.add(caller.namespace); mine.add(callerName(caller)); }
      }
      for (const value of mine) bump(counts, value);
    }
  }
  return counts;
}

const WORDS = { __proto__: null, outside: "outside the cluster", nodes: "the nodes" };
const option = (name, { value, n }) => el("li", { class: "opt" },
  el("label", {}, Object.assign(el("input", { type: "checkbox", value }), { name }), bdi(WORDS[value] ?? value, { class: "cut" }), el("span", { class: "n" }, n)),
  button({ not: value, name }, { class: "not", "aria-label": `not ${value}`, title: `Exclude ${value}` }, "not"));

function valuesBody(menu, rows, matching, filters) {
  const options = optionsOf(menu.name, rows, matching, filters), list = el("ul", { class: "opts" }), rest = el("p", { class: "mute small" });
  const draw = (text) => {
    const found = options.filter(({ value }) => value.toLowerCase().includes(text.trim().toLowerCase()));
    list.replaceChildren(...found.slice(0, MOST).map((one) => option(menu.name, one)));
    rest.textContent = found.length > MOST ? `${found.length - MOST} more: type to find them` : found.length ? "" : "Nothing has this name.";
    sync(list, filters);
  };
  const field = el("input", { type: "search", class: "find", "aria-label": `Find in ${menu.title.toLowerCase()}`, placeholder: "Find", autocomplete: "off" });
  field.addEventListener("input", () => draw(field.value));
  draw("");
  return [options.length > FEW && field, list, rest];
}

const choice = (type, name, value, text) => el("li", { class: "opt" }, el("label", {}, Object.assign(el("input", { type, value }), { name }), text));

/** The body of a menu, with the values of `filters` checked. Values come from all `rows`; their counts are of those that match the other filters. */
export function menuBody(menu, rows, matching, filters) {
  const parts = menu.name === "since" ? el("ul", { class: "opts" }, TIMES.map((time) => choice("radio", "since", time, sinceWords(time))))
    : menu.name === "state" ? el("ul", { class: "opts" }, STATES.map((one) => choice("checkbox", "state", one, stateWords([one]))))
    : valuesBody(menu, rows, matching, filters);
  const body = el("div", { class: "menu-body" }, parts);
  sync(body, filters);
  return body;
}

/** Checks what the filters hold. */
export function sync(body, filters) {
  for (const input of body.querySelectorAll("input[name]")) {
    const { name, value } = input;
    input.checked = name === "since" ? filters.since === value : name === "state" ? (filters.state.length ? filters.state : DEFAULT_STATES).includes(value) : filters[name].includes(value);
  }
  for (const not of body.querySelectorAll("[data-not]")) not.setAttribute("aria-pressed", String(filters[not.dataset.name].includes(`-${not.dataset.not}`)));
}

/** The filters after a change in a menu: of a check box or radio button, or of a "not". */
export function chosen(target, filters) {
  if (target.dataset.not !== undefined) {
    const { name, not } = target.dataset, others = filters[name].filter((value) => value !== not && value !== `-${not}`);
    return { ...filters, [name]: filters[name].includes(`-${not}`) ? others : [...others, `-${not}`] };
  }
  const { name, value, checked } = target;
  if (name === "since") return { ...filters, since: value };
  if (name === "state") {
    const states = (filters.state.length ? filters.state : DEFAULT_STATES).filter((one) => one !== value);
    const next = STATES.filter((one) => states.includes(one) || (checked && one === value));
    return { ...filters, state: next.join() === DEFAULT_STATES.join() ? [] : next };
  }
  const others = filters[name].filter((one) => one !== value && one !== `-${value}`);
  return { ...filters, [name]: checked ? [...others, value] : others };
}
