/**
 * One stream of `ConfigService.Watch`: takes what the caller says, in order, and tells what
 * its watches follow, one message a turn.
 *
 *  1. Nothing is held for a caller that does not read: as long as the transport has no room the
 *     watches of the stream are behind, and no request is taken.
 *  2. Each creation is answered, in order, before anything else is said of that watch.
 *  3. What a watch is told is whole revisions; one that is split ends with `more` unset.
 *  4. A watch is told nothing that came after its caller lost the permission to read it.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { WatchRequestSchema, type CreateWatch, type WatchRequest } from '@holdfast/proto/config/v1/config';
import type { ConfigEvent } from '../coordination/coordination-events.ts';
import type { Watcher, WatchSink, WatchTerms } from '../coordination/watch-hub.ts';
import { refuse } from '../kv/limits.ts';
import type { Access } from './access.ts';
import type { ByteBudget, CallContext, MessageStream } from './handler.ts';
import { asHoldfastError } from './kv-messages.ts';
import {
  encodeCancelled,
  encodeCreated,
  encodeHeartbeat,
  encodeProgress,
  encodeResponses,
  type Cancellation,
  type EventEncoder,
  type Said,
  type SaidEvents,
} from './watch-encoder.ts';
import { watchTerms } from './watch-messages.ts';
import type { ServedStream, WatchedNode } from './watch-streams.ts';
import { StreamOutlet } from './stream-outlet.ts';

/** A caller that was told nothing for so long is told that the node lives. */
export const HEARTBEAT_MS = 3_000;
/** Watches of one stream. */
export const MAX_WATCHES = 10_000;
/** How often a watch without changes is told where it is, if it asks for it. */
export const PROGRESS_MS = 10_000;
/** A caller that has read nothing for so long has its watches ended: before the transport cuts the stream. */
export const TOO_SLOW_MS = 20_000;
/** Requests that wait for their turn. */
export const MAX_WAITING_REQUESTS = 1_024;
/** For the node to know that it is up to date. */
export const READ_MS = 5_000;
/** A message is sent when it has grown to this size, before the turn ends; a watch that may be split is split at it. */
export const MESSAGE_BYTES = 1024 * 1024;
/** Changes of one revision for a watch that may not be split. */
export const MAX_UNSPLIT_BYTES = 8 * 1024 * 1024;
/** What a watch costs besides the names of what it follows. */
export const WATCH_BYTES = 512;

/** What the streams of a node share, by this contract. */
export interface EncodingNode extends WatchedNode {
  readonly encoder: EventEncoder;
}

/** One watch of the stream. */
interface Followed {
  readonly id: number;
  readonly watcher: Watcher;
  readonly terms: FollowedTerms;
  /** Bytes charged. */
  readonly charged: number;
  /** What is said of it in this turn, as far as more can be added. */
  open: SaidEvents | undefined;
  saidAtMs: number;
  isOver: boolean;
}

/** What a creation asks for. */
export interface FollowedTerms extends WatchTerms {
  /** First revision to tell; 0: what comes after now. */
  readonly startRevision: number;
  readonly withPrevious: boolean;
  readonly fragment: boolean;
  readonly progress: boolean;
}

export class WatchStream implements WatchSink, ServedStream {
  readonly #node: EncodingNode;
  readonly #stream: MessageStream;
  readonly #outlet: StreamOutlet;
  readonly #budget: ByteBudget;
  readonly #access: Access;
  readonly #onClosed: (stream: WatchStream) => void;
  readonly #watches = new Map<number, Followed>();
  readonly #byWatcher = new Map<Watcher, Followed>();
  /** Requests that wait for their turn. */
  #inbox: WatchRequest[] = [];
  #isTaking = false;
  #isPaused = false;
  #said: Said[] = [];
  #saidBytes = 0;
  #isScheduled = false;
  #saidAtMs: number;
  #isClosed = false;

