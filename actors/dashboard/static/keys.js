/** The keyboard: a few shortcuts, and the dialog that tells of them. They can be switched off. */
import { el } from "./dom.js";
import { opened } from "./dialogs.js";
import { to } from "./router.js";

const NAME = "meerkat-shortcuts";
const LEAD_MS = 1500;

const go = (hash) => () => {
  location.hash = hash;
};

function find() {
  const field = document.getElementById("find");
  if (field) field.focus();
  else location.hash = to("runtimes", { find: "1" });
}

const SHORTCUTS = [
  { keys: ["g", "o"], does: "go to the overview", act: go("#/") },
  { keys: ["g", "r"], does: "go to the runtimes", act: go("#/runtimes") },
  { keys: ["g", "s"], does: "go to the supervision", act: go("#/supervision") },
  { keys: ["/"], does: "find a runtime by its id", act: find },
  { keys: ["?"], does: "show this", act: () => help() },
];

let on = true;
try {
  on = localStorage.getItem(NAME) !== "off";
} catch {
  // storage is switched off: they are on
}

function choose(event) {
  on = event.target.checked;
  try {
    localStorage.setItem(NAME, on ? "on" : "off");
  } catch {
    // as above
  }
}

/** Show what can be done with the keyboard. */
export function help() {
  const rows = SHORTCUTS.map(({ keys, does }) => [
    el(
      "dt",
      {},
      keys.map((key, place) => [place ? " " : "", el("kbd", {}, key)]),
    ),
    el("dd", {}, does),
  ]);
  const box = el("input", { type: "checkbox", checked: on, onchange: choose });
  opened("Keyboard", (close) => [
    el(
      "dl",
      {},
      rows,
      el("dt", {}, el("kbd", {}, "Tab")),
      el("dd", {}, "reach everything else, in order"),
    ),
    el("label", {}, box, "Shortcuts of a single key are on"),
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "button", class: "main", onclick: close }, "Close"),
    ),
  ]);
}

const writing = (target) => target.closest?.("input, textarea, select, dialog");

/** Begin listening. */
export function begin() {
  let lead = { key: "", at: 0 };
  document.addEventListener("keydown", (event) => {
    if (!on || event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    const led = event.timeStamp - lead.at < LEAD_MS ? lead.key : "";
    const found = SHORTCUTS.find(
      ({ keys }) => keys.at(-1) === event.key && (keys.length === 1 || keys[0] === led),
    );
    lead = { key: event.key, at: event.timeStamp };
    if (!found) return;
    event.preventDefault();
    found.act();
  });
  document.getElementById("help").addEventListener("click", help);
}
