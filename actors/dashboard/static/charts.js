/**
 * Charts: lines over the last minutes, as SVG. The legend says the values, of now or of where
 * one points; the picture's name says them to those who do not see it.
 */
import { WINDOW_MS } from "./figures.js";
import { el, put, setText, svg } from "./dom.js";
import { duration } from "./time.js";

const HEIGHT = 190;
const EDGE = { top: 14, right: 8, bottom: 22, left: 46 };
const SHORTEST_MS = 60_000;
const STEPS_MS = [15_000, 30_000, 60_000];
const MOMENTS_MAX = 5;

/** The least round number that is not below a value: 1, 2, 5, 10, 20 ... */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value * 0.9999);
}

const SCALES = {
  linear: (values) => {
    const most = rounded(Math.max(1, ...values));
    return { ticks: [0, most / 2, most], at: (value) => value / most };
  },
  log: (values) => {
    const present = values.filter((value) => value > 0);
    const low = Math.floor(Math.log10(Math.min(1e-2, ...present)) + 1e-9);
    const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(1e-3, ...present)) - 1e-9));
    const ticks = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
    const at = (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return { ticks, at };
  },
};

function path(points, at, x, y) {
  let drawn = "";
  let pen = "M";
  for (const { ms, values } of points) {
    if (values[at] === null) pen = "M";
    else {
      drawn += `${pen}${x(ms).toFixed(1)} ${y(values[at]).toFixed(1)}`;
      pen = "L";
    }
  }
  return drawn;
}

/** The lines of a grid, with their values. */
function levels(ticks, y, width, unit) {
  return ticks.map((tick) => [
    svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }),
    svg("text", { x: EDGE.left - 8, y: y(tick) + 4, "text-anchor": "end" }, unit(tick)),
  ]);
}

/** The times below a grid; `x` says where so long ago is. */
function moments(long, x) {
  const step = STEPS_MS.find((each) => long / each <= MOMENTS_MAX) ?? STEPS_MS.at(-1);
  const places = Array.from({ length: Math.floor(long / step) + 1 }, (_, place) => place * step);
  return places.map((ago) => {
    const props = { x: x(ago), y: HEIGHT - 5, "text-anchor": ago ? "middle" : "end" };
    return svg("text", props, ago ? `−${duration(ago / 1000)}` : "now");
  });
}

/** Make one. `series` are {label, kind}; `unit(value)` words a value; `scale` linear or log. */
export function chart({ title, note, series, unit, tickUnit = unit, scale, controls }) {
  const said = series.map(() => el("b", {}, "–"));
  const when = el("span", { class: "quiet small" });
  const legend = el(
    "div",
    { class: "legend" },
    series.map(({ label, kind }, at) =>
      el(
        "span",
        {},
        el("i", { class: `swatch ${kind}`, "aria-hidden": "true" }),
        `${label} `,
        said[at],
      ),
    ),
    when,
  );
  const grid = svg("g", { class: "grid" });
  const lines = series.map(({ kind }) => svg("path", { class: `line ${kind}` }));
  const area = svg("path", { class: `area ${series[0].kind}` });
  const needle = svg("line", {
    class: "needle",
    y1: EDGE.top,
    y2: HEIGHT - EDGE.bottom,
    visibility: "hidden",
  });
  const picture = svg(
    "svg",
    { role: "img", "aria-label": `${title}: no figures yet`, height: HEIGHT, width: "100%" },
    grid,
    area,
    lines,
    needle,
  );
  const waiting = el("p", { class: "nothing quiet" }, "Waiting for figures …");
  const element = el(
    "figure",
    { class: "card chart" },
    el(
      "figcaption",
      {},
      el(
        "div",
        { class: "heads" },
        el("h2", {}, title, note && el("small", {}, ` ${note}`)),
        controls,
      ),
      legend,
    ),
    el("div", { class: "plot" }, picture, waiting),
  );
  let points = [];
  let pointed = null;
  let shape = null;

  function words() {
    const point = pointed ?? points.at(-1);
    series.forEach((_, at) =>
      setText(said[at], point && point.values[at] !== null ? unit(point.values[at]) : "–"),
    );
    setText(when, pointed ? `${duration((points.at(-1).ms - pointed.ms) / 1000)} ago` : "");
  }

  function draw() {
    const width = picture.clientWidth;
    waiting.hidden = points.length > 1;
    if (!width || points.length < 2) {
      put(grid);
      [area, ...lines].forEach((line) => line.removeAttribute("d"));
      words();
      return;
    }
    const end = points.at(-1).ms;
    const long = Math.min(WINDOW_MS, Math.max(SHORTEST_MS, end - points[0].ms));
    const { ticks, at } = SCALES[scale](
      points.flatMap(({ values }) => values.filter((value) => value !== null)),
    );
    const inner = width - EDGE.left - EDGE.right;
    const base = HEIGHT - EDGE.bottom;
    const x = (ms) => EDGE.left + inner * (1 - (end - ms) / long);
    const y = (value) => base - at(value) * (base - EDGE.top);
    shape = { x, base };
    const inside = points.filter(({ ms }) => end - ms <= long);
    lines.forEach((line, place) => line.setAttribute("d", path(inside, place, x, y)));
    if (scale === "linear") {
      const filled = path(inside, 0, x, y);
      area.setAttribute(
        "d",
        filled && `${filled}L${x(end).toFixed(1)} ${base}L${x(inside[0].ms).toFixed(1)} ${base}Z`,
      );
    }
    put(
      grid,
      levels(ticks, y, width, tickUnit),
      moments(long, (ago) => x(end - ago)),
    );
    words();
    const values = series.map(({ label }, place) => `${label} ${said[place].textContent}`);
    picture.setAttribute("aria-label", `${title}, now: ${values.join(", ")}`);
  }

  picture.addEventListener("pointermove", (event) => {
    if (points.length < 2 || !shape) return;
    const left = event.clientX - picture.getBoundingClientRect().left;
    pointed = points.reduce((best, point) =>
      Math.abs(shape.x(point.ms) - left) < Math.abs(shape.x(best.ms) - left) ? point : best,
    );
    needle.setAttribute("x1", shape.x(pointed.ms));
    needle.setAttribute("x2", shape.x(pointed.ms));
    needle.setAttribute("visibility", "visible");
    words();
  });
  picture.addEventListener("pointerleave", () => {
    pointed = null;
    needle.setAttribute("visibility", "hidden");
    words();
  });
  new ResizeObserver(draw).observe(picture);

  return {
    element,
    /** Draw these points, oldest first: {ms, values}, null where there is nothing. */
    show(found) {
      points = found;
      draw();
    },
  };
}
