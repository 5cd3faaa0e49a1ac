/**
 * The connections of the HTTP port and what each is answering, so that a stopping node
 * can close at once those that wait for nothing, and others when they are done.
 * `server.closeIdleConnections` spares connections that never sent a request.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export class HttpConnections {
  readonly #answers = new Map<Socket, Set<ServerResponse>>();
  #stopping = false;

  get size(): number {
    return this.#answers.size;
  }

  add(socket: Socket): void {
    this.#answers.set(socket, new Set());
    socket.once('close', () => this.#answers.delete(socket));
  }

  /**
   * Resolves when the requests that came before on this connection are answered. Pipelined
   * requests take effect in the order sent: a read sees the writes before it.
   */
  turn(socket: Socket, response: ServerResponse): Promise<void> {
    const before = [...(this.#answers.get(socket) ?? [])]
      .filter((each) => each !== response && !each.writableEnded)
      .at(-1);
    if (before === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      before.once('finish', resolve);
      before.once('close', resolve);
    });
  }

  /** A request has arrived; it is answered when `response` closes. */
  answering(socket: Socket, response: ServerResponse): void {
    const answers = this.#answers.get(socket);
    if (answers === undefined) return;
    answers.add(response);
    if (this.#stopping) response.setHeader('Connection', 'close');
    response.once('close', () => {
      answers.delete(response);
      if (this.#stopping && answers.size === 0) socket.destroySoon();
    });
  }

  /** Whether an answer is on its way, into which nothing else may be written. */
  hasBegun(socket: Socket): boolean {
    const answers = this.#answers.get(socket) ?? [];
    return [...answers].some((response) => response.headersSent);
  }

  /** Closes what waits for nothing, and the rest as it gets done. */
  stop(): void {
    this.#stopping = true;
    for (const [socket, answers] of this.#answers) {
      if (answers.size === 0) socket.destroySoon();
      for (const response of answers) if (!response.headersSent) response.setHeader('Connection', 'close');
    }
  }

  destroyAll(): void {
    for (const socket of this.#answers.keys()) socket.destroy();
  }
}
