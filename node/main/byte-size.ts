const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
  TiB: 1_099_511_627_776,
};
const FORM = /^(\d+) ?(B|KiB|MiB|GiB|TiB|)$/;

/** Bytes of a number, or of text such as `64MiB`; undefined if it is neither. */
export function parseByteSize(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const match = typeof value === 'string' ? FORM.exec(value) : null;
  if (match === null) return undefined;
  const bytes = Number(match[1]) * UNITS[match[2]!]!;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes in the largest unit that leaves a whole number: `64 MiB`. */
export function formatByteSize(bytes: number): string {
  const fitting = Object.entries(UNITS).filter(([unit, size]) => unit !== '' && bytes % size === 0);
  const [unit, size] = bytes === 0 ? ['B', 1] : fitting.at(-1)!;
  return `${bytes / size} ${unit}`;
}
