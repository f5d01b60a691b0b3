/**
 * Time in words. Times are the server's; where the browser's clock differs from it, ages are
 * reckoned by the server's. Durations are seconds.
 */
import { el, setText } from "./dom.js";

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];
const CLOSE_MS = 2000; // as good as the Date header of an answer, which has whole seconds

let aheadMs = 0;

/** Take note of the server's clock: the Date header of an answer. */
export function heard(date) {
  const ahead = Date.parse(date) - Date.now();
  if (!Number.isNaN(ahead)) aheadMs = Math.abs(ahead) > CLOSE_MS ? ahead : 0;
}

/** Milliseconds, by the server's clock. */
export const now = () => Date.now() + aheadMs;

/** A duration in its largest two units: "2 min 5 s". */
export function duration(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const largest = UNITS.findIndex(([size]) => rest >= size);
  if (largest === -1) return "0 s";
  return UNITS.slice(largest, largest + 2)
    .map(([size, unit]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return count ? `${count} ${unit}` : "";
    })
    .filter(Boolean)
    .join(" ");
}

/** A short duration, to two digits: "3.4 ms", "1.2 s"; a long one as `duration` has it. */
export function span(seconds) {
  if (seconds >= 60) return duration(seconds);
  if (seconds <= 0) return "0 s";
  const [value, unit] =
    seconds >= 1 ? [seconds, "s"] : seconds >= 1e-3 ? [seconds * 1e3, "ms"] : [seconds * 1e6, "µs"];
  const digits = value >= 9.95 || Math.abs(value - Math.round(value)) < 0.05 ? 0 : 1;
  return `${value.toFixed(digits)} ${unit}`;
}

/** Seconds from one time to another, or to now. */
export function between(from, to) {
  return ((to === undefined ? now() : Date.parse(to)) - Date.parse(from)) / 1000;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** A time of day here, with the day where it is not today's. */
export function local(iso) {
  const time = new Date(iso);
  const today = new Date(now()).toDateString() === time.toDateString();
  return today ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

/** The same in UTC, in full. */
export function utc(iso) {
  return `${new Date(iso).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

/** A time as an element: local, with the UTC to be had by pointing. */
export function moment(iso) {
  return el("time", { datetime: iso, title: utc(iso) }, local(iso));
}

/** How long ago something was, as an element that goes on counting. */
export function age(iso) {
  const text = duration(between(iso));
  return el(
    "time",
    { datetime: iso, title: `since ${local(iso)} (${utc(iso)})`, data: { age: "" } },
    text,
  );
}

/** Have every age on the page count, once a second; nothing is announced by it. */
export function tick() {
  for (const node of document.querySelectorAll("time[data-age]")) {
    setText(node, duration(between(node.dateTime)));
  }
}
