/**
 * What this node remembers of its peers: which log is theirs, and how far it has been
 * durable. A peer that comes back with another log, or with one that ends earlier, has
 * lost what it once promised, and is not taken for the one it was.
 *
 *  1. A peer's log is remembered durably before anything is taken from it.
 *  2. How far it has been is written with every batch of this node's own log, so what is
 *     remembered is as old as the last thing that this node itself promised.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { RecordType, type LogRecord } from '../storage/log-format.ts';

interface KnownPeer {
  readonly logId: string;
  /** The run of it that was heard last. */
  runId: string;
  /** Greatest number of durable records that it spoke of. */
  sequence: number;
  /** What the log has of it; -1: nothing. */
  written: number;
  /** The log durably knows the peer. */
  isSettled: boolean;
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
  readonly #peers = new Map<number, KnownPeer>();
  readonly #onNews: () => void;

  /** `remembered`: the payloads of the newest records of each peer; `onNews`: something has to be written soon. */
  constructor(remembered: ReadonlyMap<number, Uint8Array>, onNews: () => void) {
    this.#onNews = onNews;
    for (const [peer, payload] of remembered) {
      const reader = new ByteReader(payload);
      const logId = reader.latin1();
      const runId = reader.latin1();
      const sequence = reader.u64();
      this.#peers.set(peer, { logId, runId, sequence, written: sequence, isSettled: true });
    }
  }

  /** Whether a peer is the one it was. Invariant 1. */
  judge(peer: number, seen: SeenPeer): PeerVerdict {
    const known = this.#peers.get(peer);
    if (known === undefined) {
      const { logId, runId, sequence } = seen;
      this.#peers.set(peer, { logId, runId, sequence, written: -1, isSettled: false });
      this.#onNews();
      return 'unsettled';
    }
    if (!known.isSettled) return 'unsettled';
    if (known.logId !== seen.logId) return 'data removed';
    if (known.runId !== seen.runId) {
      // Also said of a late message of an earlier run, which no longer minds.
      if (seen.startSequence < known.sequence) return 'data rolled back';
      known.runId = seen.runId;
    }
    known.sequence = Math.max(known.sequence, seen.sequence);
    return 'known';
  }

  /** What the next batch of the log is to say. Invariant 2. */
  takeRecords(records: LogRecord[]): void {
    for (const [peer, known] of this.#peers) {
      if (known.written === known.sequence) continue;
      known.written = known.sequence;
      records.push(peerRecord(peer, known));
    }
  }

  /** Whether the log durably knows all that were heard of. */
  get isSettled(): boolean {
    for (const { isSettled } of this.#peers.values()) if (!isSettled) return false;
    return true;
  }

  /** Everything that was taken is durable. */
  noteWritten(): void {
    for (const known of this.#peers.values()) known.isSettled ||= known.written >= 0;
  }
}

function peerRecord(peer: number, { logId, runId, sequence }: KnownPeer): LogRecord {
  const payload = new ByteWriter(48).latin1(logId).latin1(runId).u64(sequence).finish();
  return {
    type: RecordType.peer,
    group: 0,
    term: 0,
    index: peer,
    stampMs: 0,
    kind: 0,
    version: 1,
    payload,
  };
}

/** A peer has refused this node: what it remembers of its log is not what it has. */
export function notKnownAgain(peer: string, reason: string): Error {
  return new Error(
    `${peer} knew this node with other data (${reason}). A node that lost data must not go on under its old name: ` +
      'restore the directory as it was; or, if the others have what it held, move it away and start the node again, when it comes back as a new member.',
  );
}
