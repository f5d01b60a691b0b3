/** Runtimes: all of them, a page at a time; what is asked for stands in the address. */
import { read } from "../api.js";
import { button, pager } from "../controls.js";
import { el, put, say } from "../dom.js";
import { repeat } from "../refresh.js";
import { heading, to, toRuntime } from "../router.js";
import { STATES } from "../words.js";
import { runtimesTable } from "./runtimes_table.js";

const PAGE = 50;
const EVERY_MS = 2000;

function asked(params) {
  return {
    sort: params.get("sort") ?? "id",
    state: params.getAll("state"),
    after: params.get("after"),
  };
}

function finder() {
  const field = el("input", {
    id: "find",
    type: "search",
    placeholder: "runtime id",
    "aria-label": "Open a runtime by its id",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
    list: "found",
  });
  const ids = el("datalist", { id: "found" });
  function open(event) {
    event.preventDefault();
    if (field.value.trim()) location.hash = toRuntime(field.value.trim());
  }
  const form = el(
    "form",
    { role: "search", onsubmit: open },
    field,
    ids,
    el("button", { type: "submit" }, "Open"),
  );
  return {
    form,
    field,
    offer: (runtimes) =>
      put(ids, ...runtimes.map(({ runtime_id }) => el("option", { value: runtime_id }))),
  };
}

/** The view. */
export function showRuntimes(main, { params, signal }) {
  let wanted = asked(params);
  let fresh = true;
  const find = finder();
  const go = (changes) => {
    location.hash = to("runtimes", { ...wanted, after: null, ...changes });
  };
  const states = STATES.map((state) => button(state, () => toggle(state)));
  const listed = runtimesTable({
    caption: "Runtimes",
    empty: "No runtimes here.",
    sort: (by) => go({ sort: by }),
  });
  const pages = pager((after) => go({ after }));
  const trouble = el("p", { class: "trouble", role: "alert" });

  function toggle(state) {
    const others = wanted.state.filter((each) => each !== state);
    const chosen = others.length < wanted.state.length ? others : [...others, state];
    go({ state: STATES.filter((each) => chosen.includes(each)) });
  }

  function shown() {
    for (const each of states) {
      each.setAttribute("aria-pressed", String(wanted.state.includes(each.textContent)));
    }
    listed.sorted(wanted.sort);
    pages.at(wanted.after);
    if (params.get("find")) find.field.focus();
  }

  async function load(until) {
    const asking = wanted;
    const { runtimes, next } = await read("api/runtimes", { ...asking, limit: PAGE }, until);
    if (asking !== wanted) return;
    if (fresh) listed.clear();
    put(trouble);
    listed.show(runtimes);
    find.offer(runtimes);
    const text = pages.show(runtimes.length, next);
    if (fresh) say(text);
    fresh = false;
  }

  const group = { class: "choices", role: "group", "aria-label": "Only runtimes that are" };
  put(
    main,
    heading("Runtimes"),
    el("div", { class: "bar" }, find.form, el("div", group, states)),
    el("section", { class: "card" }, listed.element, trouble, pages.element),
  );
  const failed = (error) => error.code !== "unreachable" && put(trouble, error.message);
  const now = repeat(load, EVERY_MS, signal, failed);
  shown();
  return (changed) => {
    wanted = asked(changed);
    fresh = true;
    shown();
    now();
  };
}
