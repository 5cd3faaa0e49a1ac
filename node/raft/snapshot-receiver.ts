/**
 * Fetches the rows of an offered snapshot into a generation that nobody reads, and then
 * gives the offer to the core. Nothing of the group's own rows is touched until the core
 * has taken it.
 *
 *  1. A generation is filled from one snapshot only, and is empty when that begins.
 *  2. The core gets the offer when all rows are durably in the store, or when it needs none.
 *  3. One snapshot of a group at a time; the next is not begun before it is installed.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import { groupPrefix, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import type { InstallSnapshot } from './core/messages.ts';
import type { GroupReplica } from './group-replica.ts';
import { encodeRequest, type SnapshotPart } from './snapshot-parts.ts';

const ASK_AGAIN_MS = 500;
/** Requests for one part without an answer, before the transfer is given up. */
const MAX_REQUESTS = 12;

export interface SnapshotReceiverOptions {
  readonly rows: RowStore;
  readonly clock: Clock;
  readonly request: (to: number, request: Uint8Array) => void;
  readonly wake: (replica: GroupReplica) => void;
  readonly onFailure: (error: unknown) => void;
}

interface Transfer {
  readonly replica: GroupReplica;
  readonly message: InstallSnapshot;
  readonly generation: number;
  part: number;
  requests: number;
  timer: Timer;
  /** Nothing is taken now: it is being prepared, or a part is on its way into the store. */
  isWriting: boolean;
  /** The last part on its way into the store. */
  written: Promise<void>;
}

const DONE = Promise.resolve();

export class SnapshotReceiver {
  readonly #options: SnapshotReceiverOptions;
  readonly #transfers = new Map<number, Transfer>();
  #cleaning: Promise<unknown> = Promise.resolve();
  #received = 0;
  #isStopped = false;

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options;
  }

  /** Snapshots whose rows have come whole. */
  get received(): number {
    return this.#received;
  }

  /** Whether a generation is being filled. */
  isFilling(group: number, generation: number): boolean {
    return this.#transfers.get(group)?.generation === generation;
  }

  /** A leader offers a snapshot. Invariants 2, 3. */
  offer(replica: GroupReplica, message: InstallSnapshot): void {
    const { core, group } = replica;
    if (message.snapshot.index <= core.status.committed || message.term < core.term) {
      core.step(message);
      return;
    }
    const known = this.#transfers.get(group);
    if (replica.isInstalling || (known !== undefined && !isNewer(message, known.message))) return;
    if (known !== undefined) this.#abandon(known);
    const generation = Math.max(replica.generation, known?.generation ?? 0) + 1;
    const timer = { cancel: () => undefined };
    const transfer = {
      replica,
      message,
      generation,
      part: 0,
      requests: 0,
      timer,
      isWriting: true,
      written: DONE,
    };
    this.#transfers.set(group, transfer);
    this.#begin(transfer).catch((error: unknown) => this.#options.onFailure(error));
  }

  /** A part has come. */
  async take(from: number, part: SnapshotPart): Promise<void> {
    const transfer = this.#transfers.get(part.group);
    if (transfer === undefined || transfer.isWriting || transfer.message.from !== from) return;
    const { index, term } = transfer.message.snapshot;
    if (part.index !== index || part.term !== term || part.part !== transfer.part) return;
    transfer.isWriting = true;
    transfer.timer.cancel();
    if (part.rows.length > 0) {
      transfer.written = this.#options.rows.addRows(part.group, transfer.generation, part.rows);
      await transfer.written;
    }
    if (this.#transfers.get(part.group) !== transfer || this.#isStopped) return;
    transfer.isWriting = false;
    transfer.part++;
    transfer.requests = 0;
    this.#ask(transfer);
    if (part.isLast) this.#complete(transfer);
  }

  /** Removes the rows of a generation that is not, or no longer, in use, when what is still being `written` to it is there. */
  remove(group: number, generation: number, written = DONE): Promise<unknown> {
    const prefix = groupPrefix(group, generation);
    // The first generation's prefix is also that of the group's stored index.
    const first = generation === 0 ? `${prefix}j` : prefix;
    const remove = async () => {
      if (generation === 0) await this.#removeRange(prefix, `${prefix}i`);
      await this.#removeRange(first, prefixEnd(prefix));
      if (!this.#isStopped) await this.#options.rows.removeFiles(group, generation);
    };
    this.#cleaning = this.#cleaning.then(() => written).then(remove);
    this.#cleaning.catch((error: unknown) => this.#options.onFailure(error));
    return this.#cleaning;
  }

  /** Drops what is under way for a group. */
  drop(group: number): void {
    const transfer = this.#transfers.get(group);
    if (transfer !== undefined) this.#abandon(transfer);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const transfer of this.#transfers.values()) this.#end(transfer);
    await this.#cleaning.catch(() => undefined);
  }

  /** Invariant 1. */
  async #begin(transfer: Transfer): Promise<void> {
    const { group } = transfer.replica;
    await this.remove(group, transfer.generation);
    if (this.#transfers.get(group) !== transfer || this.#isStopped) return;
    transfer.isWriting = false;
    this.#ask(transfer);
  }

  #ask(transfer: Transfer): void {
    const { replica, message, part } = transfer;
    transfer.timer.cancel();
    if (++transfer.requests > MAX_REQUESTS) return this.#abandon(transfer);
    const { index, term } = message.snapshot;
    this.#options.request(message.from, encodeRequest({ group: replica.group, index, term, part }));
    transfer.timer = this.#options.clock.setTimer(ASK_AGAIN_MS, () => this.#ask(transfer));
  }

  /** Invariant 2. What the core does not take, because it has it by now or follows another leader, goes. */
  #complete(transfer: Transfer): void {
    const { replica, message, generation } = transfer;
    this.#end(transfer);
    const point = message.snapshot;
    const before = replica.core.status.baseIndex;
    if (replica.core.status.committed < point.index) replica.receive({ point, generation });
    replica.core.step(message);
    const { baseIndex } = replica.core.status;
    if (baseIndex === before || baseIndex !== point.index) {
      replica.forgetReceived();
      void this.remove(replica.group, generation);
    } else this.#received++;
    this.#options.wake(replica);
  }

  /** What has come goes, and what is still on its way into the store after it. Invariant 1. */
  #abandon(transfer: Transfer): void {
    this.#end(transfer);
    void this.remove(transfer.replica.group, transfer.generation, transfer.written);
  }

  #end(transfer: Transfer): void {
    transfer.timer.cancel();
    this.#transfers.delete(transfer.replica.group);
  }

  async #removeRange(first: string, end: string): Promise<void> {
    if (!this.#isStopped) await this.#options.rows.removeRange(first, end, () => this.#isStopped);
  }
}

/** Of a later leader, or of a later entry: the one under way may never be completed. */
function isNewer(message: InstallSnapshot, known: InstallSnapshot): boolean {
  return (
    message.term > known.term ||
    (message.term === known.term && message.snapshot.index > known.snapshot.index)
  );
}
