/** Rows that forget every object between two commands: what was not said to be changed is lost. */
import type { LiveRow, PartRows } from '../../node/coordination/machine-part.ts';

export class StepRows {
  readonly stored = new Map<string, Uint8Array>();
  readonly #live = new Map<string, LiveRow>();
  readonly #changed = new Set<string>();

  get(key: string): Uint8Array | undefined {
    if (this.#changed.has(key)) return this.#live.get(key)!.encode();
    return this.stored.get(key);
  }

  put(key: string, content: Uint8Array): void {
    this.stored.set(key, Uint8Array.from(content));
  }

  delete(key: string): void {
    this.#live.delete(key);
    this.#changed.delete(key);
    this.stored.delete(key);
  }

  live<T extends LiveRow>(key: string, decode: (content: Uint8Array) => T): T | undefined {
    const known = this.#live.get(key);
    if (known !== undefined) return known as T;
    const content = this.stored.get(key);
    if (content === undefined) return undefined;
    const row = decode(content);
    this.#live.set(key, row);
    return row;
  }

  putLive(key: string, row: LiveRow): void {
    this.#live.set(key, row);
    this.#changed.add(key);
  }

  range: PartRows['range'] = async (start, end, count) => {
    this.step();
    const keys = [...this.stored.keys()].filter((key) => key >= start && key < end).sort();
    const rows = keys.slice(0, count).map((key): [string, Uint8Array] => [key, this.stored.get(key)!]);
    return { rows, more: keys.length > count };
  };

  /** A command has been applied. */
  step(): void {
    for (const key of this.#changed) this.stored.set(key, Uint8Array.from(this.#live.get(key)!.encode()));
    this.#changed.clear();
    this.#live.clear();
  }
}
