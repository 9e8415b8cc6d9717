// Returns the visible texts whose contrast with what is behind them is below 4.5, and how many were judged. Arguments: a picture
// of the viewport without its texts (PNG, base64).
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const done = arguments[1];
const page = window.__page;
createImageBitmap(new Blob([bytes], { type: "image/png" })).then((picture) => {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const scale = picture.width / innerWidth;
  const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = text;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const linear = (value) => (value / 255 <= .04045 ? value / 255 / 12.92 : ((value / 255 + .055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const contrast = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + .05) / (low + .05);
  };
  // Colours that fill at least a tenth of a box.
  const behind = (box) => {
    const x = Math.max(0, Math.round(box.left * scale)), y = Math.max(0, Math.round(box.top * scale));
    const width = Math.min(picture.width, Math.round(box.right * scale)) - x, height = Math.min(picture.height, Math.round(box.bottom * scale)) - y;
    if (width < 1 || height < 1) return [];
    const { data } = context.getImageData(x, y, width, height);
    const counts = new Map();
    for (let i = 0; i < data.length; i += 4) {
      const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts].filter(([, count]) => count * 10 >= data.length / 4).map(([key]) => [key >> 16, (key >> 8) & 255, key & 255]);
  };
  const weak = new Set();
  let judged = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !page.isSeen(element) || element.closest("[disabled], [aria-disabled=true]")) continue;
    const style = getComputedStyle(element);
    const [r, g, b, alpha] = rgba(element.closest("svg") ? style.fill : style.color);
    let opacity = alpha;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    if (opacity < .02) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      for (const ground of behind(box)) {
        judged += 1;
        const ink = [r, g, b].map((value, i) => value * opacity + ground[i] * (1 - opacity));
        const ratio = contrast(ink, ground);
        if (ratio < 4.5) weak.add(`${ratio.toFixed(2)} for ${page.nameOf(element)}: ${style.color} on rgb(${ground})`);
      }
    }
  }
  done({ judged, weak: [...weak].slice(0, 12) });
}, (error) => done({ judged: 0, weak: [String(error)] }));
