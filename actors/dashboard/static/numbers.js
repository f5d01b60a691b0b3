/** Numbers for people: grouped, and few digits where few are looked at. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count. */
export const count = (value) => WHOLE.format(value ?? 0);

/** A rate: a digit behind the point while it is small. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 9.95 || value === 0 ? WHOLE.format(value) : value.toFixed(1);
}

/** "1 input", "3 inputs". */
export function many(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A size in bytes. */
export function bytes(value) {
  if (value < 1024) return many(value, "byte");
  const power = Math.min(3, Math.floor(Math.log2(value) / 10));
  return `${(value / 1024 ** power).toFixed(1)} ${["", "KiB", "MiB", "GiB"][power]}`;
}

/** A name of ours as words: "inputs_abandoned" is "inputs abandoned". */
export const words = (name) => String(name ?? "").replaceAll("_", " ");

/** The first letter large. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
