/** Defects of configuration, leases, locks, elections, sequences and IDs. */
import type { WorldDefect, WorldEvidence } from './world-defect.ts';

const QUEUE = 'node/coordination/wait-queue.ts';
const SESSIONS = 'node/coordination/session-state.ts';
const RETRIES = ['lost-reply', 'reset-by-request', 'reset-connections', 'client-replies-cut'];

export const COORDINATION_DEFECTS: readonly WorldDefect[] = [
  {
    name: 'release what somebody else holds',
    file: QUEUE,
    find: `    const place = this.#bySession.get(session);
    if (place === undefined || token === 0 || place.token !== token) return undefined; // invariant 5
    return this.#drop(place, request);`,
    replace: `    const place = this.#bySession.get(session) ?? this.#holders[0];
    if (place === undefined || token === 0) return undefined;
    return this.#drop(place, place.requests.has(request) ? request : [...place.requests.keys()][0]!);`,
    reason: 'a release that is sent again frees the lock of the next holder',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'locks' }, RETRIES),
  },
  {
    name: 'grant a shared lock beside an exclusive one',
    file: QUEUE,
    find: 'return this.#holders[0]!.mode === HoldMode.shared && this.#holders.length < MAX_HOLDERS;',
    replace: 'return this.#holders.length < MAX_HOLDERS;',
    reason: 'who holds exclusively is not alone',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'locks' }),
  },
  {
    name: 'let whoever comes pass those who wait',
    file: QUEUE,
    find: 'const isServed = this.#waiters.length === 0 && this.#hasRoomForHolder(mode); // invariant 2',
    replace: 'const isServed = this.#hasRoomForHolder(mode);',
    reason: 'who waits for an exclusive lock never gets it while shared holders come',
    caughtBy: all({ seed: '2', nodes: 3, checker: 'locks' }),
  },
  {
    name: 'serve the last who came',
    file: QUEUE,
    find: '    for (const next of this.#waiters) {',
    replace: '    this.#waiters.reverse();\n    for (const next of this.#waiters) {',
    reason: 'whoever came first waits for ever',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'elections' }),
  },
  {
    name: 'more holders than permits',
    file: QUEUE,
    find: 'return this.#holders.length < this.#permits;',
    replace: 'return this.#holders.length <= this.#permits;',
    reason: 'a semaphore of two lets three in',
    caughtBy: all({ seed: '70', nodes: 3, checker: 'locks' }),
  },
  {
    name: 'serve a session that is dead',
    file: QUEUE,
    find: '    if (place === undefined) return false;\n    this.#remove(place);',
    replace: '    if (place === undefined || place.token === 0) return false;\n    this.#remove(place);',
    reason: 'a lock is held for ever by nobody',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'elections' }),
  },
  {
    name: 'serve nobody when a session ends',
    file: SESSIONS,
    find: 'if (queue?.end(lease) === true) this.#settle(kind, name, queue, leader, step);',
    replace: 'if (queue?.end(lease) === true) this[kind].put(name, queue);',
    reason: 'those who wait for a holder that died wait for ever',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'elections' }),
  },
  {
    name: 'give a token twice',
    file: SESSIONS,
    find: 'const served = queue.serve(() => step.nextRevision());',
    replace: 'const served = queue.serve(() => step.revision);',
    reason: 'a holder that only believes to be one writes by the token of the next',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'locks' }),
  },
  {
    name: 'check tokens nowhere but in the client',
    file: 'node/kv/kv-state-machine.ts',
    find: "if (fence.token < accepted) return { refused: 'FENCED', actual: String(accepted) };",
    replace: '',
    reason: 'who stood still and wakes overwrites what the next holder wrote',
    caughtBy: all({ seed: '5', nodes: 3, checker: 'fence' }),
  },
  {
    name: 'keep a lease alive that is not',
    file: 'node/coordination/lease-countdown.ts',
    find: '    counted.endsMs = this.#timeMs(monotonicMs) + counted.ttlMs;\n    counted.slackMs',
    replace: '    counted.slackMs',
    reason: 'a lease ends although it was kept alive',
    caughtBy: all({ seed: '2', nodes: 3, checker: 'locks' }),
  },
  {
    name: 'believe in a lease for longer than it lives',
    file: 'client/session/lease-keeper.ts',
    find: 'return renewedAtMs + ttlMs * (1 - MARGIN_SHARE) - MARGIN_MS;',
    replace: 'return renewedAtMs + ttlMs * (1.2 - MARGIN_SHARE) - MARGIN_MS;',
    reason: 'a holder works on while the next one does',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'leases' }),
  },
  {
    name: 'forget leases that are not to be kept alive',
    file: 'client/session/leases.ts',
    find: '    else lease.watch();',
    replace: '    else if (options.keepAlive !== false) lease.watch();',
    reason: 'the signal of a lock that hangs on one never fires',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'leases' }),
  },
  {
    name: 'leave the keys of a lease that ends',
    file: SESSIONS,
    find: 'if (row.keys > 0) this.#keys.deleteKeysOf(lease, revision);',
    replace: '',
    reason: 'who died stays registered',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'configuration' }),
  },
  {
    name: 'change configuration twice',
    file: 'node/coordination/applied-once.ts',
    find: '    if (known !== undefined) return known;\n',
    replace: '',
    reason: 'a write that is repeated is applied twice',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'applied once' }, RETRIES),
  },
  {
    name: 'read the configuration without asking anybody',
    file: 'node/coordination/configuration.ts',
    find: 'return this.#coordination.awaitRead({ deadlineMs, isRouted });',
    replace: 'return Promise.resolve();',
    reason: 'a node that lags shows what was changed before',
    caughtBy: all({ seed: '34', nodes: 3, checker: 'configuration' }),
  },
  {
    name: 'put whatever the last change is',
    file: 'node/coordination/config-transaction.ts',
    find: 'const mismatch = mismatched(ifModRevision, found);',
    replace: 'const mismatch = mismatched(undefined, found);',
    reason: 'two who read the same both write',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'configuration' }),
  },
  {
    name: 'resume a watch one revision late',
    file: 'client/config/config-watch.ts',
    find: 'startRevision: this.nextRevision,',
    replace: 'startRevision: this.nextRevision === 0n ? 0n : this.nextRevision + 1n,',
    reason: 'the change that came while the watch was between two nodes is lost',
    caughtBy: all({ seed: '1', nodes: 3, checker: 'watches' }),
  },
  {
    name: 'go on behind what is compacted and do not say so',
    file: 'client/config/config-watch.ts',
    find: "    this.#give({ type: 'resync', revision: compactRevision - 1n });\n",
    replace: '',
    reason: 'changes are lost across a compaction',
    caughtBy: all({ seed: '112', nodes: 3, checker: 'watches' }),
  },
  {
    name: 'share one worker number',
    file: 'node/ids/worker-choice.ts',
    find: 'const worker = (own.member - 1 + at) % WORKERS;\n    const one = byNumber.get(worker);',
    replace: `const worker = at;
    const { modRevision = 0 } = byNumber.get(worker) ?? {};
    yield { worker, floorMs: 0, highWaterMs: 0, modRevision };
    const one = byNumber.get(worker);`,
    reason: 'two nodes make the same IDs',
    caughtBy: all({ seed: '12', nodes: 3, checker: 'ids' }),
  },
  {
    name: 'make IDs by the clock alone',
    file: 'node/ids/id-generator.ts',
    find: 'const start = Math.max(this.#next, clockMs * IDS_PER_MS);',
    replace: 'const start = clockMs * IDS_PER_MS;',
    reason: 'an ID is made twice within a millisecond, or when the clock is set back',
    caughtBy: all({ seed: '10', nodes: 3, checker: 'ids' }, ['clock-step']),
  },
  {
    name: 'give out numbers of a sequence twice',
    file: 'node/coordination/sequence-part.ts',
    find: 'this.#rows.put(row, new ByteWriter(8).u64(last + count).finish());',
    replace: 'this.#rows.put(row, new ByteWriter(8).u64(last + 1).finish());',
    reason: 'two invoices have one number',
    caughtBy: all({ seed: '0', nodes: 3, checker: 'sequences' }),
  },
];

/** A world with all work. */
function all(evidence: WorldEvidence, faults?: readonly string[]): WorldEvidence {
  return { ...evidence, faults, coordination: true };
}
