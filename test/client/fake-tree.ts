import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { StreamConnection, StreamEvents } from '@holdfast/client';
import { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  type CreateWatch,
  EventType,
  WatchRequestSchema,
  WatchResponseSchema,
} from '@holdfast/proto/config/v1/config';

export interface Change {
  readonly revision: bigint;
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly value: string;
}

/** The tree that all fake nodes have. */
export class FakeTree {
  revision = 1n;
  /** Below it nothing can be watched. */
  compactRevision = 0n;
  readonly changes: Change[] = [];

  /** Changes keys at one revision. */
  change(changes: readonly Omit<Change, 'revision'>[]): bigint {
    this.revision += 1n;
    for (const change of changes) this.changes.push({ ...change, revision: this.revision });
    return this.revision;
  }

  put(key: string, value: string): bigint {
    return this.change([{ type: 'put', key, value }]);
  }

  /** Changes of the first revision from `from` on that has any for a prefix. */
  next(from: bigint, prefix: string): Change[] {
    const first = this.changes.find(({ revision, key }) => revision >= from && key.startsWith(prefix));
    return this.changes.filter(({ revision, key }) => revision === first?.revision && key.startsWith(prefix));
  }
}

interface ServedWatch {
  readonly id: bigint;
  readonly create: CreateWatch;
  readonly prefix: string;
  next: bigint;
  /** Of a revision that was begun. */
  rest: Change[];
}

/** A watch stream as its node sees it: it does nothing by itself. */
export class FakeWatchStream implements StreamConnection {
  readonly endpoint: string;
  readonly requests: MessageInitShape<typeof WatchRequestSchema>['request'][] = [];
  readonly watches = new Map<bigint, ServedWatch>();
  heartbeatMs = 3_000;
  isOver = false;
  readonly #tree: FakeTree;
  readonly #events: StreamEvents;
  #owedProgress = 0;
  #created: ServedWatch[] = [];

  constructor(endpoint: string, tree: FakeTree, events: StreamEvents) {
    this.endpoint = endpoint;
    this.#tree = tree;
    this.#events = events;
  }

  open(): void {
    if (!this.isOver) this.#events.onOpen();
  }

  send(message: Uint8Array): boolean {
    const { request } = fromBinary(WatchRequestSchema, message);
    this.requests.push(request);
    if (request.case === 'create') this.#create(request.value);
    else if (request.case === 'cancel') this.watches.delete(request.value.watchId);
    else if (request.case === 'progress') this.#owedProgress += 1;
    return true;
  }

  halfClose(): void {}

  cancel(): void {
    this.isOver = true;
  }

  /** The connection breaks. */
  break(reason = 'UNAVAILABLE'): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#events.onEnd(new HoldfastError({ reason, message: 'gone' }));
  }

  /** Says one thing, if there is one to say. `fragments`: a revision in parts. False: there was none. */
  step(fragments = false): boolean {
    if (this.isOver) return false;
    const created = this.#created.shift();
    if (created !== undefined) {
      if (!this.watches.has(created.id)) return true;
      const { revision } = this.#tree;
      const { heartbeatMs } = this;
      this.say({ response: { case: 'created', value: { watchId: created.id, revision, heartbeatMs } } });
      return true;
    }
    for (const watch of this.watches.values()) if (this.#tell(watch, fragments)) return true;
    if (this.#owedProgress === 0) return false;
    this.#owedProgress -= 1;
    this.say({ response: { case: 'progress', value: { all: true, revision: this.#tree.revision } } });
    return true;
  }

  /** Says everything that there is to say. */
  settle(): void {
    for (let steps = 0; this.step() && steps < 10_000; steps += 1);
  }

  heartbeat(): void {
    this.say({ response: { case: 'heartbeat', value: {} } });
  }

  /** Tells the last revision of a watch once more. */
  repeat(): void {
    for (const { id, next, prefix, rest } of this.watches.values()) {
      const last = this.#tree.changes.findLast(
        ({ revision, key }) => revision < next && key.startsWith(prefix),
      );
      if (last === undefined || rest.length > 0) continue;
      this.#sayEvents(id, this.#tree.next(last.revision, prefix), last.revision, false);
    }
  }

  say(response: MessageInitShape<typeof WatchResponseSchema>): void {
    if (!this.isOver)
      this.#events.onMessage(toBinary(WatchResponseSchema, create(WatchResponseSchema, response)));
  }

  cancelWatch(id: bigint, reason: string): void {
    this.watches.delete(id);
    const error = errorToMessage(new HoldfastError({ reason, message: 'no' }));
    this.say({ response: { case: 'cancelled', value: { watchId: id, error } } });
  }

  #create(value: CreateWatch): void {
    const { selection } = value.selection!;
    const { value: bytes } = selection;
    const prefix = bytes instanceof Uint8Array ? Buffer.from(bytes).toString() : '';
    const next = value.startRevision === 0n ? this.#tree.revision + 1n : value.startRevision;
    const watch = { id: value.watchId, create: value, prefix, next, rest: [] };
    this.watches.set(value.watchId, watch);
    this.#created.push(watch);
  }

  #tell(watch: ServedWatch, fragments: boolean): boolean {
    if (this.#created.includes(watch)) return false;
    if (watch.rest.length === 0) {
      if (watch.next < this.#tree.compactRevision) {
        this.watches.delete(watch.id);
        const error = errorToMessage(new HoldfastError({ reason: 'REVISION_COMPACTED', message: 'gone' }));
        const { compactRevision } = this.#tree;
        this.say({ response: { case: 'cancelled', value: { watchId: watch.id, error, compactRevision } } });
        return true;
      }
      watch.rest = this.#tree.next(watch.next, watch.prefix);
      if (watch.rest.length === 0) return false;
    }
    const part = fragments ? watch.rest.slice(0, 1) : watch.rest;
    watch.rest = watch.rest.slice(part.length);
    const { revision } = part[0]!;
    const more = watch.rest.length > 0;
    if (!more) watch.next = revision + 1n;
    this.#sayEvents(watch.id, part, revision, more);
    return true;
  }

  #sayEvents(watchId: bigint, changes: readonly Change[], revision: bigint, more: boolean): void {
    const events = changes.map(({ type, key, value }) => ({
      type: type === 'put' ? EventType.PUT : EventType.DELETE,
      entry: { key: Buffer.from(key), value: Buffer.from(value), modRevision: revision, version: 1n },
    }));
    this.say({ response: { case: 'events', value: { watchId, events, revision, more } } });
  }
}
