/**
 * How things stand between this page and the server, in one word, for whoever shows it.
 * Tells of a change by the event "change"; "retry" asks all who wait to try at once.
 */
const STOPPED = "control_plane_stopped"; // the code of the error

class Link extends EventTarget {
  /** connecting | live | stored | lost | stopped | refused */
  state = "connecting";
  /** What /api/overview said last. */
  facts = null;
  /** Since when it is as it is: milliseconds. */
  since = Date.now();

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    this.dispatchEvent(new Event("change"));
  }

  /** The server has said what it is. */
  heard(facts) {
    const before = this.facts;
    this.facts = facts;
    if (before?.owner !== facts.owner || !before) this.dispatchEvent(new Event("change"));
    this.#become(facts.live ? "live" : "stored");
  }

  /** A question was answered. */
  answered() {
    if (this.state === "lost" && this.facts) this.#become(this.facts.live ? "live" : "stored");
  }

  /** A question was not. */
  failed(error) {
    if (error.status === 401) this.#become("refused");
    else if (error.code === STOPPED) this.ended();
    else if (error.code === "unreachable" && this.state !== "stopped") this.#become("lost");
  }

  /** The plane has said that it ends. */
  ended() {
    this.#become("stopped");
  }

  /** Have everything that waits tried at once. */
  retry() {
    this.dispatchEvent(new Event("retry"));
  }
}

export const link = new Link();
