/** Defects of topics and consumer groups. */
import type { WorldDefect, WorldEvidence } from './world-defect.ts';

const broker = (file: string) => `node/broker/${file}`;
const GROUP = 'node/coordination/groups/consumer-group.ts';
const scene = (checker: string): WorldEvidence => ({
  seed: '0',
  nodes: 1,
  rig: 'test/defects/broker-scenes.ts',
  checker,
});
const world = (seed: string, checker: string, nodes = 3): WorldEvidence => ({
  seed,
  nodes,
  broker: true,
  checker,
});

export const BROKER_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'append what was appended before',
    file: broker('producer-memory.ts'),
    find: 'if (sequence === expected) return APPEND;',
    replace: 'if (sequence <= expected) return APPEND;',
    reason: 'a batch that is sent again is there twice',
    caughtBy: world('1', 'duplicate'),
  },
  {
    name: 'append behind a gap',
    file: broker('producer-memory.ts'),
    find: 'if (sequence === expected) return APPEND;',
    replace: 'if (sequence >= expected) return APPEND;',
    reason: 'what comes again after what followed it is out of order, or lost',
    caughtBy: world('1', 'lost write'),
  },
  {
    name: 'take a stale epoch',
    file: broker('producer-memory.ts'),
    find: "if (epoch < this.#epoch) return { case: 'fenced' };",
    replace: '',
    reason: 'two producers work under one name',
    caughtBy: scene('stale epoch'),
  },
  {
    name: 'acknowledge before a majority has it',
    file: broker('broker.ts'),
    find: '...(isDoneWhenLogged && { onLogged: () => resolve(undefined) }),',
    replace: "onLogged: () => resolve({ case: 'appended', baseOffset: 0, isDuplicate: true }),",
    reason: 'a batch is lost with its leader, and was said to be kept',
    caughtBy: world('0', 'lost write'),
  },
  {
    name: 'store rows before the files are durable',
    file: 'node/storage/row-store.ts',
    find: '      await files.synced; // invariant 6\n',
    replace: '',
    reason: 'after a loss of power rows speak of records that are in no file',
    caughtBy: world('10', 'storage'),
  },
  {
    name: 'keep what lies behind the end',
    file: broker('log/recovery.ts'),
    find: 'const problem = await segment.recover(files, ({ baseOffset }) => baseOffset < logEnd);',
    replace: 'const problem = await segment.recover(files, () => true);',
    reason: 'what replay appends again is there twice, at other places than the index says',
    caughtBy: world('39', 'storage'),
  },
  {
    name: 'truncate below the end',
    file: broker('log/recovery.ts'),
    find: 'const problem = await segment.recover(files, ({ baseOffset }) => baseOffset < logEnd);',
    replace: 'const problem = await segment.recover(files, ({ nextOffset }) => nextOffset < logEnd);',
    reason: 'a restart takes committed records away',
    caughtBy: world('0', 'storage'),
  },
  {
    name: 'take a commit of an older generation',
    file: broker('partition-machine.ts'),
    find: `    if (generation < stored.generation) return refused('GENERATION_FENCED', generation, stored.generation);
    if (offset > this.#bounds.end)`,
    replace: '    if (offset > this.#bounds.end)',
    reason: 'a member that was taken for dead moves the group back, or past what nobody has handled',
    caughtBy: scene('commit not fenced'),
  },
  {
    name: 'take a commit beyond the end',
    file: broker('partition-machine.ts'),
    find: `    if (offset > this.#bounds.end) return refused('OFFSET_OUT_OF_RANGE', offset, this.#bounds.end);
    Object.assign(stored, { offset, generation, metadata, storedAtMs: stampMs });`,
    replace: '    Object.assign(stored, { offset, generation, metadata, storedAtMs: stampMs });',
    reason: 'records that come are passed over',
    caughtBy: scene('commit beyond the end'),
  },
  {
    name: 'forget a commit with the leader',
    file: broker('partition-machine.ts'),
    find: `    Object.assign(stored, { offset, generation, metadata, storedAtMs: stampMs });
    this.#rows.putLive(\`\${this.#prefix}g\${group}\`, stored);`,
    replace: '    Object.assign(stored, { offset, generation, metadata, storedAtMs: stampMs });',
    reason: 'a node that starts again begins where the group was long ago',
    caughtBy: world('1', 'partitions'),
  },
  {
    name: 'let an older generation claim',
    file: broker('partition-machine.ts'),
    find: `    if (generation < stored.generation) return refused('GENERATION_FENCED', generation, stored.generation);
    if (generation > stored.generation) {`,
    replace: '    if (generation > stored.generation) {',
    reason: 'a member that lost a partition reads it beside its owner',
    caughtBy: scene('claim not fenced'),
  },
  {
    name: 'hand a partition over before it was released',
    file: GROUP,
    find: 'if (partition.owner === undefined) this.#settle(partition);',
    replace: 'if (partition.owner !== partition.target) this.#settle(partition);',
    reason: 'two members work on a partition at a time',
    caughtBy: scene('early handover'),
  },
  {
    name: 'give a partition with the generation of the one before',
    file: GROUP,
    find: '    partition.generation = this.generation;\n    this.#bump(partition.owner);',
    replace: '    partition.generation ||= this.generation;\n    this.#bump(partition.owner);',
    reason: 'nobody can tell who of two owners is the later one',
    caughtBy: scene('generation again'),
  },
  {
    name: 'expel nobody',
    file: GROUP,
    find: 'stampMs - revokedAtMs > rebalanceTimeoutMs,',
    replace: 'stampMs - revokedAtMs > rebalanceTimeoutMs * 1_000_000,',
    reason: 'one member that hangs holds up the group',
    caughtBy: scene('never expelled'),
  },
  {
    name: 'retention takes the file that is written',
    file: broker('retention.ts'),
    find: '    if (segment.isActive || next === undefined) break;\n',
    replace: '',
    reason: 'records that were just appended are gone',
    caughtBy: scene("TypeError: Cannot read properties of undefined (reading 'baseOffset')"),
  },
  {
    name: 'retention takes one file too many',
    file: broker('retention.ts'),
    find: 'bytes - segment.bytes >= retentionBytes',
    replace: 'bytes >= retentionBytes',
    reason: 'less stays than was asked for',
    caughtBy: scene('retention by bytes'),
  },
  {
    name: 'compaction keeps the oldest',
    file: broker('log/compaction.ts'),
    find: "if (key !== undefined) newest.set(key.toString('latin1'), offset);",
    replace:
      "if (key !== undefined && !newest.has(key.toString('latin1'))) newest.set(key.toString('latin1'), offset);",
    reason: 'of each key an old record stays beside newer ones',
    caughtBy: scene('compaction'),
  },
  {
    name: 'compaction drops deletions at once',
    file: broker('log/compaction.ts'),
    find: 'return !(isDeletion && isOld);',
    replace: 'return !isDeletion;',
    reason: 'whoever reads later never hears that a key is gone',
    caughtBy: scene('deletion dropped early'),
  },
  {
    name: 'the index names the entry behind',
    file: broker('log/sparse-index.ts'),
    find: 'this.#positions[Math.max(0, at - 1)]!;',
    replace: 'this.#positions[Math.min(at, this.#count - 1)]!;',
    reason: 'after a restart a read begins behind what is wanted',
    caughtBy: scene('wrong place'),
  },
  {
    name: 'times of the index are those of its entries alone',
    file: broker('log/sparse-index.ts'),
    find: '} else if (maxTimeMs > this.#times[last]!) this.#times[last] = maxTimeMs;',
    replace: '}',
    reason: 'a time between two entries is found too late, or not at all',
    caughtBy: scene('wrong time'),
  },
];
