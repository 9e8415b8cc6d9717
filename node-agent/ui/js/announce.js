/** What screen readers are told by itself: one region, at most one text in 10 s, the latest of each kind. */
import { at, shown } from "./dom.js";

const EVERY = 10_000;
/** Texts that wait, by kind. */
const waiting = new Map();
let last = 0, timer = 0;

function say() {
  timer = 0;
  last = Date.now();
  // What is outside an open dialog is not read out.
  const home = document.querySelector("dialog[open]") ?? document.body;
  if (at("status").parentNode !== home) home.append(at("status"));
  at("status").textContent = shown([...waiting.values()].map(({ text }) => text).join(" "));
  for (const { said } of waiting.values()) said?.();
  waiting.clear();
}

/** Announces a text of a kind (`strip`, `news`, `done`); a later one of the same kind replaces it. `now`: an answer to what the user did. `said` is called afterwards. */
export function announce(kind, text, { now = false, said } = {}) {
  if (text) waiting.set(kind, { text, said }); else waiting.delete(kind);
  if (!waiting.size) return;
  if (now) { clearTimeout(timer); say(); } else timer ||= setTimeout(say, Math.max(200, last + EVERY - Date.now()));
}

let toast = 0;
/** Shows and announces for some seconds what was done, such as "Link copied". */
export function done(text) {
  const box = at("toast");
  box.textContent = shown(text);
  // The newest popover stands above an open dialog.
  if (box.matches(":popover-open")) box.hidePopover();
  box.showPopover();
  clearTimeout(toast);
  toast = setTimeout(() => box.hidePopover(), 3000);
  announce("done", text, { now: true });
}
