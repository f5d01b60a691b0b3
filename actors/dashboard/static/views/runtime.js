/** One runtime: how it stands, its run in hand, its ledger, receipts, events and messages. */
import { read } from "../api.js";
import { brief, el, put, settle } from "../dom.js";
import { link } from "../link.js";
import { bytes, capital, count, many, words } from "../numbers.js";
import { repeat } from "../refresh.js";
import { heading } from "../router.js";
import { age, duration } from "../time.js";
import { note, stateBadge } from "../words.js";
import { actions } from "./actions.js";
import { events } from "./events.js";
import { ledger } from "./ledger.js";
import { messages } from "./messages.js";
import { receipts } from "./receipts.js";

const EVERY_MS = 2000;

const SHOWN = {
  pending_inputs: count,
  receipts: count,
  messages: count,
  snapshot_bytes: bytes,
  consumed: count,
  abandoned: count,
  superseded: count,
  coalesced: count,
  session_id: brief,
  epoch_id: brief,
  last_error: String,
};

function factsList(facts) {
  return Object.entries(SHOWN)
    .filter(([name]) => facts[name] !== null && facts[name] !== undefined)
    .map(([name, shown]) =>
      el(
        "div",
        { class: name === "last_error" ? "wide" : null },
        el(
          "dt",
          {},
          capital(words(name))
            .replace("epoch id", "epoch")
            .replace("Session id", "Session")
            .replace("Epoch id", "Epoch"),
        ),
        el(
          "dd",
          {
            class:
              name === "last_error" || (name === "abandoned" && facts[name]) ? "trouble" : null,
          },
          shown(facts[name]),
        ),
      ),
    );
}

function signOf({ quiet_s: quiet, waits, stuck, cancelled }) {
  if (cancelled) return "; it was told to end";
  if (waits) return "; it waits for something of its own will";
  if (!(quiet >= 1)) return "";
  return `; its last sign was ${duration(quiet)} ago${stuck ? ": it seems stuck" : ""}`;
}

/** Said of no run as well, in as much room: what is below must not jump. */
function inHand(run) {
  if (!run) {
    return [
      el("div", { class: "heads" }, el("h2", {}, "Run in hand")),
      el("p", { class: "figure" }, "none"),
      el("p", { class: "quiet" }, "its executor is not at work just now"),
    ];
  }
  return [
    el(
      "div",
      { class: "heads" },
      el("h2", {}, "Run in hand"),
      el("span", { class: "quiet small" }, "run ", brief(run.run_id)),
    ),
    el("p", { class: "figure" }, age(run.began_at)),
    el(
      "p",
      { class: "quiet" },
      [`attempt ${run.attempt}, of ${many(run.input_ids.length, "input")}`, signOf(run)].join(""),
    ),
  ];
}

/** The view. */
export function showRuntime(main, { rest: id, signal }) {
  const state = el("span", { class: "title" });
  const notes = el("p", {});
  const facts = el("dl", { class: "facts" });
  const hand = el("section", { class: "card hand", hidden: true });
  const todo = actions(id, () => now());
  put(
    main,
    el(
      "div",
      {},
      el("p", { class: "crumb" }, el("a", { href: "#/runtimes" }, "Runtimes"), " /"),
      el("div", { class: "title" }, heading(id), state),
    ),
    notes,
    todo.element,
    hand,
    el("section", { class: "card", "aria-label": "Facts" }, facts),
  );
  let parts = null;

  function begin() {
    parts = [ledger(id, signal), events(id, signal), receipts(id, signal), messages(id)];
    main.append(...parts.map(({ element }) => element));
  }

  const now = repeat(
    async (until) => {
      const found = await read("api/runtime", { id }, until);
      settle(state, stateBadge(found));
      const wrong = note(found);
      notes.hidden = !wrong;
      settle(notes, wrong && el("span", { class: wrong.kind }, capital(wrong.text)));
      settle(facts, factsList(found));
      hand.hidden = !link.facts?.live;
      hand.classList.toggle("busy", Boolean(found.run));
      settle(hand, inHand(found.run));
      todo.show(found);
      if (!parts) begin();
      parts[0].begin(found);
    },
    EVERY_MS,
    signal,
    (error) => {
      if (error.code === "unreachable" || error.status === 401) return;
      notes.hidden = false;
      const text = error.status === 404 ? "There is no runtime of this name." : error.message;
      settle(notes, el("span", { class: "trouble", role: "alert" }, text));
    },
  );
}
