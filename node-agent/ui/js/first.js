/** Runs before the first paint, while the modules are on their way. No module itself: those wait for one another. */
"use strict";
try {
  // As state.js stores it.
  const theme = localStorage.getItem("portolan-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* The browser keeps nothing: the theme is the system's. */ }
addEventListener("error", ({ target }) => {
  if (target.tagName === "SCRIPT") document.getElementById("say").textContent = "A file of this page did not arrive. Load the page again.";
}, true);
