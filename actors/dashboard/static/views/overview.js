/** Overview: what the plane does now and did in the last minutes, and who waits longest. */
import { read } from "../api.js";
import { chart } from "../charts.js";
import { choice } from "../controls.js";
import { el, put, setText, settle } from "../dom.js";
import { quantiles, rates } from "../figures.js";
import { link } from "../link.js";
import { live } from "../live.js";
import { count, many, rate } from "../numbers.js";
import { repeat } from "../refresh.js";
import { heading, to } from "../router.js";
import { age, span } from "../time.js";
import { runtimesTable } from "./runtimes_table.js";

const LONGEST = 6;
const EVERY_MS = 3000;

const MOMENTS = { durable: "accept_to_durable_s", consumed: "accept_to_consumed_s" };

function tile(label) {
  const figure = el("dd", { class: "figure" });
  const under = el("dd", { class: "under" });
  const element = el("div", { class: "card tile" }, el("dt", {}, label), figure, under);
  return { element, figure, under };
}

function tiles() {
  const runs = tile("Runs in hand");
  const pending = tile("Pending inputs");
  const oldest = tile("Oldest wait");
  const through = tile("Consumed per second");
  const meter = el("meter", { min: 0, "aria-label": "run slots in use" });
  runs.element.append(meter);
  const element = el(
    "dl",
    { class: "tiles" },
    [runs, pending, oldest, through].map((each) => each.element),
  );

  function show(figures, speeds) {
    settle(runs.figure, [
      count(figures.runs_in_hand),
      el("small", {}, ` of ${count(figures.max_concurrent_runs)}`),
    ]);
    setText(
      runs.under,
      figures.waiting_for_slot
        ? `${many(figures.waiting_for_slot, "runtime")} waiting for a slot`
        : "nobody waits for a slot",
    );
    meter.max = figures.max_concurrent_runs;
    meter.value = figures.runs_in_hand;
    setText(pending.figure, count(figures.pending_inputs));
    setText(pending.under, `in ${many(figures.live_runtimes, "runtime")} in memory`);
    settle(oldest.figure, figures.oldest_at ? age(figures.oldest_at) : "none");
    setText(oldest.under, figures.oldest_at ? "since it was accepted" : "nothing waits");
    const [consumed, accepted] = speeds ?? [null, null];
    setText(through.figure, rate(consumed));
    setText(through.under, `${rate(accepted)} accepted per second`);
  }
  return { element, show };
}

const SINCE_START = [
  ["accepted", "Accepted"],
  ["deduplicated", "Deduplicated"],
  ["rejected", "Rejected"],
  ["overloaded", "Refused: no room", true],
  ["consumed", "Consumed"],
  ["abandoned", "Abandoned", true],
  ["runs", "Runs"],
  ["retries", "Retries"],
  ["failed_attempts", "Failed attempts"],
  ["restarts", "Driver restarts", true],
  ["journal_restarts", "Journal restarts", true],
  ["dead_letters", "Dead letters", true],
  ["passivations", "Passivations"],
  ["commits", "Commits"],
  ["commit_errors", "Failed commits", true],
  ["set_aside", "Set aside now", true],
];

function totals() {
  const list = el("dl", { class: "facts" });
  const from = el("span", { class: "quiet small" });
  function show(figures) {
    settle(from, ["the plane was started ", age(figures.started_at), " ago"]);
    settle(
      list,
      SINCE_START.filter(([name]) => figures[name] !== undefined).map(([name, label, bad]) =>
        el(
          "div",
          {},
          el("dt", {}, label),
          el("dd", { class: bad && figures[name] ? "waiting" : null }, count(figures[name])),
        ),
      ),
    );
  }
  return {
    element: el(
      "section",
      { class: "card" },
      el("div", { class: "heads" }, el("h2", {}, "Since the start"), from),
      list,
    ),
    show,
  };
}

function latency() {
  let moment = "consumed";
  const names = Object.fromEntries(Object.keys(MOMENTS).map((name) => [name, name]));
  const label = "Latency from accepted to";
  const controls = choice({ label, names, chosen: moment, choose, kind: "far" }).element;
  const drawn = chart({
    title: "Latency",
    note: "from accepted to …",
    scale: "log",
    unit: span,
    tickUnit: (seconds) => (seconds < 1 ? span(seconds) : `${count(seconds)} s`),
    controls,
    series: [
      { label: "p50", kind: "accent" },
      { label: "p99", kind: "second" },
    ],
  });
  function show() {
    drawn.show(quantiles(live.samples, MOMENTS[moment], [0.5, 0.99]));
  }
  function choose(name) {
    moment = name;
    show();
  }
  return { element: drawn.element, show };
}

/** The view. */
export function showOverview(main, { signal }) {
  const top = tiles();
  const through = chart({
    title: "Throughput",
    note: "inputs per second",
    scale: "linear",
    unit: rate,
    series: [
      { label: "consumed", kind: "accent" },
      { label: "accepted", kind: "second" },
    ],
  });
  const late = latency();
  const sums = totals();
  const longest = runtimesTable({
    caption: "The runtimes that wait longest",
    empty: "Nothing waits.",
  });
  put(
    main,
    heading("Overview"),
    top.element,
    el("div", { class: "pairs" }, through.element, late.element),
    el(
      "section",
      { class: "card" },
      el(
        "div",
        { class: "heads" },
        el("h2", {}, "Waiting longest"),
        el("a", { class: "far", href: to("runtimes", { sort: "oldest" }) }, "all runtimes"),
      ),
      longest.element,
    ),
    sums.element,
  );
  const liveOnly = [top.element, main.querySelector(".pairs"), sums.element];

  live.watch(() => {
    const figures = live.samples.at(-1);
    for (const part of liveOnly) part.hidden = link.state === "stored" && !figures;
    if (!figures) return;
    const speeds = rates(live.samples, ["consumed", "accepted"]);
    top.show(figures, speeds.at(-1)?.values);
    through.show(speeds);
    late.show();
    sums.show(figures);
  }, signal);
  repeat(
    async (until) => {
      const { runtimes } = await read("api/runtimes", { sort: "oldest", limit: LONGEST }, until);
      longest.show(runtimes.filter((facts) => facts.pending_inputs));
    },
    EVERY_MS,
    signal,
  );
}
