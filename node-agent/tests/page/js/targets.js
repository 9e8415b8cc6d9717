// Returns the visible controls that are smaller than so many pixels, without those within a line of text. Arguments: pixels.
const least = arguments[0];
const small = [];
for (const control of page.all("button, a[href], input, select, summary, [role=button], [role=tab], [role=menuitem], [role=checkbox], [role=option]")) {
  if (control.closest("[aria-hidden=true]") || (control.matches("input") && control.closest("label"))) continue;
  // Links within sentences are as high as their line.
  if (control.matches("a") && getComputedStyle(control).display === "inline") continue;
  const { width, height } = control.getBoundingClientRect();
  // A skip link has its size once it has the focus.
  if (control.matches(".skip")) continue;
  if (width < least - .5 || height < least - .5) small.push(`${Math.round(width)} × ${Math.round(height)} px: ${page.nameOf(control)}`);
}
return [...new Set(small)].slice(0, 12);
