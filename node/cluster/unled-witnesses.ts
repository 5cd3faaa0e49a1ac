/**
 * What other nodes have said of a group that nobody leads, while one is looked for. Each is
 * believed for this group alone (it may lead others), and until one is named.
 */
import type { HoldfastError } from '@holdfast/client/error';
import type { Member } from '../raft/members.ts';
import { proposalError } from '../raft/propose.ts';
import type { NotLed } from '../raft/state-machine.ts';

export class UnledWitnesses {
  readonly #asked = new Set<number>();
  #said: HoldfastError | undefined;

  /** Who need not be asked again. */
  get asked(): ReadonlySet<number> {
    return this.#asked;
  }

  /** A node has refused a call with this error. */
  note({ id }: Member, error: HoldfastError): void {
    if (error.leader !== undefined) this.forget();
    if (error.reason !== 'NO_LEADER') return;
    this.#asked.add(id);
    this.#said = error;
  }

  forget(): void {
    this.#asked.clear();
    this.#said = undefined;
  }

  /** What to tell who waits for the group; the replica here may know of a leader by now. */
  error(notLed: NotLed): HoldfastError {
    if (notLed.leader === undefined && this.#said !== undefined) return this.#said;
    return proposalError({ cause: 'not leader', outcome: 'NOT_APPLIED', ...notLed });
  }
}
