/**
 * Events of one runtime: those that are still kept, then live, the newest on top. Gaps are
 * shown, and there is a pause in which one can read.
 */
import { brief, el, put, setText } from "../dom.js";
import { link } from "../link.js";
import { many, words } from "../numbers.js";
import { follow } from "../stream.js";
import { moment } from "../time.js";

const KEPT = 300;
const GAP_MAX = 2 ** 32; // another load has numbers of its own: how many there were is unknown

const KINDS = {
  "run.failed": "trouble",
  "input.abandoned": "trouble",
  "topology.runtime_set_aside": "trouble",
  "run.started": "accent",
  "run.completed": "accent",
};

function about({ input_id, run_id, operation_id, from, to, reason, detail, related_input_id }) {
  return [
    input_id && ["input ", brief(input_id)],
    run_id && ["run ", brief(run_id)],
    operation_id && ["operation ", brief(operation_id)],
    from && `${from} → ${to}`,
    related_input_id && ["by ", brief(related_input_id)],
    reason && words(reason),
    detail,
  ]
    .filter(Boolean)
    .flatMap((part, place) => (place ? [", ", part] : [part]));
}

function line({ sequence, timestamp, event: { data } }) {
  return el(
    "li",
    { title: `event ${sequence}` },
    moment(timestamp),
    el("span", { class: `code ${KINDS[data.code] ?? ""}` }, data.code),
    el("span", { class: "about" }, about(data)),
  );
}

/** A line that says what was missed. */
export function gap({ requested, dropped_through }) {
  if (!requested)
    return el(
      "li",
      { class: "gap" },
      "What was told before is no longer kept; the ledger has the histories.",
    );
  const missed = dropped_through - requested;
  const text = missed > 0 && missed < GAP_MAX ? many(missed, "event") : "some events";
  return el("li", { class: "gap" }, `Missed: ${text}, told faster than this page read.`);
}

/** The section. */
export function events(id, signal) {
  const list = el("ol", {
    class: "events",
    tabindex: "0",
    "aria-label": "Events, the newest first",
  });
  const nothing = el("p", { class: "nothing quiet" }, "No event is kept, and none has come.");
  const state = el("span", { class: "quiet small", role: "status" });
  const button = el(
    "button",
    { type: "button", class: "slight far", "aria-pressed": "false", onclick: toggle },
    "Pause",
  );
  let paused = false;
  let waiting = [];

  function toggle() {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    setText(state, paused ? "paused" : "live");
    put(button, paused ? "Go on" : "Pause");
    const held = waiting;
    waiting = [];
    held.forEach(take);
  }

  function take(item) {
    if (paused) {
      waiting.push(item);
      if (waiting.length > KEPT) waiting.shift();
      put(button, `Go on (${waiting.length})`);
      return;
    }
    nothing.hidden = true;
    list.prepend(item);
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }

  const element = el(
    "section",
    { class: "card", id: "events" },
    el("div", { class: "heads" }, el("h2", {}, "Events"), state, button),
    nothing,
    list,
  );
  let begun = false;

  function begin() {
    element.hidden = link.state === "stored";
    if (begun || !link.facts?.live) return;
    begun = true;
    follow(
      "api/events",
      { id, after: 0 },
      {
        on: { event: (envelope) => take(line(envelope)), gap: (missed) => take(gap(missed)) },
        opened: () => setText(state, paused ? "paused" : "live"),
        lost: () => setText(state, "the stream broke off; it is tried again"),
        ended: () => setText(state, "ended"),
      },
      signal,
    );
  }

  link.addEventListener("change", begin, { signal });
  begin();
  return { element };
}
