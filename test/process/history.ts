/**
 * What a load did to each key, and what a reader may therefore find: the check that
 * nothing acknowledged is lost and nothing that was never written shows. It judges by
 * versions, so any number of writers may share a key.
 *
 *  1. An acknowledged write is there, with its version, or was overwritten by a write of
 *     a greater version.
 *  2. What is found was written, by a write that was acknowledged or is unknown; never by
 *     one that was said to be not applied.
 *  3. Of two writes conditional on one version at most one was acknowledged, and of the
 *     creates of one key at most one.
 *  4. A counter is between its acknowledged and its acknowledged and unknown increments,
 *     and no two acknowledged increments had the same result.
 */
import type { Entry, HoldfastError } from '@holdfast/client';

/** A value that tells which write it is of, whatever its length. */
export function valueOf(name: string, length: number): string {
  return `${name};`.padEnd(length, `${name};`);
}

function nameOf(value: string): string {
  return value.slice(0, value.indexOf(';'));
}

const CONFLICTS = new Set<string>(['KEY_EXISTS', 'VERSION_MISMATCH']);

export type Fate = 'acknowledged' | 'unknown' | 'not applied';

interface Write {
  readonly length: number;
  fate: Fate;
  version: bigint;
}

/** By key: the greatest acknowledged version, or the number of acknowledged increments. */
export type Promises = ReadonlyMap<string, bigint>;

interface Counter {
  acknowledged: bigint;
  unknown: bigint;
  readonly results: Set<bigint>;
}

/** Operations by what became of them. */
export interface Totals {
  acknowledged: number;
  unknown: number;
  notApplied: number;
  /** Calls that failed for lack of a node or of time, and not by their conditions. */
  cutOff: number;
  reads: number;
}

export class History {
  readonly totals: Totals = { acknowledged: 0, unknown: 0, notApplied: 0, cutOff: 0, reads: 0 };
  /** What must not be. */
  readonly violations: string[] = [];
  readonly #writes = new Map<string, Map<string, Write>>();
  readonly #latest = new Map<string, bigint>();
  readonly #counters = new Map<string, Counter>();
  /** Keys on which two conditional writes may not both succeed, with the version they expected. */
  readonly #wonConditions = new Set<string>();
  #touched = new Set<string>();

  /** What is acknowledged of these keys by now: no later reader may find less. */
  promises(keys: readonly string[]): Promises {
    return new Map(
      keys.map((key) => [key, this.#counters.get(key)?.acknowledged ?? this.#latest.get(key) ?? 0n]),
    );
  }

  /** Keys written since this was last asked. */
  takeTouched(): string[] {
    const touched = [...this.#touched];
    this.#touched = new Set();
    return touched;
  }

  /** Every key that was ever written. */
  get keys(): string[] {
    return [...this.#writes.keys(), ...this.#counters.keys()];
  }

  /** A write of a value that no other write has; `condition` is the version it expects (0n: no key). */
  async write(
    key: string,
    value: string,
    call: Promise<{ version: bigint }>,
    condition?: bigint,
  ): Promise<bigint | undefined> {
    const write: Write = { length: value.length, fate: 'unknown', version: 0n };
    this.#writesOf(key).set(nameOf(value), write);
    this.#touched.add(key);
    try {
      write.version = (await call).version;
    } catch (error) {
      write.fate = this.#failed(error as HoldfastError);
      return undefined;
    }
    write.fate = 'acknowledged';
    this.#acknowledged(key);
    if (write.version > (this.#latest.get(key) ?? 0n)) this.#latest.set(key, write.version);
    if (condition !== undefined) this.#won(key, condition);
    return write.version;
  }

  /** An increment by one. */
  async increment(key: string, call: Promise<bigint>): Promise<void> {
    let counter = this.#counters.get(key);
    if (counter === undefined)
      this.#counters.set(key, (counter = { acknowledged: 0n, unknown: 0n, results: new Set() }));
    this.#touched.add(key);
    counter.unknown++;
    let result: bigint;
    try {
      result = await call;
    } catch (error) {
      if (this.#failed(error as HoldfastError) === 'not applied') counter.unknown--;
      return;
    }
    this.#acknowledged(key);
    counter.unknown--;
    counter.acknowledged++;
    if (counter.results.has(result)) this.violations.push(`${key}: two increments answered ${result}`);
    counter.results.add(result);
  }

  /**
   * Judges what a reader found that began after `promised` was taken. Writes may be under
   * way: until it is answered a write is unknown. Invariants 1, 2 and 4.
   */
  check(key: string, entry: Entry | undefined, promised: bigint): void {
    this.totals.reads++;
    const counter = this.#counters.get(key);
    const problem =
      counter === undefined
        ? this.#writeProblem(this.#writes.get(key), promised, entry)
        : counterProblem(counter, promised, entry);
    if (problem !== undefined) this.violations.push(`${key}: ${problem}`);
  }

  #writeProblem(
    writes: Map<string, Write> | undefined,
    promised: bigint,
    entry: Entry | undefined,
  ): string | undefined {
    if (entry === undefined)
      return promised === 0n ? undefined : `acknowledged with version ${promised}, and gone`;
    const text = entry.text();
    const name = nameOf(text);
    const found = writes?.get(name);
    const shown = `${text.slice(0, 40)} (version ${entry.version})`;
    if (found === undefined || text !== valueOf(name, found.length)) return `${shown} was never written`;
    if (found.fate === 'not applied') return `${shown} was said to be not applied`;
    if (found.fate === 'acknowledged' && found.version !== entry.version)
      return `${shown} was acknowledged with version ${found.version}`;
    if (entry.version < promised) return `${shown} hides version ${promised}, which was acknowledged`;
    return undefined;
  }

  #acknowledged(key: string): void {
    this.totals.acknowledged++;
    this.#touched.add(key);
  }

  #writesOf(key: string): Map<string, Write> {
    let writes = this.#writes.get(key);
    if (writes === undefined) this.#writes.set(key, (writes = new Map()));
    return writes;
  }

  /** Invariant 3. */
  #won(key: string, condition: bigint): void {
    const name = `${key} at ${condition}`;
    if (this.#wonConditions.has(name)) this.violations.push(`${name}: two conditional writes succeeded`);
    this.#wonConditions.add(name);
  }

  #failed(error: HoldfastError): Fate {
    if (error.name !== 'HoldfastError') throw error;
    if (!CONFLICTS.has(error.reason)) this.totals.cutOff++;
    if (error.outcome === 'UNKNOWN') {
      this.totals.unknown++;
      return 'unknown';
    }
    if (error.outcome !== 'NOT_APPLIED')
      this.violations.push(`an error without an outcome: ${error.message}`);
    this.totals.notApplied++;
    return 'not applied';
  }
}

function counterProblem(counter: Counter, promised: bigint, entry: Entry | undefined): string | undefined {
  const value = entry === undefined ? 0n : BigInt(entry.text());
  const most = counter.acknowledged + counter.unknown;
  if (value >= promised && value <= most) return undefined;
  return `${value}, and ${promised} to ${most} increments were applied`;
}
