/** Both ends of the snapshots of a node's groups, and the messages between them. */
import type { Clock } from '@holdfast/client/clock';
import type { RowStore } from '../storage/row-store.ts';
import type { InstallSnapshot } from './core/messages.ts';
import type { GroupReplica } from './group-replica.ts';
import { PeerMessageKind } from './peer-courier.ts';
import { decodePart, decodeRequest } from './snapshot-parts.ts';
import { SnapshotReceiver } from './snapshot-receiver.ts';
import { SnapshotSender } from './snapshot-sender.ts';

export interface SnapshotsOptions {
  readonly rows: RowStore;
  readonly clock: Clock;
  /** The group's core was told something. */
  readonly wake: (replica: GroupReplica) => void;
  readonly offer: (group: number, message: InstallSnapshot) => void;
  readonly send: (to: number, kind: number, body: Uint8Array) => void;
  readonly onFailure: (error: unknown) => void;
}

export class Snapshots {
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  readonly #onFailure: (error: unknown) => void;

  constructor({ rows, clock, wake, offer, send, onFailure }: SnapshotsOptions) {
    this.#onFailure = onFailure;
    this.sender = new SnapshotSender({
      rows,
      clock,
      wake,
      offer,
      send: (to, part) => send(to, PeerMessageKind.snapshotPart, part),
      onFailure,
    });
    this.receiver = new SnapshotReceiver({
      rows,
      clock,
      wake,
      request: (to, request) => send(to, PeerMessageKind.snapshotRequest, request),
      onFailure,
    });
  }

  /** A message about a snapshot's rows has come; one that is malformed is none. */
  onMessage(from: number, kind: number, body: Buffer): void {
    const handle = async () => {
      if (kind === PeerMessageKind.snapshotRequest) await this.sender.serve(from, decodeRequest(body));
      if (kind === PeerMessageKind.snapshotPart) await this.receiver.take(from, decodePart(body));
    };
    handle().catch((error: unknown) => {
      if (!(error instanceof RangeError)) this.#onFailure(error);
    });
  }

  /** A group is gone. */
  drop(group: number): void {
    this.sender.stop(group);
    this.receiver.drop(group);
  }

  async stop(): Promise<void> {
    this.sender.stop();
    await this.receiver.stop();
  }
}
