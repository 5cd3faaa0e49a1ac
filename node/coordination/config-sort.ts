/** Orders of entries other than by key. Entries that are equal in it are in the order of their keys. */
import { ConfigSort } from './config-command.ts';
import type { ConfigEntry } from './coordination-events.ts';

/** Sorts entries that are in the order of their keys. */
export function sortEntries(
  entries: readonly ConfigEntry[],
  sortBy: ConfigSort,
  isDescending: boolean,
): ConfigEntry[] {
  const compare = COMPARES[sortBy];
  const sign = isDescending ? -1 : 1;
  return [...entries].sort((a, b) => sign * (compare(a, b) || Buffer.compare(a.key, b.key)));
}

/** The same, but in either direction equal entries stay in the order that they have. */
export function sortStably(
  entries: readonly ConfigEntry[],
  sortBy: ConfigSort,
  isDescending: boolean,
): ConfigEntry[] {
  const compare = COMPARES[sortBy];
  const sign = isDescending ? -1 : 1;
  return [...entries].sort((a, b) => sign * compare(a, b));
}

const COMPARES: Readonly<Record<ConfigSort, (a: ConfigEntry, b: ConfigEntry) => number>> = {
  [ConfigSort.key]: (a, b) => Buffer.compare(a.key, b.key),
  [ConfigSort.version]: (a, b) => a.version - b.version,
  [ConfigSort.createRevision]: (a, b) => a.createRevision - b.createRevision,
  [ConfigSort.modRevision]: (a, b) => a.modRevision - b.modRevision,
  [ConfigSort.value]: (a, b) => Buffer.compare(a.value, b.value),
};
