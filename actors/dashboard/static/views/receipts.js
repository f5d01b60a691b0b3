/** Receipts: what the runs of a runtime have consumed. */
import { read } from "../api.js";
import { pager } from "../controls.js";
import { brief, el } from "../dom.js";
import { count, words } from "../numbers.js";
import { repeat } from "../refresh.js";
import { table } from "../tables.js";

const PAGE = 10;
const EVERY_MS = 4000;
const DIGEST_SHOWN = 12;

const digest = (text) =>
  text && el("span", { class: "id", title: text }, text.slice(0, DIGEST_SHOWN));

const COLUMNS = [
  { label: "Run", cell: ({ run_id }) => brief(run_id) },
  { label: "Number", kind: "number", cell: ({ sequence }) => count(sequence) },
  { label: "Boundary", cell: ({ boundary }) => words(boundary) },
  {
    label: "Inputs",
    kind: "number",
    cell: (receipt) => count((receipt.contributing_input_ids ?? []).length),
  },
  { label: "Messages", kind: "number", cell: ({ message_count }) => count(message_count) },
  { label: "Digest", cell: ({ conversation_digest }) => digest(conversation_digest) },
];

/** The section, a page at a time. */
export function receipts(id, signal) {
  let place = null;
  const listed = table({
    caption: "Receipts",
    columns: COLUMNS,
    key: ({ run_id, sequence }) => `${run_id}/${sequence}`,
    empty: "No run has ended yet.",
  });
  const pages = pager((to) => {
    place = to;
    pages.at(to);
    listed.clear();
    now();
  });

  const load = async (until) => {
    const asked = place;
    const answer = await read("api/receipts", { id, after: place, limit: PAGE }, until);
    if (asked !== place) return;
    listed.show(answer.receipts);
    pages.show(answer.receipts.length, answer.next);
  };
  const now = repeat(load, EVERY_MS, signal);

  const heads = el("div", { class: "heads" }, el("h2", {}, "Receipts"));
  return {
    element: el("section", { class: "card", id: "receipts" }, heads, listed.element, pages.element),
  };
}
