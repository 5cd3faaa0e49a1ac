/** A deliberate bug: a change of one source file that some check has to notice. */
export interface Defect {
  readonly name: string;
  /** From the repository's root. */
  readonly file: string;
  /** Text that the file has exactly once. */
  readonly find: string;
  readonly replace: string;
  /** What goes wrong with it. */
  readonly reason: string;
  /** Who notices. */
  readonly caughtBy: Evidence;
}

/** A seed of the randomised run and the check that fails there, or a scenario that goes otherwise. */
export type Evidence = { readonly seed: string; readonly checker: string } | { readonly transcript: string };

/** The source with the defect in it; throws when the source has changed so that it does not fit. */
export function applyDefect({ name, file, find, replace }: Omit<Defect, 'caughtBy'>, source: string): string {
  const parts = source.split(find);
  if (parts.length !== 2)
    throw new Error(`defect "${name}" fits ${parts.length - 1} places of ${file}, not one`);
  return parts.join(replace);
}
