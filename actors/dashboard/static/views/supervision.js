/** Supervision: who starts whom anew, as nested lists. */
import { read } from "../api.js";
import { el, put, settle } from "../dom.js";
import { many, words } from "../numbers.js";
import { repeat } from "../refresh.js";
import { heading } from "../router.js";

const EVERY_MS = 2000;

const KINDS = {
  off: "ended",
  waiting: "waiting",
  stuck: "trouble",
  set_aside: "trouble",
  taken_over: "trouble",
  stopping: "waiting",
  stopped: "ended",
};

/** Its colour: of its state, or of its having been started anew. */
function kindOf({ state, restarts }) {
  return KINDS[state] ?? (restarts ? "waiting" : "accent");
}

function node(each) {
  const children = each.children ?? [];
  return el(
    "li",
    {},
    el(
      "div",
      { class: "node" },
      el("span", { class: `dot ${kindOf(each)}`, "aria-hidden": "true" }),
      el("span", { class: "what" }, each.name),
      el("span", { class: "quiet" }, [each.kind, each.state].filter(Boolean).map(words).join(", ")),
      each.restarts ? el("span", { class: "waiting" }, many(each.restarts, "restart")) : null,
      each.note && el("span", { class: "of quiet small" }, each.note),
    ),
    children.length > 0 && el("ul", {}, children.map(node)),
  );
}

/** The view. */
export function showSupervision(main, { signal }) {
  const tree = el("div", { class: "tree loading" });
  put(
    main,
    heading("Supervision"),
    el("section", { class: "card", "aria-label": "The tree of supervision" }, tree),
  );
  const failed = (error) => {
    if (error.code === "unreachable") return;
    const none = error.status === 404 || error.status === 409;
    put(
      tree,
      el(
        "p",
        { class: none ? "quiet" : "trouble" },
        none ? "No plane runs behind this page, so nobody supervises." : error.message,
      ),
    );
  };
  repeat(
    async (until) => {
      const answer = await read("api/supervision", {}, until);
      if (answer.live === false) failed({ status: 404 });
      else settle(tree, el("ul", {}, node(answer.tree ?? answer)));
    },
    EVERY_MS,
    signal,
    failed,
  );
}
