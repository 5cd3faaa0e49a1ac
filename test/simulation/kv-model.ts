/**
 * A naive key-value partition to compare the real one with: an array of writes in the
 * order they were proposed, and a map.
 */
import { MutationKind, type MutationCommand } from '../../node/kv/kv-command.ts';
import type { HoldfastError } from '../../client/error.ts';
import type { MutationOutcome } from '../../node/kv/kv-outcome.ts';

/** What a write ended in. */
export type Ending = { readonly outcome: MutationOutcome } | { readonly reason: string };

/** A write as it was sent. */
export interface SentWrite {
  readonly sequence: number;
  readonly clientId: Uint8Array;
  readonly command: MutationCommand;
  ending: Ending | undefined;
}

export interface ModelValue {
  readonly version: number;
  readonly text: string;
}

export class PartitionModel {
  readonly #values = new Map<string, ModelValue>();
  #version = 0;

  get values(): ReadonlyMap<string, ModelValue> {
    return this.#values;
  }

  /** The last version given out. */
  get version(): number {
    return this.#version;
  }

  copy(): PartitionModel {
    const copy = new PartitionModel();
    for (const [key, value] of this.#values) copy.#values.set(key, value);
    copy.#version = this.#version;
    return copy;
  }

  apply(command: MutationCommand): Ending {
    const key = Buffer.from(command.key).toString();
    const current = this.#values.get(key);
    const text = Buffer.from(command.value).toString();
    switch (command.kind) {
      case MutationKind.put:
        return this.#set(key, text);
      case MutationKind.create:
        return current ? { reason: 'KEY_EXISTS' } : this.#set(key, text);
      case MutationKind.setIfVersion:
        return current?.version === command.expectedVersion
          ? this.#set(key, text)
          : { reason: 'VERSION_MISMATCH' };
      case MutationKind.setIfValue:
        return current?.text === Buffer.from(command.expectedValue).toString()
          ? this.#set(key, text)
          : { reason: 'VALUE_MISMATCH' };
      case MutationKind.increment: {
        if (current && !/^-?\d+$/.test(current.text)) return { reason: 'NOT_A_COUNTER' };
        return this.#set(key, (BigInt(current?.text ?? 0) + command.delta).toString(), true);
      }
      case MutationKind.delete:
        if (current) this.#delete(key);
        return { outcome: { version: 0, counter: undefined, existed: current !== undefined } };
      case MutationKind.deleteIfVersion:
        if (current?.version !== command.expectedVersion) return { reason: 'VERSION_MISMATCH' };
        this.#delete(key);
        return { outcome: { version: 0, counter: undefined, existed: true } };
    }
    throw new Error('unknown mutation');
  }

  #set(key: string, text: string, counter = false): Ending {
    const version = ++this.#version;
    this.#values.set(key, { version, text });
    return { outcome: { version, counter: counter ? BigInt(text) : undefined, existed: undefined } };
  }

  #delete(key: string): void {
    this.#version++;
    this.#values.delete(key);
  }
}

/** An ending in a form that can be compared. */
export function shownEnding(ending: Ending): string {
  if ('reason' in ending) return ending.reason;
  const { version, counter, existed } = ending.outcome;
  return `version ${version} counter ${counter ?? '-'} existed ${existed ?? '-'}`;
}

/** The ending that a failure is; undefined: the write's fate is not known. */
export function endingOf(error: HoldfastError): Ending | undefined {
  return error.outcome === 'NOT_APPLIED' ? { reason: error.reason } : undefined;
}
