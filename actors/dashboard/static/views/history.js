/** Under an input of the ledger: its history step by step, and what it says once it is asked. */
import { button } from "../controls.js";
import { el, put } from "../dom.js";
import { words } from "../numbers.js";
import { between, moment, span } from "../time.js";

const HEADINGS = ["At", "After", "Step", "Reason"];

const id = (text) => el("span", { class: "id" }, text);

/** The steps of a life, as a table. */
export function steps({ history, created_at: created }) {
  const rows = history.map(({ at, from, to, reason }, place) => {
    const after = between(history[place - 1]?.at ?? created, at);
    return el(
      "tr",
      {},
      el("td", { class: "tight" }, moment(at)),
      el("td", { class: "number" }, `+${span(after)}`),
      el("td", {}, `${words(from)} → ${words(to)}`),
      el("td", { class: "quiet" }, words(reason)),
    );
  });
  const headings = HEADINGS.map((name) => el("th", { scope: "col" }, name));
  return el(
    "table",
    { class: "steps" },
    el("caption", { class: "unseen" }, "Its history"),
    el("thead", {}, el("tr", {}, headings)),
    el("tbody", {}, rows),
  );
}

function payload(said) {
  if (said === null || said === undefined) {
    return el("p", { class: "quiet" }, "What it said is not kept any more.");
  }
  const text = JSON.stringify(said, null, 2);
  return el("pre", { tabindex: "0", "aria-label": "Payload" }, text);
}

/**
 * All of it. `ask()` fetches what the input says. Gives the parts, and the one that holds the
 * history, which goes on while the input lives.
 */
export function details(input, ask) {
  const history = el("div", {}, steps(input));
  const said = el("div", {});
  async function show() {
    try {
      put(said, payload(await ask()));
    } catch (error) {
      put(said, el("p", { class: "trouble", role: "alert" }, error.message));
    }
  }
  const run = input.last_run_id && [", run ", id(input.last_run_id)];
  const ids = el("p", { class: "quiet small" }, "input ", id(input.input_id), run);
  const opener = button("Show what it says", show, { class: "slight", data: { payload: "" } });
  return { parts: [history, ids, opener, said], history };
}
