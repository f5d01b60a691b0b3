/** Dialogs: one at a time, closed by Escape, and the focus goes back to where it was. */
import { el, put } from "./dom.js";

/** Open one. `content(close)` gives what is in it; it is gone once it is closed. */
export function opened(title, content) {
  const heading = el("h2", { id: "dialog-title" }, title);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, heading);
  dialog.append(...content(() => dialog.close()));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask before something is done, and do it: `work` is awaited while the dialog stays, and what
 * it raises is shown there. The button that has the focus is the one that does nothing.
 */
export function confirmed({ title, texts, yes, no, grave, work }) {
  const trouble = el("p", { class: "trouble", role: "alert" });
  const button = el(
    "button",
    { type: "button", class: grave ? "main grave" : "main", data: { yes: "" } },
    yes,
  );
  const dialog = opened(title, (close) => [
    ...texts.map((text) => el("p", {}, text)),
    trouble,
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "button", autofocus: true, onclick: close }, no),
      button,
    ),
  ]);
  button.addEventListener("click", async () => {
    button.disabled = true;
    put(trouble);
    try {
      await work();
      dialog.close();
    } catch (error) {
      put(trouble, error.message);
      button.disabled = false;
    }
  });
}