  constructor(
    node: EncodingNode,
    stream: MessageStream,
    { budget, access }: Pick<CallContext, 'budget' | 'access'>,
    onClosed: (stream: WatchStream) => void,
  ) {
    this.#node = node;
    this.#stream = stream;
    this.#outlet = new StreamOutlet(stream);
    this.#budget = budget;
    this.#access = access;
    this.#onClosed = onClosed;
    this.#saidAtMs = node.now();
    stream.onMessage((message) => this.#receive(message));
    stream.onDrain(() => this.#onDrain());
    // A caller that says no more may still listen.
    stream.onEnd(() => undefined);
    stream.onClose(() => this.#close());
  }

  get watches(): number {
    return this.#watches.size;
  }

  /** Invariant 1. */
  get hasRoom(): boolean {
    return !this.#outlet.isBlocked && !this.#isClosed;
  }

  take(watcher: Watcher, revision: number, events: readonly ConfigEvent[]): void {
    const followed = this.#byWatcher.get(watcher);
    if (followed === undefined || followed.isOver) return;
    const { withPrevious, fragment } = followed.terms;
    const { encoder, previous } = this.#node;
    let bytes = 0;
    const fields = events.map((event) => {
      const field = encoder.field(event, withPrevious ? previous : undefined);
      bytes += field.byteLength;
      return field;
    });
    followed.saidAtMs = this.#node.now();
    if (bytes > MESSAGE_BYTES && fragment) this.#split(followed, revision, fields);
    else if (bytes > MAX_UNSPLIT_BYTES) this.#endLarge(followed, revision, bytes);
    else this.#add(followed, revision, fields, bytes);
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    const followed = this.#byWatcher.get(watcher);
    if (followed === undefined) return;
    this.#forget(followed);
    const error = compacted(watcher.next, compactRevision);
    this.#cancel(followed.id, { error, compactRevision, nextRevision: watcher.next });
  }

  /** Permissions have changed: ends the watches that their caller may not have any more. Invariant 4. */
  onPermissions(): void {
    for (const followed of this.#watches.values()) {
      const error = this.#lost(followed);
      if (error === undefined) continue;
      const nextRevision = this.#node.hub.position(followed.watcher) + 1;
      this.#drop(followed);
      this.#cancel(followed.id, { error, nextRevision });
    }
  }

  #lost({ terms }: Followed): HoldfastError | undefined {
    try {
      this.#access.keepKeys('read', () => terms.span);
      return undefined;
    } catch (error) {
      return asHoldfastError(error);
    }
  }

  /** Called about every second. */
  tick(nowMs: number): void {
    const unreadMs = this.#outlet.unreadMs(nowMs);
    if (unreadMs >= TOO_SLOW_MS) return this.#endSlow(unreadMs);
    if (this.#outlet.isBlocked) return;
    for (const followed of this.#watches.values())
      if (followed.terms.progress && nowMs - followed.saidAtMs >= PROGRESS_MS) {
        followed.saidAtMs = nowMs;
        this.#say(encodeProgress(followed.id, this.#node.hub.position(followed.watcher)));
      }
    if (nowMs - this.#saidAtMs >= HEARTBEAT_MS && this.#said.length === 0) this.#say(encodeHeartbeat());
  }

  /** Ends the stream. */
  end(error: HoldfastError): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#stream.end(error);
    this.#close();
  }

  #receive(message: Buffer): void {
    this.#inbox.push(decode(message));
    if (this.#inbox.length >= MAX_WAITING_REQUESTS && !this.#isPaused) {
      this.#isPaused = true;
      this.#stream.pause();
    }
    this.#node.afterTurn(() => void this.#takeRequests());
  }

  /** Invariants 1 and 2. */
  async #takeRequests(): Promise<void> {
    if (this.#isTaking) return;
    this.#isTaking = true;
    while (this.#inbox.length > 0 && this.hasRoom) {
      const requests = this.#inbox;
      this.#inbox = [];
      const failure = await this.#upToDate(requests);
      try {
        for (const request of requests) if (!this.#isClosed) this.#takeRequest(request, failure);
      } catch (error) {
        this.end(asHoldfastError(error));
      }
      if (this.#isPaused && !this.#isClosed) {
        this.#isPaused = false;
        this.#stream.resume();
      }
    }
    this.#isTaking = false;
  }

  /** A watch that begins now must not miss what its caller knows to have been acknowledged. */
  async #upToDate(requests: readonly WatchRequest[]): Promise<HoldfastError | undefined> {
    if (!requests.some(({ request }) => request.case === 'create' && request.value.startRevision === 0n))
      return undefined;
    try {
      await this.#node.awaitRead(this.#node.now() + READ_MS);
      return undefined;
    } catch (error) {
      return asHoldfastError(error);
    }
  }

  #takeRequest({ request }: WatchRequest, failure: HoldfastError | undefined): void {
    switch (request.case) {
      case 'create':
        return this.#create(request.value, failure);
      case 'cancel':
        return this.#endAsked(Number(request.value.watchId));
      case 'progress':
        return this.#tellProgress();
      default:
        throw refuse('INVALID_FIELD', 'request', 'a WatchRequest is empty. The stream is over.');
    }
  }

  #create(request: CreateWatch, failure: HoldfastError | undefined): void {
    const id = Number(request.watchId);
    if (!Number.isSafeInteger(id) || this.#watches.has(id)) throw badId(request.watchId);
    try {
      if (this.#watches.size >= MAX_WATCHES) throw tooMany();
      const terms = watchTerms(request);
      this.#access.requireKeys('read', () => terms.span);
      if (failure !== undefined && terms.startRevision === 0) throw failure;
      this.#begin(id, terms);
    } catch (error) {
      this.#cancel(id, { error: asHoldfastError(error), nextRevision: Number(request.startRevision) });
    }
  }

  #begin(id: number, terms: FollowedTerms): void {
    const { hub, now } = this.#node;
    const charged = WATCH_BYTES + 2 * (terms.span.start.length + (terms.span.end?.length ?? 0));
    if (!this.#budget.tryTake(charged)) throw this.#budget.refusal();
    const { revision } = hub;
    const next = terms.startRevision === 0 ? revision + 1 : terms.startRevision;
    const watcher = hub.add(terms, next, this);
    if (watcher === undefined) {
      this.#budget.give(charged);
      const { compactRevision } = hub;
      const error = compacted(next, compactRevision);
      return this.#cancel(id, { error, compactRevision, nextRevision: next });
    }
    const followed = { id, watcher, terms, charged, open: undefined, saidAtMs: now(), isOver: false };
    this.#watches.set(id, followed);
    this.#byWatcher.set(watcher, followed);
    this.#say(encodeCreated(id, revision, HEARTBEAT_MS));
  }

  #endAsked(id: number): void {
    const followed = this.#watches.get(id);
    if (followed === undefined) return;
    const nextRevision = this.#node.hub.position(followed.watcher) + 1;
    this.#drop(followed);
    this.#cancel(id, { nextRevision });
  }

  #tellProgress(): void {
    const { hub } = this.#node;
    let { revision } = hub;
    for (const { watcher } of this.#watches.values()) revision = Math.min(revision, hub.position(watcher));
    this.#say(encodeProgress(undefined, revision));
  }

  #add(followed: Followed, revision: number, fields: Uint8Array[], bytes: number): void {
    const { open } = followed;
    if (open !== undefined && open.bytes + bytes <= MESSAGE_BYTES) {
      for (const field of fields) open.fields.push(field);
      open.bytes += bytes;
      open.revision = revision;
      this.#grow(bytes);
      return;
    }
    followed.open = { watchId: followed.id, fields, bytes, revision, more: false };
    this.#say(followed.open, bytes);
  }

  /** Invariant 3. */
  #split(followed: Followed, revision: number, fields: readonly Uint8Array[]): void {
    followed.open = undefined;
    let part: Uint8Array[] = [];
    let bytes = 0;
    for (const field of fields) {
      if (bytes > 0 && bytes + field.byteLength > MESSAGE_BYTES) {
        this.#say({ watchId: followed.id, fields: part, bytes, revision, more: true }, bytes);
        part = [];
        bytes = 0;
      }
      part.push(field);
      bytes += field.byteLength;
    }
    this.#say({ watchId: followed.id, fields: part, bytes, revision, more: false }, bytes);
  }

