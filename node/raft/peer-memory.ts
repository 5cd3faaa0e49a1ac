/**
 * What this node remembers of its peers, on disk: which log is theirs, and how far it has
 * been durable. A peer that comes back with another log, or with one that ends earlier,
 * has lost what it once promised, and is not taken for the one it was.
 *
 *  1. A peer's log is remembered durably before anything is taken from it.
 *  2. How far a log has been is remembered at once in memory, on disk now and then: a
 *     rollback that is younger than that shows only to those who did not restart since.
 */
import type { Clock } from '@holdfast/client/clock';
import type { Disk } from '../runtime/disk.ts';
import { replaceFile } from '../storage/replace-file.ts';

const FILE = 'peers.json';
const SAVE_EVERY_MS = 5_000;

interface KnownPeer {
  readonly logId: string;
  /** The run of it that was heard last. */
  runId: string;
  /** Greatest number of durable records that it spoke of. */
  sequence: number;
}

/** What a peer's message says of its log. */
export interface SeenPeer {
  readonly logId: string;
  /** Drawn when it started. */
  readonly runId: string;
  /** Records in its log when it started. */
  readonly startSequence: number;
  readonly sequence: number;
}

/** `unsettled`: not yet, ask again with the next message. Others: why it is refused. */
export type PeerVerdict = 'known' | 'unsettled' | 'data removed' | 'data rolled back';

export class PeerMemory {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #onFailure: (error: Error) => void;
  readonly #peers: Map<string, KnownPeer>;
  /** Peers that `#peers` on disk does not have yet. */
  readonly #unsettled = new Set<string>();
  #saving: Promise<void> | undefined;
  #savedAtMs: number;

  private constructor(
    disk: Disk,
    clock: Clock,
    peers: Map<string, KnownPeer>,
    onFailure: (error: Error) => void,
  ) {
    this.#disk = disk;
    this.#clock = clock;
    this.#peers = peers;
    this.#onFailure = onFailure;
    this.#savedAtMs = clock.monotonicMs();
  }

  /** Reads what is remembered. */
  static async open(disk: Disk, clock: Clock, onFailure: (error: Error) => void): Promise<PeerMemory> {
    const peers = new Map<string, KnownPeer>();
    try {
      const { peers: known } = JSON.parse(Buffer.from(await disk.read(FILE)).toString('utf8')) as {
        peers: Record<string, { log_id: string; run_id: string; sequence: number }>;
      };
      for (const [name, { log_id: logId, run_id: runId, sequence }] of Object.entries(known))
        peers.set(name, { logId, runId, sequence });
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
    }
    return new PeerMemory(disk, clock, peers, onFailure);
  }

  /** Whether a peer is the one it was. Invariants 1, 2. */
  judge(name: string, seen: SeenPeer): PeerVerdict {
    const known = this.#peers.get(name);
    if (known === undefined) {
      const { logId, runId, sequence } = seen;
      this.#peers.set(name, { logId, runId, sequence });
      this.#unsettled.add(name);
      this.#save();
      return 'unsettled';
    }
    if (this.#unsettled.has(name)) {
      this.#save();
      return 'unsettled';
    }
    if (known.logId !== seen.logId) return 'data removed';
    if (known.runId !== seen.runId) {
      // Also said of a late message of an earlier run, which no longer minds.
      if (seen.startSequence < known.sequence) return 'data rolled back';
      known.runId = seen.runId;
    }
    known.sequence = Math.max(known.sequence, seen.sequence);
    if (this.#clock.monotonicMs() - this.#savedAtMs >= SAVE_EVERY_MS) this.#save();
    return 'known';
  }

  #save(): void {
    if (this.#saving !== undefined) return;
    this.#savedAtMs = this.#clock.monotonicMs();
    const settling = [...this.#unsettled];
    const peers = Object.fromEntries(
      [...this.#peers].map(([name, { logId, runId, sequence }]) => [
        name,
        { log_id: logId, run_id: runId, sequence },
      ]),
    );
    this.#saving = replaceFile(this.#disk, FILE, Buffer.from(`${JSON.stringify({ peers }, null, 2)}\n`))
      .then(
        () => {
          for (const name of settling) this.#unsettled.delete(name);
        },
        (error: unknown) => this.#onFailure(error as Error),
      )
      .finally(() => {
        this.#saving = undefined;
      });
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#saving;
  }
}
