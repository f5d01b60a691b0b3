/**
 * Tables that are refreshed in place: a row is kept by its key, a cell is touched only when
 * it says something else. While somebody is at the rows, by pointer or keyboard, none of them
 * changes its place, and what has gone is dimmed; after a while of stillness they fall in line.
 */
import { el, settle } from "./dom.js";

const STILL_MS = 30_000;
const AT_THEM = ["pointermove", "pointerdown", "focusin", "keydown"];

/**
 * @typedef {object} Column
 * @property {string} label
 * @property {(fact: any) => any} cell
 * @property {string} [kind] a class of the cells
 * @property {string} [by] the order that this column's heading asks for
 * @property {"ascending" | "descending"} [way]
 */

/**
 * Make one. `caption` names it; `key(fact)` tells rows apart; `sort(by)` is called by headings
 * that order; `rowKind` is the class of a row.
 */
export function table({ caption, columns, key, sort, rowKind, empty, cards = false }) {
  const rows = new Map();
  const headings = columns.map((column) => heading(column, sort));
  const body = el("tbody", {});
  const nothing = el("p", { class: "nothing quiet", hidden: true }, empty);
  const shown = el(
    "table",
    { class: cards ? "cards" : null },
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, headings)),
    body,
  );
  const element = el(
    "div",
    { class: "sheet", role: "region", tabindex: "0", "aria-label": caption },
    shown,
    nothing,
  );

  let touched = -Infinity;
  for (const name of AT_THEM) {
    body.addEventListener(
      name,
      () => {
        touched = performance.now();
      },
      { passive: true },
    );
  }

  function held() {
    const there = body.matches(":hover") || body.contains(document.activeElement);
    return there && performance.now() - touched < STILL_MS;
  }

  function rowOf(fact) {
    const cells = columns.map(({ kind, label }, place) =>
      el(place ? "td" : "th", { scope: place ? null : "row", class: kind, data: { label } }),
    );
    return { row: el("tr", {}, cells), cells, fact };
  }

  function refresh(entry, fact) {
    entry.fact = fact;
    entry.row.className = rowKind ?? "";
    columns.forEach(({ cell }, place) => settle(entry.cells[place], cell(fact, entry)));
  }

  function place(facts) {
    const focused = body.contains(document.activeElement) && document.activeElement;
    let at = body.firstElementChild;
    for (const fact of facts) {
      for (const row of rowsOf(rows.get(key(fact)))) {
        if (row === at) at = at.nextElementSibling;
        else body.insertBefore(row, at);
      }
    }
    if (focused && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }

  /** Show something under a row, or nothing more of it. */
  function unfold(name, content) {
    const entry = rows.get(name);
    entry.under?.remove();
    entry.under =
      content && el("tr", { class: "under" }, el("td", { colspan: columns.length }, content));
    if (entry.under) entry.row.after(entry.under);
    refresh(entry, entry.fact);
  }

  /** Show these facts, in this order unless the rows are held. */
  function show(facts) {
    const here = new Set(facts.map(key));
    const keep = held();
    for (const [name, entry] of rows) {
      if (here.has(name)) continue;
      if (keep) entry.row.classList.add("gone");
      else {
        rowsOf(entry).forEach((row) => row.remove());
        rows.delete(name);
      }
    }
    for (const fact of facts) {
      const name = key(fact);
      if (!rows.has(name)) {
        rows.set(name, rowOf(fact));
        if (keep) body.append(rows.get(name).row);
      }
      refresh(rows.get(name), fact);
    }
    if (!keep) place(facts);
    shown.hidden = rows.size === 0;
    nothing.hidden = rows.size > 0;
  }

  /** Forget the rows: what comes next is another page. */
  function clear() {
    rows.clear();
    body.replaceChildren();
  }

  /** Say by which order the rows stand. */
  function sorted(by) {
    columns.forEach((column, at) => {
      if (column.by === by && by) headings[at].setAttribute("aria-sort", column.way);
      else headings[at].removeAttribute("aria-sort");
    });
  }

  return {
    element,
    show,
    clear,
    sorted,
    unfold,
    unfolded: (name) => Boolean(rows.get(name)?.under),
  };
}

const rowsOf = ({ row, under }) => (under ? [row, under] : [row]);

function heading({ label, kind, by }, sort) {
  const content = by
    ? el(
        "button",
        { type: "button", class: "sort", onclick: () => sort(by) },
        label,
        el("span", { class: "arrow", "aria-hidden": "true" }),
      )
    : label;
  return el("th", { scope: "col", class: kind }, content);
}

/** A word in a coloured field; the word says it all, the colour only helps. */
export const badge = (word, kind) => el("span", { class: `badge ${kind}` }, word);
