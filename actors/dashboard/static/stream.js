/**
 * Server-sent events. A stream is closed while nobody looks at the page (a browser has few
 * connections to one host), and goes on behind the last event it has seen.
 */
import { address } from "./api.js";
import { link } from "./link.js";
import { pause } from "./refresh.js";

const FIRST_MS = 500;
const SLOWEST_MS = 15_000;

/** One connection, to its end: "ended" said so, "lost" broke off, "hidden" was closed by us. */
function connection(url, handlers, signal, seen) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    const done = new AbortController();
    const close = (how) => {
      source.close();
      done.abort();
      resolve(how);
    };
    for (const [name, handle] of Object.entries(handlers.on)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) seen.id = event.lastEventId;
        seen.opened = true;
        handle(JSON.parse(event.data), event.lastEventId);
      });
    }
    source.addEventListener("open", () => {
      seen.opened = true;
      handlers.opened?.();
    });
    source.addEventListener("end", () => close("ended"));
    source.addEventListener("error", () => close("lost"));
    const options = { signal: done.signal };
    signal.addEventListener("abort", () => close("left"), options);
    document.addEventListener(
      "visibilitychange",
      () => document.hidden && close("hidden"),
      options,
    );
  });
}

/**
 * Follow a route until the signal. `handlers.on` are called by the name of the event with its
 * data and id; `opened`, `lost` and `ended` when the stream is.
 */
export async function follow(path, params, handlers, signal) {
  const seen = { id: params.after ?? null, opened: false };
  let wait = FIRST_MS;
  while (!signal.aborted) {
    if (document.hidden) {
      await pause(Infinity, signal);
      continue;
    }
    seen.opened = false;
    const how = await connection(
      address(path, { ...params, after: seen.id }),
      handlers,
      signal,
      seen,
    );
    if (how === "left" || how === "hidden") continue;
    if (how === "ended") {
      handlers.ended?.();
      await new Promise((resolve) => {
        link.addEventListener("change", resolve, { once: true, signal });
        link.addEventListener("retry", resolve, { once: true, signal });
        signal.addEventListener("abort", resolve, { once: true });
      });
      continue;
    }
    handlers.lost?.();
    wait = seen.opened ? FIRST_MS : Math.min(wait * 2, SLOWEST_MS);
    await pause(wait, signal);
  }
}
