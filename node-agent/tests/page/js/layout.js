// Returns what is wrong with the layout of what is visible: sideways scrolling, texts on each other, words broken in two.
const complaints = [];
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) {
  const wide = page.all("body *").filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1);
  complaints.push(`scrolls sideways: ${root.scrollWidth} > ${root.clientWidth} px; ${wide.slice(-2).map(page.nameOf).join(", ")}`);
}
// The part of a box that its ancestors do not cut off.
const clipped = (box, element) => {
  let { left, top, right, bottom } = box;
  for (let at = element; at && at !== root; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.overflowX === "visible" && style.overflowY === "visible") continue;
    const edge = at.getBoundingClientRect();
    if (style.overflowX !== "visible") { left = Math.max(left, edge.left); right = Math.min(right, edge.right); }
    if (style.overflowY !== "visible") { top = Math.max(top, edge.top); bottom = Math.min(bottom, edge.bottom); }
  }
  return { left, top, right, bottom };
};
const isEmpty = (box) => box.right - box.left < 1 || box.bottom - box.top < 1;
// Line boxes are taller than their glyphs: only the middle of a line counts.
const lean = (box) => ({ ...box, top: box.top + (box.bottom - box.top) * .2, bottom: box.bottom - (box.bottom - box.top) * .2 });

const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || !page.isSeen(element) || element.closest("svg, dialog:not([open])")) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const rect of range.getClientRects()) {
    const box = lean(clipped(rect, element));
    if (!isEmpty(box)) texts.push({ box, node, element });
  }
  if (["pre", "nowrap"].includes(getComputedStyle(element).whiteSpaceCollapse ? getComputedStyle(element).whiteSpace : "")) continue;
  // A line may end at a space, and after punctuation.
  for (const { index, 0: word } of node.data.matchAll(/[\p{L}\p{N}]+/gu)) {
    // A word that no column could hold may break anywhere.
    if (word.length < 2 || word.length > 40) continue;
    range.setStart(node, index);
    range.setEnd(node, index + word.length);
    const lines = new Set([...range.getClientRects()].filter((rect) => rect.width > .5).map((rect) => Math.round(rect.top)));
    if (lines.size > 1) complaints.push(`breaks within "${word.slice(0, 40)}" of ${page.nameOf(element)}`);
  }
}
const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
texts.sort((a, b) => a.box.top - b.box.top);
const isFloating = (element) => Boolean(element.closest(".popup, .toast, dialog"));
for (let i = 0; i < texts.length; i++) {
  for (let j = i + 1; j < texts.length && texts[j].box.top < texts[i].box.bottom; j++) {
    if (texts[i].node === texts[j].node || isFloating(texts[i].element) !== isFloating(texts[j].element)) continue;
    if (overlap(texts[i].box, texts[j].box)) complaints.push(`${page.nameOf(texts[i].element)} lies on ${page.nameOf(texts[j].element)}`);
  }
}
return [...new Set(complaints)].slice(0, 12);
