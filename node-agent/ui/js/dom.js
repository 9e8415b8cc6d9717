/**
 * Making elements. Text that a cluster chose becomes text and nothing else: no function here parses markup, and attributes never
 * hold styles (the content security policy refuses them; positions are set by `element.style.left = …`).
 */

const SVG = "http://www.w3.org/2000/svg";
/** Control characters, and those that change the direction or hide text. */
const STEERING = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\u{e0000}-\u{e007f}]/gu;

/** The text with characters that steer how text is shown written out, such as `\u{202e}`. */
export const shown = (text) => String(text).replace(STEERING, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

/** Appends children: nodes as they are, numbers and texts as text. Nothing for `false`, `null`, `undefined` and the empty text. */
export function add(parent, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child || child === 0) parent.append(child instanceof Node ? child : shown(child));
  }
  return parent;
}

/** Attributes that are read out or shown. */
const TEXTS = new Set(["aria-label", "title", "placeholder"]);

function attributed(made, attributes) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : TEXTS.has(key) ? shown(value) : value);
  }
  return made;
}

/** An element of HTML. Attributes that are `undefined`, `null` or `false` are left out. */
export const el = (name, attributes = {}, ...children) => add(attributed(document.createElement(name), attributes), ...children);

/** An element of SVG. */
export const svg = (name, attributes = {}, ...children) => add(attributed(document.createElementNS(SVG, name), attributes), ...children);

/** A button of `type="button"` with `data-…` attributes, by which the page's handlers know it. */
export function button(data, attributes = {}, ...children) {
  const made = el("button", { type: "button", ...attributes }, ...children);
  for (const [key, value] of Object.entries(data)) if (value !== undefined && value !== null) made.dataset[key] = value;
  return made;
}

/** A selector of elements with the same `data-…` attributes as this one; empty if it has none. */
export const sameData = (element) => Object.entries(element?.dataset ?? {}).map(([name, value]) => `[data-${name.replace(/[A-Z]/gu, (c) => `-${c.toLowerCase()}`)}="${CSS.escape(value)}"]`).join("");

/** The element with this id. */
export const at = (id) => document.getElementById(id);

/** A name that keeps its own direction. `attributes` as for `el`. */
export const bdi = (text, attributes = {}) => el("bdi", attributes, text);

/** Text that may break after `/`, `:`, `@` and `_`. An array for `el`. */
export const breakable = (text) => shown(text).split(/(?<=[/:@_])/u).flatMap((part, i) => (i ? [el("wbr"), part] : [part]));

/** Sets what an element holds. Focus inside it must be kept by the caller. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, ...children);
}
