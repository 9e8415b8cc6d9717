/** What opens over the page: menus under a button, and dialogs. Escape closes each and gives the focus back. */
import { at, button, el } from "./dom.js";

/** The open menu: its button and its box. */
let menu = null;

/** Closes the open menu; `back`: the focus goes back to its button. */
export function closeMenu(back = false) {
  if (!menu) return;
  const { opener, box } = menu;
  menu = null;
  box.remove();
  opener.setAttribute("aria-expanded", "false");
  if (back) opener.focus();
}

/** Opens or closes the menu of a button: `body` makes what it holds. The button's parent must be positioned. */
export function toggleMenu(opener, label, body) {
  const same = menu?.opener === opener;
  closeMenu(same);
  if (same) return;
  const box = el("div", { class: "popup card", role: "group", "aria-label": label }, body());
  opener.after(box);
  opener.setAttribute("aria-expanded", "true");
  const { right } = box.getBoundingClientRect(), over = right - document.documentElement.clientWidth + 8;
  if (over > 0) box.style.left = `${Math.round(-over)}px`;
  menu = { opener, box };
  (box.querySelector("input[type=search]") ?? box.querySelector("input:checked, a, input, button"))?.focus();
}

/** The body of the open menu; null if none is open. */
export const openBox = () => menu?.box ?? null;

const STOPS = "input, button, a[href]";
function onKey(event) {
  if (!menu) return;
  if (event.key === "Escape") { event.stopPropagation(); event.preventDefault(); closeMenu(true); }
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || event.target.type === "radio" || !menu.box.contains(event.target)) return;
  const stops = [...menu.box.querySelectorAll(STOPS)].filter((stop) => !stop.closest("[hidden]"));
  stops[stops.indexOf(document.activeElement) + by]?.focus();
  event.preventDefault();
}

/** Opens a dialog with a heading and a button to close it. `body` makes what it holds. */
export function openDialog(id, title, body) {
  closeMenu();
  let dialog = at(id);
  if (dialog?.open) return;
  if (!dialog) {
    dialog = el("dialog", { id, class: "dialog card", "aria-labelledby": `${id}-title` });
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("[data-close]")) dialog.close(); });
    dialog.addEventListener("close", () => { document.body.append(at("status")); dialog.replaceChildren(); if (document.activeElement === document.body) at("main").focus({ preventScroll: true }); });
  }
  dialog.replaceChildren(el("header", {}, el("h2", { id: `${id}-title`, tabindex: "-1", autofocus: true }, title), button({ close: "" }, { class: "plain", "aria-label": "Close" }, "✕")), el("div", { class: "in" }, body()));
  dialog.showModal();
}

/** True while a dialog is open: single letters do nothing then. */
export const isDialogOpen = () => Boolean(document.querySelector("dialog[open]"));

/** Closes menus on clicks and focus outside. */
export function begin() {
  addEventListener("keydown", onKey, true);
  addEventListener("pointerdown", ({ target }) => { if (menu && !menu.box.contains(target) && !menu.opener.contains(target)) closeMenu(); });
  addEventListener("focusin", ({ target }) => { if (menu && target !== document.body && !menu.box.contains(target) && !menu.opener.contains(target)) closeMenu(); });
}
