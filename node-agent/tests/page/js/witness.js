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
      && style.clipPath !== "inset(50%)" && box.width > 0 && box.height > 0;
  };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)].filter(isSeen);
  const isDrawn = () => document.readyState === "complete" && Boolean(document.querySelector("h1"))
    && !document.querySelector("[aria-busy='true']");
  // The name of an element for messages.
  const nameOf = (element) => {
    const text = (element.getAttribute("aria-label") ?? element.textContent ?? "").trim().replace(/\s+/g, " ");
    const classes = [...element.classList].map((name) => `.${name}`).join("");
    return `<${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}${classes}> "${text.slice(0, 60)}"`;
  };
  window.__page = { noted, isSeen, all, isDrawn, nameOf };
})();
