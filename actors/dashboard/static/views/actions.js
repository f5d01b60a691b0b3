/** What can be done to a runtime by hand, where the page was started to allow it. */
import { act } from "../api.js";
import { confirmed } from "../dialogs.js";
import { el, put, say } from "../dom.js";
import { link } from "../link.js";
import { capital, count, words } from "../numbers.js";

/** Whether a call has a sense for a runtime that is as it is; what is not here always has. */
const FITS = {
  pause: ({ paused }) => !paused,
  resume: ({ paused }) => Boolean(paused),
  redrive: ({ abandoned }) => abandoned > 0,
};

/** A count as it is, lines of text as they are; of other things, how many there are. */
function worded(value) {
  if (typeof value === "number") return count(value);
  const texts = value.every((each) => typeof each === "string");
  return texts ? value.join(", ") : count(value.length);
}

/** What is said of a report: "Stop: done; it is stopped now; inputs abandoned: 3". */
function told(verb, { runtime_id: _, state, ...rest }) {
  const counted = Object.entries(rest)
    .filter(([, value]) => typeof value === "number" || (Array.isArray(value) && value.length))
    .map(([name, value]) => `${words(name)}: ${worded(value)}`);
  return [`${capital(verb)}: done`, state && `it is ${state} now`, ...counted]
    .filter(Boolean)
    .join("; ");
}

/** The buttons of one runtime. `done()` is called after each. */
export function actions(id, done) {
  const buttons = el("div", { class: "acts", role: "group", "aria-label": "Actions" });
  const news = el("p", { class: "quiet" });
  let facts = {};
  let drawn = "";

  function ask({ name, summary, does, asks }) {
    const gives = asks
      ? capital(asks.replaceAll("{pending}", count(facts.pending_inputs)))
      : "Nothing that waits is given up";
    confirmed({
      title: `${capital(name)} ${id}?`,
      texts: [does ?? `${capital(summary)}.`, `${gives}.`],
      yes: capital(name),
      no: "Leave it as it is",
      grave: Boolean(asks),
      work: async () => {
        const text = told(name, await act({ id, verb: name }));
        put(news, text);
        say(text);
        done();
      },
    });
  }

  function show(found) {
    facts = found;
    const { allow_actions: allowed, verbs = [], live } = link.facts ?? {};
    const fitting =
      allowed && live !== false ? verbs.filter(({ name }) => FITS[name]?.(facts) ?? true) : [];
    const names = fitting.map(({ name }) => name).join();
    if (names === drawn) return;
    drawn = names;
    put(
      buttons,
      fitting.map((verb) =>
        el(
          "button",
          {
            type: "button",
            class: verb.asks ? "grave" : null,
            title: verb.summary,
            data: { verb: verb.name },
            onclick: () => ask(verb),
          },
          capital(verb.name),
        ),
      ),
    );
  }
  return { element: el("div", { class: "acting" }, buttons, news), show };
}
