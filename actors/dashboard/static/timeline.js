/**
 * The life of an input as a bar: what it waited, what it ran, and how it ended. Where the
 * bars begin and how long they are is reckoned here, purely; `bar` draws.
 */
import { el, svg } from "./dom.js";
import { now } from "./time.js";

const KINDS = {
  accepted: "accepted",
  queued: "queued",
  staged: "run",
  applied: "run",
  applied_pending_consumption: "run",
};
const ENDS = ["consumed", "superseded", "coalesced", "abandoned"];

/** The stretches of a life: [{kind, from, to}], in milliseconds; and how it ended, if it did. */
export function stretches(input, until = now()) {
  const steps = (input.history ?? []).map((step) => ({
    ms: Date.parse(step.at ?? step.timestamp),
    phase: step.to,
  }));
  const told = [{ ms: Date.parse(input.created_at), phase: "accepted" }, ...steps];
  const found = [];
  let end = null;
  told.forEach(({ ms, phase }, place) => {
    if (ENDS.includes(phase)) end = { ms, phase };
    else {
      const last = found.at(-1);
      const to = told[place + 1]?.ms ?? until;
      if (last?.kind === KINDS[phase]) last.to = to;
      else found.push({ kind: KINDS[phase] ?? "accepted", from: ms, to });
    }
  });
  return { stretches: found, end };
}

/** Seconds in stretches of one kind; null if it never came to any. */
export function spent(life, kind) {
  const found = life.stretches.filter((each) => each.kind === kind);
  return found.length ? found.reduce((sum, { from, to }) => sum + to - from, 0) / 1000 : null;
}

/** Where bars stand: by the clock, or each from its own beginning. Gives ms → 0..1. */
export function scaleOf(inputs, aligned, until = now()) {
  const ends = inputs.map((input) => {
    const life = stretches(input, until);
    return life.end?.ms ?? life.stretches.at(-1)?.to ?? Date.parse(input.created_at);
  });
  const starts = inputs.map((input) => Date.parse(input.created_at));
  if (aligned) {
    const longest = Math.max(1, ...ends.map((end, place) => end - starts[place]));
    return { from: 0, to: longest, at: (ms, start) => (ms - start) / longest };
  }
  const from = Math.min(...starts);
  const to = Math.max(from + 1, ...ends);
  return { from, to, at: (ms) => (ms - from) / (to - from) };
}

const percent = (share) => `${(Math.min(1, Math.max(0, share)) * 100).toFixed(2)}%`;

/** How an input ended, as a mark of its own shape. */
export function mark(phase, x) {
  if (phase === "abandoned")
    return svg(
      "svg",
      { x, y: 9, overflow: "visible" },
      svg("path", { class: "end abandoned", d: "M0-6L6 0L0 6L-6 0Z" }),
    );
  return svg("circle", { class: `end ${phase}`, cx: x, cy: 9, r: phase === "consumed" ? 5 : 4 });
}

/** The bar of one input. It is for the eye: the cells beside it say the same. */
export function bar(input, scale) {
  const life = stretches(input);
  const start = Date.parse(input.created_at);
  return svg(
    "svg",
    { "aria-hidden": "true" },
    svg("line", { class: "rail", x1: "0%", x2: "100%", y1: 9, y2: 9 }),
    life.stretches.map(({ kind, from, to }) => {
      const [left, right] = [scale.at(from, start), scale.at(to, start)];
      return svg("rect", {
        class: `seg ${kind}`,
        x: percent(left),
        width: percent(right - left),
        y: kind === "run" ? 4 : 6,
        height: kind === "run" ? 10 : 6,
        rx: 1.5,
      });
    }),
    life.end && mark(life.end.phase, percent(scale.at(life.end.ms, start))),
  );
}

/** What the shapes mean. */
export function key() {
  const one = (shape, text) =>
    el("span", {}, svg("svg", { "aria-hidden": "true", viewBox: "0 0 18 18" }, shape), text);
  return el(
    "div",
    { class: "keyed" },
    one(svg("rect", { class: "seg queued", x: 0, y: 5, width: 18, height: 8, rx: 1.5 }), "waits"),
    one(svg("rect", { class: "seg run", x: 0, y: 3, width: 18, height: 12, rx: 1.5 }), "in a run"),
    one(mark("consumed", 9), "consumed"),
    one(mark("abandoned", 9), "abandoned"),
    one(mark("superseded", 9), "superseded, coalesced"),
  );
}
