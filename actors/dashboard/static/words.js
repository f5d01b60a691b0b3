/** What is said of a runtime, and by which colour. One word per idea: those of the command line. */
import { badge } from "./tables.js";
import { words } from "./numbers.js";

/** The states that are stored, and so can be asked for, in the order of a life. */
export const STATES = ["idle", "retired", "stopped", "destroyed"];

const STATE_KINDS = {
  running: "accent",
  attached: "plain",
  idle: "plain",
  initializing: "second",
  retired: "ended",
  stopped: "waiting",
  destroyed: "ended",
};

const PHASE_KINDS = {
  accepted: "second",
  queued: "waiting",
  staged: "accent",
  applied: "accent",
  applied_pending_consumption: "accent",
  consumed: "plain",
  superseded: "ended",
  coalesced: "ended",
  abandoned: "trouble",
};

/** The state of a runtime. One with a run in hand is stored as what it will be afterwards. */
export function stateBadge({ state, run }) {
  if (!state) return badge("unreadable", "trouble");
  const shown = run && !run.cancelled ? "running" : state;
  return badge(shown, STATE_KINDS[shown] ?? "ended");
}

/** The phase of an input. */
export const phaseBadge = (phase) => badge(words(phase), PHASE_KINDS[phase] ?? "ended");

/** What is wrong with a runtime, or unusual, as `meerkat runtimes` has it. */
export function note(facts) {
  if (facts.unreadable) return { text: `unreadable: ${facts.unreadable}`, kind: "trouble" };
  if (facts.set_aside) return { text: `set aside: ${facts.set_aside}`, kind: "trouble" };
  if (facts.registered === false) return { text: "unregistered", kind: "quiet" };
  return facts.paused ? { text: "paused", kind: "waiting" } : null;
}
