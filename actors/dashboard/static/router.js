/**
 * Which view is shown: what stands behind the # of the address. A view is a function
 * (main, route) that may give a function for a new route of the same view.
 */
import { el } from "./dom.js";

/** @typedef {{name: string, rest: string, params: URLSearchParams, signal: AbortSignal}} Route */

/** The address of a view. */
export function to(name, params = {}, rest = "") {
  const query = new URLSearchParams(
    Object.entries(params).flatMap(([key, value]) =>
      [value]
        .flat()
        .filter((one) => one !== null && one !== undefined && one !== "")
        .map((one) => [key, one]),
    ),
  ).toString();
  return `#/${name}${rest && `/${encodeURIComponent(rest)}`}${query && `?${query}`}`;
}

/** The address of one runtime. */
export const toRuntime = (id) => to("runtime", {}, id);

function parsed(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, rest = ""] = path.split(/\/(.*)/s);
  let decoded = rest;
  try {
    decoded = decodeURIComponent(rest);
  } catch {
    // written by hand: it is taken as it stands
  }
  return { name, rest: decoded, params: new URLSearchParams(query ?? "") };
}

/** The heading of a view, which takes the focus when one comes to it. */
export function heading(text, ...more) {
  document.title = text === "Overview" ? "meerkat" : `${text} · meerkat`;
  return el("h1", { tabindex: "-1" }, text, ...more);
}

/** Begin: show the view of the address, now and whenever it changes. */
export function begin(views) {
  let shown = null;

  function open(first) {
    const found = parsed(location.hash);
    const view = views[found.name] ? found.name : "";
    if (shown?.view === view && shown.rest === found.rest && shown.update) {
      shown.update(found.params);
      return;
    }
    shown?.leave.abort();
    const main = document.getElementById("main");
    main.replaceChildren();
    const leave = new AbortController();
    shown = { view, rest: found.rest, leave };
    shown.update = views[view].show(main, { ...found, signal: leave.signal });
    for (const link of document.querySelectorAll(".top nav a")) {
      if (link.dataset.view === views[view].part) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (first) return;
    scrollTo(0, 0);
    if (!main.contains(document.activeElement))
      main.querySelector("h1")?.focus({ preventScroll: true });
  }

  addEventListener("hashchange", () => open(false));
  open(true);
}