  #endLarge(followed: Followed, revision: number, bytes: number): void {
    followed.isOver = true; // it is still being told: gone at the end of the turn
    this.#node.afterTurn(() => {
      if (this.#isClosed || this.#watches.get(followed.id) !== followed) return;
      this.#drop(followed);
      this.#cancel(followed.id, { error: tooLarge(revision, bytes), nextRevision: revision });
    });
  }

  #endSlow(silentMs: number): void {
    const error = tooSlow(silentMs);
    for (const { id, watcher } of this.#watches.values())
      this.#cancel(id, { error, nextRevision: this.#node.hub.position(watcher) + 1 });
    this.end(error);
  }

  #cancel(id: number, cancellation: Cancellation): void {
    this.#say(encodeCancelled(id, cancellation));
  }

  #say(said: Said, bytes = 64): void {
    this.#said.push(said);
    this.#grow(bytes);
  }

  #grow(bytes: number): void {
    this.#saidBytes += bytes;
    if (this.#saidBytes >= MESSAGE_BYTES) this.#flush();
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#node.afterTurn(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const said = this.#said;
    if (said.length === 0 || this.#isClosed) return;
    this.#said = [];
    this.#saidBytes = 0;
    for (const response of said) {
      if (response instanceof Uint8Array) continue;
      const followed = this.#watches.get(response.watchId);
      if (followed !== undefined) followed.open = undefined;
    }
    this.#saidAtMs = this.#node.now();
    this.#outlet.send(encodeResponses(said));
  }

  #onDrain(): void {
    if (this.#isClosed) return;
    this.#outlet.drained();
    this.#node.hub.resume(this);
    void this.#takeRequests();
  }

  #drop(followed: Followed): void {
    this.#node.hub.remove(followed.watcher);
    this.#forget(followed);
  }

  #forget(followed: Followed): void {
    followed.isOver = true;
    this.#watches.delete(followed.id);
    this.#byWatcher.delete(followed.watcher);
    this.#budget.give(followed.charged);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#inbox = [];
    this.#said = [];
    for (const followed of this.#watches.values()) this.#drop(followed);
    this.#onClosed(this);
  }
}

