/**
 * When a node knows all its groups again. Until then a group that the log holds and nobody
 * has added may still be named by group 0, so nothing of the log is forgotten.
 */
import type { GroupReplica } from './group-replica.ts';
import type { RecoveredGroups } from './log-records.ts';

export class RecoveryWait {
  readonly #recovered: RecoveredGroups;
  readonly #coordination: () => GroupReplica | undefined;
  /** Group 0 must have applied this much before a group that it does not name is known to be gone. */
  readonly #recoveredTo: number;
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #areGroupsAdded = false;
  /** How many are about to add groups. */
  #expected = 0;

  constructor(recovered: RecoveredGroups, coordination: () => GroupReplica | undefined) {
    this.#recovered = recovered;
    this.#coordination = coordination;
    this.#recoveredTo = recovered.lastIndex(0);
  }

  get isOver(): boolean {
    const coordination = this.#coordination();
    if (!this.#areGroupsAdded || this.#expected > 0 || coordination === undefined) return false;
    // A tail that another leader has cut off names nothing.
    return coordination.applied.index >= Math.min(this.#recoveredTo, coordination.lastIndex);
  }

  /** All groups that group 0 names so far have been added. Resolves when it can name no others. */
  complete(): Promise<void> {
    this.#areGroupsAdded = true;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.tell();
    });
  }

  /** Group 0 names groups that are yet to be added; returns what is to be called when they are. */
  expectGroups(): () => void {
    this.#expected++;
    return () => {
      this.#expected--;
      this.tell();
    };
  }

  /** To be called when group 0 may have been applied further. */
  tell(): void {
    if (this.#waiting.length === 0 || !this.isOver) return;
    this.#recovered.clear();
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** The node stops before. */
  fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
