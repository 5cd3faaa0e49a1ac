/** Writes to one group of a small cluster through whoever leads it; increments are repeated until they are acknowledged. */
import { MutationKind, type MutationCommand, type WriteIdentity } from '../../node/kv/kv-command.ts';
import type { SmallCluster } from './small-cluster.ts';

const NO_BYTES = new Uint8Array(0);
const CLIENT = Buffer.alloc(16, 7);
/** So long an answer is waited for: the node that was asked may be gone. */
const ANSWER_MS = 400;
const PAUSE_MS = 7;

export class StepWriter {
  readonly group: number;
  readonly #cluster: SmallCluster;
  #counter: Buffer | undefined;
  #counted: number;
  #acknowledged = 0;
  #isStopped = false;
  /** An increment that nobody has answered. */
  #isPending = false;

  /** `counted`: what the counter is. */
  constructor(cluster: SmallCluster, group: number, counted = 0) {
    this.#cluster = cluster;
    this.group = group;
    this.#counted = counted;
  }

  /** What the counter is by what was acknowledged. */
  get counted(): number {
    return this.#counted;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Whether the counter may be this. */
  isPossible(count: number): boolean {
    return count === this.#counted || (this.#isPending && count === this.#counted + 1);
  }

  /** Names of keys of the group. */
  names(count: number, prefix = 'k'): string[] {
    const names: string[] = [];
    for (let i = 0; names.length < count; i++)
      if (this.#cluster.groupOf(`${prefix}${i}`) === this.group) names.push(`${prefix}${i}`);
    return names;
  }

  /** Carries all of these out, each until it is acknowledged. */
  async all(commands: readonly MutationCommand[]): Promise<void> {
    const done = Promise.all(commands.map((command) => this.#insist(command)));
    await this.#cluster.world.settle(done, 60_000);
  }

  increment(): Promise<void> {
    return this.#cluster.world.settle(this.#incrementOnce(), 30_000);
  }

  /** Increments one after another, until it is stopped, and now and then removes one of these keys. */
  async run(removed: readonly string[]): Promise<void> {
    for (let turn = 1; !this.#isStopped; turn++) {
      await this.#incrementOnce();
      const key = turn % 8 === 0 ? removed[turn / 8] : undefined;
      if (key !== undefined) await this.#attempt(removalOf(key), undefined);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** The counter, as the group's leader has it. */
  async read(): Promise<number> {
    for (;;) {
      await this.#cluster.until(() => this.#cluster.leaderOf(this.group) !== undefined);
      const { kv, keyspaces } = this.#cluster.leaderOf(this.group)!.engine!;
      const reading = Promise.resolve(kv.get(keyspaces.get('default'), this.#counterKey()));
      // Who leads may stop leading meanwhile.
      const found = await this.#cluster.world.settle(
        reading.catch(() => 'again' as const),
        30_000,
      );
      if (found !== 'again') return Number(found === undefined ? 0 : Buffer.from(found.value).toString());
    }
  }

  #counterKey(): Buffer {
    return (this.#counter ??= Buffer.from(this.names(1, 'counter')[0]!));
  }

  /** Repeats with the same sequence, so that it counts once. */
  async #incrementOnce(): Promise<void> {
    this.#isPending = true;
    const sequence = this.#counted + 1;
    const identity = { clientId: CLIENT, sequence, ackedBelow: sequence, open: true };
    const command = { ...NOTHING, kind: MutationKind.increment, key: this.#counterKey(), delta: 1n };
    while (!(await this.#attempt(command, identity))) {
      await this.#pause(PAUSE_MS);
      if (this.#isStopped) return;
    }
    this.#isPending = false;
    this.#counted++;
    this.#acknowledged++;
    await this.#pause(PAUSE_MS);
  }

  async #insist(command: MutationCommand): Promise<void> {
    while (!(await this.#attempt(command, undefined))) await this.#pause(PAUSE_MS);
  }

  /** Whether the write was acknowledged. */
  #attempt(command: MutationCommand, identity: WriteIdentity | undefined): Promise<boolean> {
    const engine = this.#cluster.leaderOf(this.group)?.engine;
    return new Promise((resolve) => {
      this.#cluster.world.after(ANSWER_MS, () => resolve(false));
      const keyspace = engine?.keyspaces.list().find(({ name }) => name === 'default');
      if (engine === undefined || keyspace === undefined) return;
      const sink = { onDone: () => resolve(true), onError: () => resolve(false) };
      engine.kv.mutate(
        engine.keyspaces.get('default'),
        command,
        { identity, fence: undefined },
        Infinity,
        sink,
      );
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#cluster.world.after(ms, resolve));
  }
}

const NOTHING = {
  value: NO_BYTES,
  ttlMs: undefined,
  expectedVersion: 0,
  expectedValue: NO_BYTES,
  delta: 0n,
};

export function putOf(key: string, value: string, ttlMs: number | undefined): MutationCommand {
  return { ...NOTHING, kind: MutationKind.put, key: Buffer.from(key), value: Buffer.from(value), ttlMs };
}

export function removalOf(key: string): MutationCommand {
  return { ...NOTHING, kind: MutationKind.delete, key: Buffer.from(key) };
}
