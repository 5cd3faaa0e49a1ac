/**
 * Connections of a port that are not yet what they are to become: their TLS handshake, or
 * the opening of HTTP/2, is on its way. Whoever dawdles is cut off, since each holds a
 * file descriptor and costs its sender nothing.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '@holdfast/client/clock';

interface Peer {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

export class ArrivingConnections {
  readonly #clock: Clock;
  readonly #withinMs: number;
  readonly #onLate: () => void;
  // By the peer's address: a TLS socket does not tell which plain one it is built on.
  readonly #waiting = new Map<string, { readonly socket: Socket; readonly timer: Timer }>();

  constructor(clock: Clock, withinMs: number, onLate: () => void) {
    this.#clock = clock;
    this.#withinMs = withinMs;
    this.#onLate = onLate;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** A connection was taken; it is cut unless `arrived` comes in time. */
  add(socket: Socket): void {
    if (socket.remoteAddress === undefined) {
      socket.destroy(); // reset already
      return;
    }
    const key = peerKey(socket);
    this.#forget(key);
    const timer = this.#clock.setTimer(this.#withinMs, () => {
      this.#onLate();
      socket.destroy();
    });
    this.#waiting.set(key, { socket, timer });
    socket.once('close', () => {
      timer.cancel();
      if (this.#waiting.get(key)?.socket === socket) this.#waiting.delete(key);
    });
  }

  /** The connection of this peer is what it is to be. */
  arrived(peer: Peer): void {
    this.#forget(peerKey(peer));
  }

  destroyAll(): void {
    for (const { socket } of this.#waiting.values()) socket.destroy();
  }

  #forget(key: string): void {
    this.#waiting.get(key)?.timer.cancel();
    this.#waiting.delete(key);
  }
}

function peerKey({ remoteAddress, remotePort }: Peer): string {
  return `${remoteAddress}/${remotePort}`;
}
