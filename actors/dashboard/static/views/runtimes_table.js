/** The table of runtimes, as the overview and the listing show it. */
import { el } from "../dom.js";
import { count } from "../numbers.js";
import { toRuntime } from "../router.js";
import { table } from "../tables.js";
import { age } from "../time.js";
import { note, stateBadge } from "../words.js";

function noted(facts) {
  const found = note(facts);
  return found && el("span", { class: found.kind, title: found.text }, found.text);
}

const COLUMNS = [
  {
    label: "Runtime",
    kind: "name",
    by: "id",
    way: "ascending",
    cell: ({ runtime_id }) =>
      el("a", { href: toRuntime(runtime_id), title: runtime_id }, runtime_id),
  },
  { label: "State", kind: "tight", cell: stateBadge },
  {
    label: "Pending",
    kind: "number",
    by: "pending",
    way: "descending",
    cell: ({ pending_inputs: pending }) =>
      pending ? count(pending) : el("span", { class: "quiet" }, "0"),
  },
  {
    label: "Oldest wait",
    kind: "number",
    by: "oldest",
    way: "descending",
    cell: ({ oldest_at }) => oldest_at && age(oldest_at),
  },
  {
    label: "Run in hand",
    kind: "number",
    cell: ({ run }) => run && [age(run.began_at), run.attempt > 1 && `, attempt ${run.attempt}`],
  },
  { label: "Note", kind: "note", cell: noted },
];

function open(event) {
  if (event.target.closest("a, button, thead") || String(getSelection())) return;
  event.target.closest("tr")?.querySelector("a")?.click();
}

/** Make one; a click anywhere in a row opens the runtime. `sort` as `table` has it. */
export function runtimesTable({ caption, empty, sort }) {
  const columns = sort ? COLUMNS : COLUMNS.map(({ by, way, ...column }) => column);
  const made = table({
    caption,
    columns,
    key: ({ runtime_id }) => runtime_id,
    sort,
    empty,
    cards: true,
    rowKind: "open",
  });
  made.element.addEventListener("click", open);
  return made;
}
