/** Defects of everything around the Raft core, which worlds of nodes and clients have to notice. */
import type { Defect } from './defect.ts';

/** A bug that one of the first worlds has to fail with; which one, changes with the code. */
export type WorldDefect = Omit<Defect, 'caughtBy'>;

export const WORLD_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'answer before it is durable',
    file: 'node/storage/write-ahead-log.ts',
    find: 'await this.#file!.writeDurably(this.#position, bytes);',
    replace: 'await this.#file!.write(this.#position, bytes);',
    reason: 'what was acknowledged is lost with the power',
  },
  {
    name: 'remember no write',
    file: 'node/kv/kv-state-machine.ts',
    find: 'memory.keep(identity.sequence, kept(outcome));',
    replace: '',
    reason: 'a write that is repeated is applied twice',
  },
  {
    name: 'say that a lost write was not applied',
    file: 'client/retry.ts',
    find: "return 'UNKNOWN';\n  if (error.outcome",
    replace: "return 'NOT_APPLIED';\n  if (error.outcome",
    reason: 'who is told so writes again',
  },
  {
    name: 'draw a sequence for each attempt',
    file: 'client/pipeline.ts',
    find: 'if (!call.isWrite || call.sequence > 0) return;',
    replace: 'if (!call.isWrite) return;',
    reason: 'a repeat is a write of its own',
  },
  {
    name: 'free segments that the store does not have',
    file: 'node/storage/write-ahead-log.ts',
    find: 'lastIndex > state.storedIndex) return false;',
    replace: 'lastIndex > state.storedIndex + 20) return false;',
    reason: 'entries that were not flushed are gone',
  },
  {
    name: 'go on after a failed sync',
    file: 'node/storage/write-ahead-log.ts',
    find: 'await this.#file!.writeDurably(this.#position, bytes);',
    replace: 'await this.#file!.writeDurably(this.#position, bytes).catch(() => undefined);',
    reason: 'what the kernel dropped is acknowledged',
  },
  {
    name: 'serve damaged payloads',
    file: 'node/storage/log-scan.ts',
    find: 'if (bad.has(position)) this.#damagePayload',
    replace: 'if (false && bad.has(position)) this.#damagePayload',
    reason: 'a flipped bit becomes a value',
  },
  {
    name: 'keep bytes of a closed stream',
    file: 'node/services/kv-pipeline.ts',
    find: 'this.#budget.give(this.#heldBytes);',
    replace: '',
    reason: 'the budget runs dry, connection by connection',
  },
  {
    name: 'read the store where the overlay has it',
    file: 'node/storage/row-store.ts',
    find: 'if (overlaid[at]?.[0] === key) takeOverlaid();',
    replace: 'if (overlaid[at]?.[0] === key) { at++; take(key, openRow(key, stored)); }',
    reason: 'scans show what was overwritten',
  },
  {
    name: 'late deadlines',
    file: 'client/deadlines.ts',
    find: 'const tick = Math.ceil(item.deadlineMs / Deadlines.tickMs);',
    replace: 'const tick = Math.ceil(item.deadlineMs / Deadlines.tickMs) + 200;',
    reason: 'calls end seconds after their deadline',
  },
  {
    name: 'say that a call without an answer was not applied',
    file: 'client/retry.ts',
    find: "return sent && leavesDoubt(error) ? 'UNKNOWN' : 'NOT_APPLIED';",
    replace: "return 'NOT_APPLIED';",
    reason: 'a write that may have been applied is said not to be',
  },
];
