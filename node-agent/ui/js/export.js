/** Taking it elsewhere: files of the rows under the filters, the address, and the command that opens the same page for others. */
import { done } from "./announce.js";
import { button, el } from "./dom.js";
import { format } from "./filter.js";
import { openDialog } from "./popup.js";
import { query, state } from "./state.js";

/** Declared ports that an export lists. */
const DECLARED = 1000;
const OUTPUTS = [["csv", "CSV, for a spreadsheet"], ["ndjson", "NDJSON, one row a line"], ["json", "JSON"]];

/** Address of the rows under the filters, in a format. */
const exportPath = (output) => `/v1/chart?${[format(state.filters), `declared=${DECLARED}`, `output=${output}`].filter(Boolean).join("&")}`;

/** The items of the Export menu. */
export function exportMenu() {
  const day = new Date().toISOString().slice(0, 10);
  const print = button({}, {}, "Print, or save as PDF");
  print.addEventListener("click", () => globalThis.print());
  return [el("ul", { class: "opts links" }, OUTPUTS.map(([output, text]) => el("li", {}, el("a", { href: exportPath(output), download: `portolan-${day}.${output}` }, text))), el("li", {}, print)),
    el("p", { class: "mute small" }, format(state.filters) ? "The rows that the filters let through." : "All open and accepted rows.")];
}

/** Puts text on the clipboard, and says so; where the browser refuses, it selects the text of `element` instead. */
export async function copy(text, what, element) {
  try {
    await navigator.clipboard.writeText(text);
    done(`${what} copied`);
  } catch {
    if (element) { const range = document.createRange(); range.selectNodeContents(element); getSelection().removeAllRanges(); getSelection().addRange(range); }
    done(element ? `The browser refuses to copy; ${what.toLowerCase()} is selected` : "The browser refuses to copy");
  }
}

/** The command that opens the page with this state, in a shell. */
export const command = () => `kubectl portolan ui${query() ? ` '${query()}'` : ""}`;

/** Copies the page's address. An address on loopback helps nobody else: there it offers the command too. */
export function copyLink() {
  const isLoopback = /^(localhost|127\.|\[::1\])/u.test(location.hostname) || location.hostname === "::1";
  if (state.chart?.node !== undefined && !isLoopback && navigator.clipboard) return copy(location.href, "Link");
  const line = (title, text, hint) => {
    const code = el("code", { class: "mono" }, text), press = button({}, { class: "main-button" }, "Copy");
    press.addEventListener("click", () => copy(text, title, code));
    return el("div", { class: "share" }, el("h3", {}, title), el("p", { class: "mute small" }, hint), el("div", {}, code, press));
  };
  openDialog("share", "Copy link", () => [
    state.chart?.node === undefined && line("Command", command(), "Opens the same page for everybody who may reach the cluster."),
    line("Address", location.href, isLoopback ? "Works on this computer only, as long as the connection to the cluster is open." : "Works for everybody who reaches this address."),
  ]);
}
