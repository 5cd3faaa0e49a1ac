/**
 * Removes what has expired: rows whose time is up, and clients that have been silent.
 * It only proposes; the state machine decides by log time.
 */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { GroupHost } from '../raft/group-host.ts';
import { propose } from '../raft/propose.ts';
import type { Command } from '../raft/entry.ts';
import type { RowStore } from '../storage/row-store.ts';
import { CLIENT_MEMORY_MS, ClientMemory } from './client-memory.ts';
import { encodeExpireClients, encodeExpireRows } from './kv-command.ts';
import type { Keyspaces, Partition } from './keyspaces.ts';

const ROWS_EVERY_MS = 1_000;
const CLIENTS_EVERY_MS = 60_000;
const ROWS_AT_ONCE = 500;

export class Sweeper {
  readonly #host: GroupHost;
  readonly #rows: RowStore;
  readonly #clock: Clock;
  readonly #keyspaces: Keyspaces;
  /** Where each group's index begins: what is below has been removed, and is slow to walk over again. */
  readonly #lowWater = new Map<number, number>();
  #timer: Timer | undefined;
  #nextClientsMs: number;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(host: GroupHost, rows: RowStore, clock: Clock, keyspaces: Keyspaces) {
    this.#host = host;
    this.#rows = rows;
    this.#clock = clock;
    this.#keyspaces = keyspaces;
    this.#nextClientsMs = clock.monotonicMs() + CLIENTS_EVERY_MS;
    this.#schedule();
  }

  /** Stops; resolves when the sweep under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(ROWS_EVERY_MS, () => {
      this.#running = this.#sweep().finally(() => {
        if (!this.#stopped) this.#schedule();
      });
    });
  }

  async #sweep(): Promise<void> {
    const clients = this.#clock.monotonicMs() >= this.#nextClientsMs;
    if (clients) this.#nextClientsMs = this.#clock.monotonicMs() + CLIENTS_EVERY_MS;
    for (const { partitions } of this.#keyspaces.list()) {
      for (const partition of partitions) {
        if (this.#stopped || this.#host.failure !== undefined) return;
        if (!this.#host.isLeader(partition.group)) continue;
        // A failed sweep is not an error: what it left is found by the next one.
        await this.#expireRows(partition).catch(() => undefined);
        if (clients) await this.#expireClients(partition).catch(() => undefined);
      }
    }
  }

  async #expireRows({ group, machine }: Partition): Promise<void> {
    if (machine === undefined) return;
    const { keys } = machine;
    const nowMs = this.#clock.wallMs();
    const from = this.#lowWater.get(group) ?? 0;
    if (from > nowMs) return; // the clock went back
    for (;;) {
      const { rows, more } = await this.#rows.range(
        keys.expiryBefore(from),
        keys.expiryBefore(nowMs + 1),
        ROWS_AT_ONCE,
      );
      const expired = rows.map(([row]) => keys.expired(row));
      if (expired.length > 0 && !(await this.#propose(group, encodeExpireRows(expired)))) return;
      const logTimeMs = this.#host.logTimeMs(group);
      // Later rows expire after log time. A clock that went back leaves log time short of what was found.
      if (!more) this.#lowWater.set(group, Math.min(nowMs, logTimeMs));
      if (!more || this.#stopped || logTimeMs < expired.at(-1)!.expiresAtMs) return;
    }
  }

  async #expireClients({ group, machine }: Partition): Promise<void> {
    if (machine === undefined) return;
    const { keys } = machine;
    const [first, end] = keys.clients();
    let from = first;
    const silentSinceMs = this.#clock.wallMs() - CLIENT_MEMORY_MS;
    for (;;) {
      const { rows, more } = await this.#rows.range(from, end, ROWS_AT_ONCE);
      const silent = rows.filter(([, content]) => ClientMemory.decode(content).lastSeenMs < silentSinceMs);
      if (silent.length > 0)
        await this.#propose(group, encodeExpireClients(silent.map(([row]) => keys.clientOf(row))));
      if (!more || this.#stopped) return;
      from = `${rows.at(-1)![0]}\0`;
    }
  }

  /** False: the node is busy with better things. */
  async #propose(group: number, command: Command): Promise<boolean> {
    if (!this.#host.hasRoom(command.bytes.byteLength)) return false;
    await propose(this.#host, group, command, this.#clock.monotonicMs() + 5_000);
    return true;
  }
}
