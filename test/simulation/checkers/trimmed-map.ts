/** A name that is never used again. */
export type Name = string | number;

/** Values by group and number, without those below a mark. */
export class TrimmedMap<T> {
  readonly #groups = new Map<Name, { below: number; readonly values: Map<number, T> }>();

  get(group: Name, number: number): T | undefined {
    return this.#groups.get(group)?.values.get(number);
  }

  /** The value that is there, which is this one if there was none; undefined: below the mark. */
  keep(group: Name, number: number, value: T): T | undefined {
    let ofGroup = this.#groups.get(group);
    if (ofGroup === undefined) this.#groups.set(group, (ofGroup = { below: 0, values: new Map() }));
    if (number < ofGroup.below) return undefined;
    const known = ofGroup.values.get(number);
    if (known !== undefined) return known;
    ofGroup.values.set(number, value);
    return value;
  }

  trim(group: Name, below: number): void {
    const ofGroup = this.#groups.get(group);
    if (ofGroup === undefined || below <= ofGroup.below) return;
    ofGroup.below = below;
    for (const number of ofGroup.values.keys()) if (number < below) ofGroup.values.delete(number);
  }

  get size(): number {
    return [...this.#groups.values()].reduce((sum, { values }) => sum + values.size, 0);
  }
}
