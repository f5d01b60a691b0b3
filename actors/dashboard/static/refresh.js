/**
 * Asking again and again: one question at a time, none while nobody looks at the page, and
 * more and more seldom while there is no answer.
 */
import { link } from "./link.js";

const SLOWEST_MS = 15_000;
const PART = 10; // of the time, at most a tenth is spent on one answer

/** Wait; a retry, a return to the page or the end of the view ends it early. */
export function pause(ms, signal, wake) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const end = () => {
      clearTimeout(timer);
      done.abort();
      resolve();
    };
    const look = () => document.hidden || end();
    const timer = ms === Infinity ? undefined : setTimeout(end, ms);
    const options = { signal: done.signal };
    signal.addEventListener("abort", end, options);
    link.addEventListener("retry", end, options);
    document.addEventListener("visibilitychange", look, options);
    wake?.addEventListener("now", end, options);
    if (signal.aborted) end();
  });
}

/**
 * Do `work(signal)` now and every `everyMs`, until the signal. `failed(error)` is told of a
 * refusal that is the view's own matter. Gives a function that has it done at once.
 */
export function repeat(work, everyMs, signal, failed = () => {}) {
  const wake = new EventTarget();
  let asked = false;
  (async () => {
    let failures = 0;
    while (!signal.aborted) {
      asked = false;
      const began = Date.now();
      try {
        await work(signal);
        failures = 0;
        link.answered();
      } catch (error) {
        if (signal.aborted || error.name === "AbortError") return;
        failures += 1;
        link.failed(error);
        failed(error);
      }
      const slower = Math.min(everyMs * 2 ** failures, SLOWEST_MS);
      const usual = Math.max(everyMs, PART * (Date.now() - began));
      if (asked) continue;
      do {
        await pause(document.hidden ? Infinity : failures ? slower : usual, signal, wake);
      } while (document.hidden && !signal.aborted);
    }
  })();
  return () => {
    asked = true;
    wake.dispatchEvent(new Event("now"));
  };
}
