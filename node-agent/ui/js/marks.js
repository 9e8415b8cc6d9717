/** Marks of severities, sparklines and the compass rose. All are decoration: hidden from screen readers, which get words. */
import { svg } from "./dom.js";

const SHAPES = { critical: "M7 .6 13.4 7 7 13.4.6 7Z", high: "M7 1.2 13.2 12.4H.8Z", medium: "M1.8 1.8h10.4v10.4H1.8Z" };
/** Bars of a sparkline. */
const BARS = 30;

/**
 * The mark of a severity: diamond, triangle, square, disc, ring; a small ring without one. Accepted (`state` `suppressed`) is
 * hollow, gone (nobody listens) dashed. `size` in pixels.
 */
export function mark({ severity, state, gone }, size = 14) {
  const shape = !severity ? svg("circle", { class: "d", cx: 7, cy: 7, r: 3.2 })
    : SHAPES[severity] ? svg("path", { class: "f", d: SHAPES[severity] })
    : severity === "low" ? svg("circle", { class: "f", cx: 7, cy: 7, r: 5.2 }) : svg("circle", { class: "o", cx: 7, cy: 7, r: 4.2 });
  const kind = ["mark", severity, state === "suppressed" && "accepted", gone && "gone"].filter(Boolean).join(" ");
  return svg("svg", { class: kind, viewBox: "0 0 14 14", width: size, height: size, "aria-hidden": "true" }, shape);
}

/** Bars as two paths, those above zero and those of zero: `[bars, zeros]`. */
export function bars(values, step, width, height) {
  const max = Math.max(1, ...values), paths = ["", ""];
  values.forEach((value, i) => {
    const h = value ? Math.max(2, Math.round((value / max) * (height - 2))) : 1;
    paths[value ? 0 : 1] += `M${+(i * step).toFixed(2)} ${height - h}h${width}v${h}h-${width}z`;
  });
  return paths;
}

/** A sparkline of 60 counts per minute, two a bar; without bars if they are not known (null). */
export function spark(minutes) {
  const pairs = Array.from({ length: BARS }, (_, i) => (minutes ? minutes[2 * i] + minutes[2 * i + 1] : 0));
  const [some, none] = !minutes ? ["", ""] : pairs.some(Boolean) ? bars(pairs, 74 / BARS, 1.6, 20) : ["", "M0 19h74v1h-74z"];
  return svg("svg", { class: "spark", viewBox: "0 0 74 20", "shape-rendering": "crispEdges", "aria-hidden": "true" }, none && svg("path", { class: "z", d: none }), some && svg("path", { d: some }));
}

/** The compass rose, for the brand and for empty states. Colours come from the classes in chart.css. */
export function rose() {
  const half = (angle, r, w, kind) => svg("path", { class: kind, d: `M12 ${12 - r} L${12 + w} 12 L12 12Z`, transform: `rotate(${angle} 12 12)` });
  const star = [45, 135, 225, 315].flatMap((a) => [half(a, 8.2, 2.2, "minor"), half(a, 8.2, -2.2, "minor")]);
  const points = [0, 90, 180, 270].flatMap((a) => [half(a, 11.4, 2.8, "dark"), half(a, 11.4, -2.8, a ? "lit" : "north")]);
  return svg("svg", { class: "rose", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("circle", { class: "ring", cx: 12, cy: 12, r: 10.2 }), star, points);
}
