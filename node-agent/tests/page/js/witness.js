// Runs in every page before its own scripts: notes what must not happen, and has what the cases ask for.
(() => {
  "use strict";
  const noted = [];
  addEventListener("securitypolicyviolation", (event) =>
    noted.push(`policy: ${event.violatedDirective} refuses ${event.blockedURI} in ${event.sourceFile}:${event.lineNumber}`));
  addEventListener("error", (event) => noted.push(`error: ${event.message} in ${event.filename}:${event.lineno}`));
  addEventListener("unhandledrejection", (event) => noted.push(`error: ${event.reason?.stack ?? event.reason}`));
  for (const name of ["alert", "confirm", "prompt", "print"]) {
    window[name] = (text) => { noted.push(`dialog: ${name} ${text}`); return null; };
  }

  const isSeen = (element) => {
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    return element.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true, opacityProperty: true })
      && style.clipPath !== "inset(50%)" && box.width > 1 && box.height > 1;
  };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)].filter(isSeen);
  // Sentence and strip say more than that the agents are asked.
  const isDrawn = () => document.readyState === "complete"
    && ["h1", "#strip"].every((place) => /^(?!Asking)\S/u.test(document.querySelector(place)?.textContent.trim() ?? ""));
  // The name of an element for messages.
  const nameOf = (element) => {
    const text = (element.getAttribute("aria-label") ?? element.textContent ?? "").trim().replace(/\s+/g, " ");
    const classes = [...element.classList].filter((name) => name !== "lit").map((name) => `.${name}`).join("");
    return `<${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}${classes}> "${text.slice(0, 60)}"`;
  };
  // When the first row, or the words that there is none, could be used: milliseconds after the start of the navigation.
  let usable = -1;
  const look = () => {
    if (usable < 0 && document.querySelector("[data-open], .state h2, table tbody tr")) requestAnimationFrame(() => { usable = usable < 0 ? performance.now() : usable; });
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
  const usableAfter = () => usable;
  window.__page = { usableAfter, noted, isSeen, all, isDrawn, nameOf };
})();
