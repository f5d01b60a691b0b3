/**
 * What can be said of two looks at the figures of a plane: rates, and quantiles of the
 * histograms' differences. Pure; nothing of the page is touched.
 */

/** How far back is kept and drawn. */
export const WINDOW_MS = 300_000;

/** Seconds over which a rate, and a quantile, is reckoned: calm enough to be read. */
export const RATE_S = 5;
export const QUANTILE_S = 15;

/** One look more, without what is too old; a plane that was started anew begins anew. */
export function kept(samples, figures) {
  const sample = { ...figures, ms: Date.parse(figures.at) };
  const last = samples.at(-1);
  if (last && last.started_at !== sample.started_at) return [sample];
  if (last && sample.ms <= last.ms) return samples;
  return [...samples.filter((each) => sample.ms - each.ms <= WINDOW_MS + 1000), sample];
}

/** The look that is `seconds` older than the one at `index`, or the oldest there is. */
function before(samples, index, seconds) {
  const wanted = samples[index].ms - seconds * 1000;
  let found = index;
  while (found > 0 && samples[found].ms > wanted) found -= 1;
  return samples[found];
}

/** How many a second of each name, at each look but the first: [{ms, values}]. */
export function rates(samples, names) {
  return samples.slice(1).map((sample, place) => {
    const earlier = before(samples, place + 1, RATE_S);
    const seconds = (sample.ms - earlier.ms) / 1000;
    return { ms: sample.ms, values: names.map((name) => (sample[name] - earlier[name]) / seconds) };
  });
}

/** The counts of a histogram since an earlier look. */
export const since = (later, earlier) =>
  later.counts.map((count, place) => count - (earlier.counts[place] ?? 0));

/**
 * A quantile of counts in buckets, between whose bounds it is reckoned in proportion; null of
 * nothing. In the last bucket, which has no upper bound, it is the bound below: "at least".
 */
export function quantile(bounds, counts, q) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = q * total;
  for (const [place, count] of counts.entries()) {
    if (count > 0 && left <= count) {
      if (place >= bounds.length) return bounds.at(-1);
      const low = place ? bounds[place - 1] : 0;
      return low + (bounds[place] - low) * (left / count);
    }
    left -= count;
  }
  return bounds.at(-1);
}

/** Quantiles of a histogram's differences, at each look but the first: [{ms, values}]. */
export function quantiles(samples, name, qs) {
  return samples.slice(1).map((sample, place) => {
    const earlier = before(samples, place + 1, QUANTILE_S);
    const counts = since(sample[name], earlier[name]);
    return { ms: sample.ms, values: qs.map((q) => quantile(sample[name].bounds, counts, q)) };
  });
}
