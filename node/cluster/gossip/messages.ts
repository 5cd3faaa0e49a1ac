import type { Instance, NodeRecord } from './node-record.ts';

/** Asks for a sign of life of the node `target`. */
export interface Ping {
  readonly type: 'ping';
  readonly number: number;
  readonly target: string;
}

/** A sign of life, of the answering node or of the one that it was asked to probe. */
export interface Ack {
  readonly type: 'ack';
  readonly number: number;
}

/** Asks the receiver to probe `target`. */
export interface PingRequest {
  readonly type: 'pingRequest';
  readonly number: number;
  readonly target: string;
}

/** The receiver lives and could not get an answer of the node that it was asked to probe. */
export interface Nack {
  readonly type: 'nack';
  readonly number: number;
}

/** All that the sender knows. */
export interface Sync {
  readonly type: 'sync';
  readonly nodes: readonly NodeRecord[];
  readonly wantsReply: boolean;
}

/** News alone. */
export interface Notice {
  readonly type: 'notice';
}

/** The receiver is not the newest node of its name. */
export interface Refusal {
  readonly type: 'refusal';
  readonly newer: Instance;
}

export type GossipBody = Ping | Ack | PingRequest | Nack | Sync | Notice | Refusal;

/** A message, with what every message carries. */
export interface GossipMessage {
  /** 16 bytes as hexadecimal digits. */
  readonly clusterId: string;
  /** Which run of the sender. */
  readonly from: Instance;
  readonly news: readonly NodeRecord[];
  readonly body: GossipBody;
}

/** A message and the name of the node that it is for. */
export interface OutgoingGossip {
  readonly to: string;
  readonly message: GossipMessage;
}
