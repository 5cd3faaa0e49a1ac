/** Messages of different lanes do not wait for each other, and may overtake each other. */
export type PeerLane = 'control' | 'bulk';

/**
 * Messages between nodes, as a datagram service: a message arrives whole or not at
 * all, perhaps late, out of order or twice. Whoever sends must live with that.
 */
export interface PeerTransport {
  /** Sends `message` to the node named `peer`; never waits and never throws. Over the bound on
   * queued bytes the message is dropped and counted. What is large or can wait goes on the
   * lane `bulk`; the default is `control`. The message must not be changed afterwards. */
  send(peer: string, message: Uint8Array, lane?: PeerLane): void;
  /** Sets the one receiver of messages. `peer` is the sender's name. */
  onMessage(receive: (peer: string, message: Uint8Array) => void): void;
  /** Bytes queued for `peer` on all lanes and not yet handed to the network: the measure for back-pressure. */
  queuedBytes(peer: string): number;
  /** Stops sending and receiving. */
  close(): Promise<void>;
}