/** Decodes a message; what is not one ends the stream, for nobody can say what it was to begin. */
function decode(bytes: Buffer): WatchRequest {
  try {
    return fromBinary(WatchRequestSchema, bytes);
  } catch (cause) {
    const message = `the ${bytes.length} bytes of the message are not a holdfast.config.v1.WatchRequest. The stream is over.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, cause });
  }
}

function badId(id: bigint): HoldfastError {
  if (id > BigInt(Number.MAX_SAFE_INTEGER)) {
    const limit = `0..${Number.MAX_SAFE_INTEGER}`;
    const message = `watch_id is ${id}, allowed is ${limit}. The stream is over.`;
    return refuse('INVALID_FIELD', 'watch_id', message, String(id), limit);
  }
  const message = `watch ${id} is in use on this stream. The stream is over: what was meant for which watch could not be told.`;
  return refuse('WATCH_ID_IN_USE', 'watch_id', message, String(id));
}

function tooMany(): HoldfastError {
  const message = `the stream has ${MAX_WATCHES} watches, which is as many as it may. This one was not begun; end others, or open another stream.`;
  return refuse('WATCHES_TOO_MANY', 'watch_id', message, String(MAX_WATCHES + 1), String(MAX_WATCHES));
}

function compacted(revision: number, compactRevision: number): HoldfastError {
  const message = `changes from revision ${revision} on are asked for, and those before ${compactRevision} are compacted. Read what there is, and watch from the revision after it.`;
  return refuse('REVISION_COMPACTED', 'start_revision', message, String(revision), String(compactRevision));
}

function tooLarge(revision: number, bytes: number): HoldfastError {
  const message = `the changes of revision ${revision} are ${bytes} bytes for this watch, limit ${MAX_UNSPLIT_BYTES}. Watch with fragment.`;
  return refuse('ANSWER_TOO_LARGE', 'fragment', message, String(bytes), String(MAX_UNSPLIT_BYTES));
}

function tooSlow(silentMs: number): HoldfastError {
  const message = `nothing was read from this stream for ${Math.round(silentMs)} ms, limit ${TOO_SLOW_MS}: its watches are over. Go on at the revision that each was told.`;
  return new HoldfastError({
    reason: 'WATCH_TOO_SLOW',
    message,
    actual: String(Math.round(silentMs)),
    limit: String(TOO_SLOW_MS),
  });
}
