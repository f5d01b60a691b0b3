/** What the session said: fetched, and shown, only when it is asked for. */
import { read } from "../api.js";
import { el, put } from "../dom.js";
import { count } from "../numbers.js";

function message({ role, content, ...rest }) {
  const text = typeof content === "string" ? content : JSON.stringify(content ?? rest, null, 2);
  return el(
    "li",
    {},
    el("span", { class: "role" }, role ?? "no role"),
    el("div", { class: "said" }, text),
  );
}

/** The section. */
export function messages(id) {
  const body = el("div", {});
  let open = false;
  const button = el(
    "button",
    { type: "button", class: "slight far", "aria-expanded": "false", onclick: toggle },
    "Show",
  );

  async function toggle() {
    open = !open;
    button.setAttribute("aria-expanded", String(open));
    put(button, open ? "Hide" : "Show");
    put(body);
    if (!open) return;
    try {
      const { messages: said, total } = await read("api/messages", { id });
      if (!open) return;
      put(
        body,
        said.length < total &&
          el("p", { class: "quiet" }, `The last ${count(said.length)} of ${count(total)}.`),
        said.length
          ? el("ol", { class: "messages" }, said.map(message))
          : el("p", { class: "nothing quiet" }, "Nothing was said yet."),
      );
    } catch (error) {
      put(body, el("p", { class: "trouble", role: "alert" }, error.message));
    }
  }

  return {
    element: el(
      "section",
      { class: "card", id: "messages" },
      el(
        "div",
        { class: "heads" },
        el("h2", {}, "Messages"),
        el("span", { class: "quiet small" }, "what the session said"),
        button,
      ),
      body,
    ),
  };
}
