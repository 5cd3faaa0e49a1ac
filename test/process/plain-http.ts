/** Requests over plain HTTP at whichever node answers, as a script with curl would send them. */
import type { RealCluster } from './real-cluster.ts';

const ATTEMPT_MS = 15_000;
const PAUSE_MS = 50;
const GIVE_UP_MS = 60_000;

/** What came back. */
export interface PlainAnswer {
  readonly status: number;
  readonly text: string;
  /** Revision of the last change, of an answer that has one. */
  readonly etag: string;
  /** Of an error. */
  readonly reason: string | undefined;
  /** It was sent before and may have been done then. */
  readonly isRepeated: boolean;
}

export class PlainHttp {
  readonly #cluster: RealCluster;
  #at: number;
  /** Requests that were sent again. */
  repeats = 0;

  /** `first`: the node that is asked as long as it answers. */
  constructor(cluster: RealCluster, first: number) {
    this.#cluster = cluster;
    this.#at = first;
  }

  /** URL of the node that is asked now. */
  get url(): string {
    return this.#cluster.nodes[this.#at % this.#cluster.nodes.length]!.url;
  }

  /** Goes to the next node. */
  async turn(): Promise<void> {
    this.#at++;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }

  /** Sends until a node answers, whatever that says; an error after a minute. */
  async send(
    method: string,
    path: string,
    { body, headers }: { body?: string; headers?: Record<string, string> } = {},
  ): Promise<PlainAnswer> {
    const endMs = performance.now() + GIVE_UP_MS;
    for (let isRepeated = false; ; isRepeated = true) {
      let last: string;
      try {
        const signal = AbortSignal.timeout(ATTEMPT_MS);
        const more = { ...(body !== undefined && { body }), ...(headers !== undefined && { headers }) };
        const answer = await fetch(`${this.url}${path}`, { method, signal, ...more });
        const text = await answer.text();
        last = `${answer.status} ${text}`;
        const etag = answer.headers.get('etag')?.replaceAll('"', '') ?? '';
        const reason = answer.ok ? undefined : reasonOf(text);
        const isAnswer = answer.status < 500 || reason === 'LOCK_TIMED_OUT';
        if (isAnswer) return { status: answer.status, text, etag, reason, isRepeated };
      } catch (error) {
        last = String(error);
      }
      if (performance.now() > endMs) throw new Error(`${method} ${path}: ${last}`);
      this.repeats++;
      await this.turn();
    }
  }

  /** As `send`, and it must be done. Gives what the JSON of the answer says. */
  async ask<T>(method: string, path: string, body?: string): Promise<T> {
    const answer = await this.send(method, path, body === undefined ? {} : { body });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return JSON.parse(answer.text) as T;
  }

  /** As `send`; `reason` is what a repeat is told when the first one was done. */
  async end(path: string, reason: string): Promise<void> {
    const answer = await this.send('DELETE', path);
    if (answer.status < 300 || (answer.isRepeated && answer.reason === reason)) return;
    throw new Error(`DELETE ${path}: ${answer.status} ${answer.text}`);
  }
}

function reasonOf(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { error?: { reason?: string } }).error?.reason;
  } catch {
    return undefined;
  }
}
