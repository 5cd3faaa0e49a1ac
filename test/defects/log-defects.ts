/** Defects of what is on the disk: the log, and what a replica finds there. */
import type { WorldDefect } from './world-defect.ts';

const LOG = 'node/storage/write-ahead-log.ts';
const RECORDS = 'node/raft/log-records.ts';

export const LOG_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'acknowledge before fsync',
    file: LOG,
    find: 'await this.#file!.writeDurably(this.#position, bytes);',
    replace: 'await this.#file!.write(this.#position, bytes);',
    reason: 'what was acknowledged is lost with the power',
    caughtBy: { seed: '0', nodes: 1, checker: 'start' },
  },
  {
    name: 'go on after a failed sync',
    file: LOG,
    find: 'await this.#file!.writeDurably(this.#position, bytes);',
    replace: 'await this.#file!.writeDurably(this.#position, bytes).catch(() => undefined);',
    reason: 'what the kernel dropped is acknowledged',
    caughtBy: { seed: '14', nodes: 1, faults: ['failed-sync', 'power-loss'], checker: 'start' },
  },
  {
    name: 'trust the end of the log',
    file: LOG,
    find: '        await secureEnd(file, active);\n',
    replace: '        void secureEnd;\n',
    reason: 'what a killed process had not synced is served after the restart, and lost with the power',
    caughtBy: { seed: '1', nodes: 1, faults: ['kill', 'power-loss', 'failed-sync'], checker: 'start' },
  },
  {
    name: 'free a segment when it is full',
    file: LOG,
    find: '    this.#segments.push(grown);\n',
    replace:
      '    for (const { number } of this.#segments.splice(0)) await this.#options.disk.remove(this.#path(number));\n    this.#segments.push(grown);\n',
    reason: 'entries that were not flushed are gone',
    caughtBy: { seed: '0', nodes: 1, faults: ['power-loss', 'kill'], checker: 'start' },
  },
  {
    name: 'lose hard state when a segment is trimmed',
    file: LOG,
    find: 'groups: this.#groups,\n',
    replace: 'groups: new Map(),\n',
    reason: 'a replica forgets its vote and how far its log had been trimmed',
    caughtBy: { seed: '0', nodes: 3, faults: ['power-loss', 'kill'], checker: 'start' },
  },
  {
    name: 'serve damaged payloads',
    file: 'node/storage/log-scan.ts',
    find: 'if (bad.has(position)) this.#damagePayload',
    replace: 'if (false && bad.has(position)) this.#damagePayload',
    reason: 'a flipped bit becomes a value',
    caughtBy: { seed: '3', nodes: 1, faults: ['flipped-bit'], checker: 'damage' },
  },
  {
    name: 'write no snapshot record',
    file: RECORDS,
    find: '  if (rows !== undefined) records.push(snapshotRecord(group, rows));\n',
    replace: '  void snapshotRecord;\n',
    reason: 'after a restart the log goes on where the rows do not end',
    caughtBy: { seed: '36', nodes: 3, faults: ['power-loss', 'pause'], checker: 'start' },
  },
  {
    name: 'a snapshot lowers the applied index',
    file: RECORDS,
    find: 'snapshot !== undefined && snapshot.index > stored.index ? snapshot : stored;',
    replace: 'snapshot ?? stored;',
    reason: 'after a restart entries are applied to rows that have them',
    caughtBy: { seed: '24', nodes: 3, faults: ['power-loss', 'kill', 'pause'], checker: 'applied index' },
  },
];
