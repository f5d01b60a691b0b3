/**
 * The ledger: each input's life as a bar over time, in a table that says the same in words.
 * What an input says is fetched only when it is asked for.
 */
import { read } from "../api.js";
import { button, choice, pager } from "../controls.js";
import { el, put, settle } from "../dom.js";
import { count, words } from "../numbers.js";
import { repeat } from "../refresh.js";
import { table } from "../tables.js";
import { bar, key, scaleOf, spent, stretches } from "../timeline.js";
import { duration, local, span } from "../time.js";
import { phaseBadge } from "../words.js";
import { details, steps } from "./history.js";

const PAGE = 20; // as many as are given with what they say
const EVERY_MS = 2000;

const ENDED = { 0: "Not ended", 1: "Ended" };
const STANDS = { clock: "by the clock", start: "from their start" };

function seconds(input, kind) {
  const found = spent(stretches(input), kind);
  return found === null ? "" : span(found);
}

function noted({ last_error: error, reason }) {
  const text = error ?? reason;
  return text && el("span", { title: text, class: error ? "trouble" : "quiet" }, words(text));
}

/** The table; `opener` gives the first cell of a row, `drawn` the bar of an input. */
function listing(opener, drawn) {
  const made = table({
    caption: "Ledger: the inputs and what became of them",
    key: ({ input_id }) => input_id,
    empty: "None here.",
    columns: [
      { label: "Input", kind: "tight", cell: opener },
      { label: "Kind", kind: "tight kind", cell: ({ kind }) => words(kind) },
      { label: "Phase", kind: "tight", cell: ({ phase }) => phaseBadge(phase) },
      { label: "Tries", kind: "number", cell: ({ attempt_count }) => count(attempt_count) },
      { label: "Waited", kind: "number", cell: (input) => seconds(input, "queued") },
      { label: "Ran", kind: "number", cell: (input) => seconds(input, "run") },
      { label: "Over time", kind: "time", cell: drawn },
      { label: "Note", kind: "note", cell: noted },
    ],
  });
  made.element.classList.add("ledger");
  return made;
}

/** The ends of the axis, in words. */
function axis(scale, aligned) {
  const ends = aligned
    ? ["0 s", duration(scale.to / 1000)]
    : [scale.from, scale.to].map((ms) => local(new Date(ms).toISOString()));
  const shown = ends.map((end) => el("span", {}, end));
  return [
    el("span", { class: "unseen" }, "Over time"),
    el("span", { class: "axis", "aria-hidden": "true" }, shown),
  ];
}

/** The section. `begin(facts)` is told how the runtime stands, and then it is shown. */
export function ledger(id, signal) {
  const histories = new Map();
  let [ended, aligned, place] = ["0", false, null];
  let inputs = [];
  let scale = scaleOf(inputs, aligned);
  let now = null;

  const ask = (more) => ({ id, ended, after: place, limit: PAGE, ...more });
  const listed = listing(opener, (input) => bar(input, scale));
  const heading = listed.element.querySelector("th.time");
  const pages = pager((to) => go(to));
  const which = choice({ label: "Inputs that have", names: ENDED, chosen: ended, choose: turn });
  const by = choice({ label: "Bars stand", names: STANDS, chosen: "clock", choose: stand });

  async function said(input) {
    const { inputs: found } = await read("api/inputs", ask({ payload: 1 }), signal);
    return found.find((each) => each.input_id === input.input_id)?.payload;
  }

  function unfold(input_id) {
    if (listed.unfolded(input_id)) {
      listed.unfold(input_id, null);
      return;
    }
    const input = inputs.find((each) => each.input_id === input_id);
    if (!input) return;
    const { parts, history } = details(input, () => said(input));
    histories.set(input_id, history);
    listed.unfold(input_id, parts);
  }

  function opener({ input_id, admission_sequence: sequence }, { under }) {
    const name = sequence ?? "–";
    const props = {
      class: "slight",
      "aria-expanded": String(Boolean(under)),
      "aria-label": `History of input ${name}`,
    };
    return button(`${under ? "▾" : "▸"} ${name}`, () => unfold(input_id), props);
  }

  function draw() {
    scale = scaleOf(inputs, aligned);
    if (inputs.length) put(heading, axis(scale, aligned));
    listed.element.classList.toggle("ended", ended === "1"); // of these, the kind is not kept
    listed.show(inputs);
    for (const input of inputs) {
      const history = histories.get(input.input_id);
      if (history?.isConnected) settle(history, steps(input));
    }
  }

  function stand(name) {
    aligned = name === "start";
    draw();
  }

  function turn(name) {
    ended = name;
    go(null);
  }

  function go(to) {
    place = to;
    pages.at(to);
    histories.clear();
    listed.clear();
    now();
  }

  async function load(until) {
    const asked = [ended, place];
    const { inputs: found, next } = await read("api/inputs", ask(), until);
    if (asked[0] !== ended || asked[1] !== place) return;
    inputs = found.sort((one, other) => Date.parse(one.created_at) - Date.parse(other.created_at));
    draw();
    pages.show(inputs.length, next);
  }

  const choices = el("div", { class: "bar far" }, by.element, which.element);
  const heads = el("div", { class: "heads" }, el("h2", {}, "Ledger"), choices);
  return {
    element: el(
      "section",
      { class: "card", id: "ledger" },
      heads,
      key(),
      listed.element,
      pages.element,
    ),
    begin({ pending_inputs: pending }) {
      if (now) return;
      if (!pending) ended = "1";
      which.show(ended);
      now = repeat(load, EVERY_MS, signal);
    },
  };
}
