/** Controls that several views have: buttons, a choice of one, and the way through pages. */
import { el, setText } from "./dom.js";
import { count } from "./numbers.js";

/** A button. */
export function button(text, onclick, props = {}) {
  return el("button", { type: "button", onclick, ...props }, text);
}

/** One of several, `names` of {value: text}; `choose(value)` is called for what is pressed. */
export function choice({ label, names, chosen, choose, kind = "" }) {
  const buttons = Object.entries(names).map(([name, text]) =>
    button(text, () => (show(name), choose(name)), { data: { name } }),
  );
  function show(name) {
    for (const each of buttons)
      each.setAttribute("aria-pressed", String(each.dataset.name === name));
  }
  show(chosen);
  const props = { class: `choices joined ${kind}`, role: "group", "aria-label": label };
  return { element: el("div", props, buttons), show };
}

/**
 * The way through pages that name the place of the next: forward to it, and back the way one
 * came. `go(place)` is called with a place, null for the first page.
 */
export function pager(go) {
  const trail = [];
  let here = null;
  let following = null;
  const where = el("span", { class: "quiet" });
  const back = button("Previous", () => go(trail.pop() ?? null));
  const next = button("Next", () => {
    trail.push(here);
    go(following);
  });
  const element = el("div", { class: "pager" }, where, back, next);

  return {
    element,
    /** Stand at a place; the first page has nothing behind it. */
    at(place) {
      here = place;
      if (place === null) trail.length = 0;
    },
    /** Say what the page holds, and where it goes on; what was said is given. */
    show(many, place) {
      following = place;
      next.disabled = place === null;
      back.disabled = here === null;
      back.hidden = next.hidden = next.disabled && back.disabled;
      element.hidden = back.hidden && many === 0;
      const text = `${count(many)} on this page${place === null ? "" : ", there are more"}`;
      setText(where, text);
      return text;
    },
  };
}
