/** What is known of the plane at every moment: its facts, and its figures of the last minutes. */
import { read } from "./api.js";
import { kept } from "./figures.js";
import { link } from "./link.js";
import { repeat } from "./refresh.js";
import { follow } from "./stream.js";

const FACTS_EVERY_MS = 5000;

class Live extends EventTarget {
  /** The looks at the figures, oldest first. */
  samples = [];

  /** Take one more look. */
  take(figures) {
    this.samples = kept(this.samples, figures);
    this.dispatchEvent(new Event("figures"));
  }

  /** Call `show` now and at every new look, until the signal. */
  watch(show, signal) {
    this.addEventListener("figures", show, { signal });
    link.addEventListener("change", show, { signal });
    show();
  }
}

export const live = new Live();

/** Begin; once, for as long as the page is open. */
export function begin(signal) {
  let streaming = false;
  const ask = repeat(
    async (until) => {
      const facts = await read("api/overview", {}, until);
      link.heard(facts);
      if (facts.figures) live.take(facts.figures);
      if (!facts.live || streaming) return;
      streaming = true;
      follow(
        "api/figures",
        {},
        {
          on: { figures: (figures) => live.take(figures) },
          opened: () => link.answered(),
          lost: () => ask(), // whether the server is there at all
          ended: () => link.ended(),
        },
        signal,
      );
    },
    FACTS_EVERY_MS,
    signal,
  );
}
