/** The banner over a view: what one has to know before one believes what is below it. */
import { el, put, setText } from "./dom.js";
import { link } from "./link.js";
import { moment } from "./time.js";

const LAMP = {
  connecting: "connecting",
  live: "live",
  stored: "not live",
  lost: "no connection",
  stopped: "ended",
  refused: "not open",
};

const BANNERS = {
  stored: ({ owner }) =>
    owner
      ? [
          "Not live.",
          `This database is owned by ${owner}; here is what is stored of it. ` +
            "Runs in hand, figures and events are that process's to show.",
        ]
      : ["Not live: a stopped database.", "No process works on it. Here is what is stored."],
  lost: () => [
    "The connection is lost.",
    "Below is how things stood; it is tried again and again.",
  ],
  stopped: () => [
    "This has ended.",
    "The plane behind the page has stopped, or shows itself no more. Below is how things " +
      "stood then; what waits is kept for the next start.",
  ],
  refused: () => [
    "This page is not open to you.",
    "Open it by the address, with its token, that was printed when it was started.",
  ],
};

function banner() {
  const texts = BANNERS[link.state]?.(link.facts ?? {});
  if (!texts) return [];
  const [strong, text] = texts;
  const again = link.state === "lost" || link.state === "stopped";
  return el(
    "div",
    { class: `banner ${link.state}` },
    el("strong", {}, strong),
    el("span", {}, text),
    again &&
      el("span", { class: "quiet" }, "Since ", moment(new Date(link.since).toISOString()), "."),
    again &&
      el("button", { type: "button", class: "slight", onclick: () => link.retry() }, "Try now"),
  );
}

function show() {
  put(document.getElementById("banner"), banner());
  const lamp = document.getElementById("lamp");
  lamp.className = `lamp ${link.state}`;
  const reading = link.state === "live" && !link.facts?.allow_actions ? ", read-only" : "";
  setText(document.getElementById("lamp-text"), LAMP[link.state] + reading);
  setText(document.getElementById("store"), link.facts?.store);
  setText(document.getElementById("version"), link.facts && `meerkat ${link.facts.version}`);
}

/** Begin showing them. */
export function begin() {
  link.addEventListener("change", show);
  show();
}
