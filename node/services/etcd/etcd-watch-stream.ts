/**
 * One stream of `etcdserverpb.Watch`: takes what the caller says, in order, and tells what its
 * watches follow, for each watch one message a turn.
 *
 *  1. Nothing is held for a caller that does not read: as long as the transport has no room the
 *     watches of the stream are behind, and no request is taken.
 *  2. Each creation is answered, in order, before anything else is said of that watch.
 *  3. What a watch is told is whole revisions; one that is split ends without `fragment`.
 *  4. A watch is told nothing that came after its caller lost the permission to read it.
 *  5. The revision of a header is one up to which everything was told of whom it is said to, be
 *     it of one watch or of all.
 */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  WatchRequestSchema,
  WatchResponseSchema,
  type WatchCreateRequest,
  type WatchRequest,
} from '@holdfast/proto/etcd/rpc';
import type { ConfigEvent } from '../../coordination/coordination-events.ts';
import type { Watcher, WatchSink } from '../../coordination/watch-hub.ts';
import type { Access } from '../access.ts';
import type { ByteBudget, CallContext, MessageStream } from '../handler.ts';
import { StreamOutlet } from '../stream-outlet.ts';
import {
  MAX_UNSPLIT_BYTES,
  MAX_WAITING_REQUESTS,
  MAX_WATCHES,
  MESSAGE_BYTES,
  PROGRESS_MS,
  READ_MS,
  TOO_SLOW_MS,
  WATCH_BYTES,
  type FollowedTerms,
} from '../watch-stream.ts';
import type { ServedStream, WatchedNode } from '../watch-streams.ts';
import { EtcdError, toldAsEtcd } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';
import { watchField, type EtcdWatchEncoder, type ToldEvents } from './etcd-watch-encoder.ts';
import { NO_WATCH, WatchNotBegun, cancelReason, duplicateId, etcdWatchTerms } from './etcd-watch-messages.ts';

/** What the streams of a node share. */
export interface EtcdWatchedNode extends WatchedNode {
  readonly encoder: EtcdWatchEncoder;
  readonly header: HeaderOf;
}

/** One watch of the stream. */
interface Followed {
  readonly id: bigint;
  readonly watcher: Watcher;
  readonly terms: FollowedTerms;
  /** Its number, encoded. */
  readonly field: Uint8Array;
  /** Bytes charged. */
  readonly charged: number;
  /** What is said of it in this turn, as far as more can be added. */
  open: ToldEvents | undefined;
  toldAtMs: number;
  isOver: boolean;
}

type Response = MessageInitShape<typeof WatchResponseSchema>;

export class EtcdWatchStream implements WatchSink, ServedStream {
  readonly #node: EtcdWatchedNode;
  readonly #stream: MessageStream;
  readonly #outlet: StreamOutlet;
  readonly #budget: ByteBudget;
  readonly #access: Access;
  readonly #onClosed: (stream: EtcdWatchStream) => void;
  readonly #watches = new Map<bigint, Followed>();
  readonly #byWatcher = new Map<Watcher, Followed>();
  /** The number of the next watch whose caller does not choose one. */
  #nextId = 0n;
  /** Requests that wait for their turn. */
  #inbox: WatchRequest[] = [];
  #isTaking = false;
  #isPaused = false;
  /** What is to be said at the end of the turn. */
  #told: (ToldEvents | Uint8Array)[] = [];
  #toldBytes = 0;
  /** Those of whom something is said to which more can be added. */
  readonly #open: Followed[] = [];
  #isScheduled = false;
  #isClosed = false;

  constructor(
    node: EtcdWatchedNode,
    stream: MessageStream,
    { budget, access }: Pick<CallContext, 'budget' | 'access'>,
    onClosed: (stream: EtcdWatchStream) => void,
  ) {
    this.#node = node;
    this.#stream = stream;
    this.#outlet = new StreamOutlet(stream);
    this.#budget = budget;
    this.#access = access;
    this.#onClosed = onClosed;
    stream.onMessage((message) => this.#receive(message));
    stream.onDrain(() => this.#onDrain());
    // A caller that says no more may still listen.
    stream.onEnd(() => undefined);
    stream.onClose(() => this.#close());
  }

  /** Invariant 1. */
  get hasRoom(): boolean {
    return !this.#outlet.isBlocked && !this.#isClosed;
  }

  take(watcher: Watcher, revision: number, events: readonly ConfigEvent[]): void {
    const followed = this.#byWatcher.get(watcher);
    if (followed === undefined || followed.isOver) return;
    const { withPrevious, fragment } = followed.terms;
    const { encoder, previous, now } = this.#node;
    let bytes = 0;
    const fields = events.map((event) => {
      const field = encoder.field(event, withPrevious ? previous : undefined);
      bytes += field.byteLength;
      return field;
    });
    followed.toldAtMs = now();
    if (bytes > MESSAGE_BYTES && fragment) this.#split(followed, revision, fields);
    else if (bytes > MAX_UNSPLIT_BYTES) this.#endLarge(followed, revision, bytes);
    else this.#add(followed, revision, fields, bytes);
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    const followed = this.#byWatcher.get(watcher);
    if (followed === undefined) return;
    this.#forget(followed);
    this.#sayCompacted(followed.id, compactRevision);
  }

  /** Permissions have changed: ends the watches that their caller may not have any more. Invariant 4. */
  onPermissions(): void {
    for (const followed of this.#watches.values())
      try {
        this.#access.keepKeys('read', () => followed.terms.span);
      } catch (error) {
        this.#drop(followed);
        this.#cancel(followed.id, error);
      }
  }

  tick(nowMs: number): void {
    const unreadMs = this.#outlet.unreadMs(nowMs);
    if (unreadMs >= TOO_SLOW_MS) return this.end(tooSlow(unreadMs));
    if (this.#outlet.isBlocked) return;
    for (const followed of this.#watches.values()) {
      if (!followed.terms.progress || nowMs - followed.toldAtMs < PROGRESS_MS) continue;
      if (!followed.watcher.isAtEnd) continue;
      followed.toldAtMs = nowMs;
      this.#say({
        header: this.#node.header(this.#node.hub.position(followed.watcher)),
        watchId: followed.id,
      });
    }
  }

  /** Ends the stream. */
  end(error: unknown): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#stream.end(toldAsEtcd(error) as Error);
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
      try {
        await this.#upToDate(requests);
        for (const request of requests) if (!this.#isClosed) this.#takeRequest(request);
      } catch (error) {
        this.end(error);
      }
      if (this.#isPaused && !this.#isClosed) {
        this.#isPaused = false;
        this.#stream.resume();
      }
    }
    this.#isTaking = false;
  }

  /** A watch that begins now must not miss what its caller knows to have been acknowledged. */
  async #upToDate(requests: readonly WatchRequest[]): Promise<void> {
    if (requests.some(({ requestUnion }) => beginsNow(requestUnion)))
      await this.#node.awaitRead(this.#node.now() + READ_MS);
  }

  /** An empty request is none, as with etcd. */
  #takeRequest({ requestUnion: request }: WatchRequest): void {
    if (request.case === 'createRequest') this.#create(request.value);
    else if (request.case === 'cancelRequest') this.#endAsked(request.value.watchId);
    else if (request.case === 'progressRequest') this.#tellProgress();
  }

  #create(request: WatchCreateRequest): void {
    try {
      const terms = etcdWatchTerms(request);
      this.#access.requireKeys('read', () => terms.span);
      if (request.watchId !== 0n && this.#watches.has(request.watchId)) throw duplicateId();
      if (this.#watches.size >= MAX_WATCHES) throw tooMany();
      this.#begin(request.watchId === 0n ? this.#chooseId() : request.watchId, terms);
    } catch (error) {
      if (!(error instanceof HoldfastError || error instanceof WatchNotBegun)) throw error; // a defect
      const header = this.#node.header();
      const reason = cancelReason(error);
      this.#say({ header, watchId: NO_WATCH, created: true, canceled: true, cancelReason: reason });
    }
  }

  #chooseId(): bigint {
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #begin(id: bigint, terms: FollowedTerms): void {
    const { hub, now, header } = this.#node;
    const charged = WATCH_BYTES + 2 * (terms.span.start.length + (terms.span.end?.length ?? 0));
    if (!this.#budget.tryTake(charged)) throw this.#budget.refusal();
    const { revision, compactRevision } = hub;
    const next = terms.startRevision === 0 ? revision + 1 : terms.startRevision;
    this.#say({ header: header(revision), watchId: id, created: true });
    const watcher = hub.add(terms, next, this);
    if (watcher === undefined) {
      this.#budget.give(charged);
      return this.#sayCompacted(id, compactRevision);
    }
    const field = watchField(id);
    const followed = { id, watcher, terms, field, charged, open: undefined, toldAtMs: now(), isOver: false };
    this.#watches.set(id, followed);
    this.#byWatcher.set(watcher, followed);
  }

  /** Of a watch that is none nothing is said. */
  #endAsked(id: bigint): void {
    const followed = this.#watches.get(id);
    if (followed === undefined) return;
    const revision = this.#node.hub.position(followed.watcher);
    this.#drop(followed);
    this.#say({ header: this.#node.header(revision), watchId: id, canceled: true });
  }

  /** Invariant 5. */
  #tellProgress(): void {
    let { revision } = this.#node.hub;
    for (const followed of this.#watches.values())
      revision = Math.min(revision, this.#node.hub.position(followed.watcher));
    this.#say({ header: this.#node.header(revision), watchId: NO_WATCH });
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
    followed.open = { watch: followed.field, fields, bytes, revision, fragment: false };
    this.#open.push(followed);
    this.#tell(followed.open, bytes);
  }

  /** Invariant 3. */
  #split(followed: Followed, revision: number, fields: readonly Uint8Array[]): void {
    followed.open = undefined;
    const watch = followed.field;
    let part: Uint8Array[] = [];
    let bytes = 0;
    for (const field of fields) {
      if (bytes > 0 && bytes + field.byteLength > MESSAGE_BYTES) {
        this.#tell({ watch, fields: part, bytes, revision, fragment: true }, bytes);
        part = [];
        bytes = 0;
      }
      part.push(field);
      bytes += field.byteLength;
    }
    this.#tell({ watch, fields: part, bytes, revision, fragment: false }, bytes);
  }

  #endLarge(followed: Followed, revision: number, bytes: number): void {
    followed.isOver = true; // it is still being told: gone at the end of the turn
    this.#node.afterTurn(() => {
      if (this.#isClosed || this.#watches.get(followed.id) !== followed) return;
      this.#drop(followed);
      this.#cancel(followed.id, tooLarge(revision, bytes));
    });
  }

  #sayCompacted(watchId: bigint, compactRevision: number): void {
    const compacted = { watchId, canceled: true, compactRevision: BigInt(compactRevision) };
    this.#say({ header: this.#node.header(0), ...compacted }); // of no revision, as etcd has it
  }

  #cancel(watchId: bigint, error: unknown): void {
    const reason = cancelReason(error);
    this.#say({ header: this.#node.header(), watchId, canceled: true, cancelReason: reason });
  }

  #say(response: Response): void {
    this.#tell(toBinary(WatchResponseSchema, create(WatchResponseSchema, response)), 64);
  }

  #tell(told: ToldEvents | Uint8Array, bytes: number): void {
    this.#told.push(told);
    this.#grow(bytes);
  }

  #grow(bytes: number): void {
    this.#toldBytes += bytes;
    if (this.#toldBytes >= MESSAGE_BYTES) this.#flush();
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#node.afterTurn(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const told = this.#told;
    if (told.length === 0 || this.#isClosed) return;
    this.#told = [];
    this.#toldBytes = 0;
    for (const followed of this.#open.splice(0)) followed.open = undefined;
    for (const one of told)
      this.#outlet.send(one instanceof Uint8Array ? one : this.#node.encoder.events(one));
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
    this.#told = [];
    for (const followed of this.#watches.values()) this.#drop(followed);
    this.#onClosed(this);
  }
}

function beginsNow(request: WatchRequest['requestUnion']): boolean {
  return request.case === 'createRequest' && request.value.startRevision <= 0n;
}

/** Decodes a message; what is not one ends the stream, for nobody can say what it was to begin. */
function decode(bytes: Buffer): WatchRequest {
  try {
    return fromBinary(WatchRequestSchema, bytes);
  } catch (cause) {
    const message = `the ${bytes.length} bytes of the message are not an etcdserverpb.WatchRequest. The stream is over.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, cause });
  }
}

function tooMany(): EtcdError {
  const text = `a stream has at most ${MAX_WATCHES} watches`;
  return new EtcdError({ reason: 'WATCHES_TOO_MANY', message: text }, 'RESOURCE_EXHAUSTED', text);
}

function tooLarge(revision: number, bytes: number): EtcdError {
  const text = `the changes of revision ${revision} are ${bytes} bytes, limit ${MAX_UNSPLIT_BYTES} without fragment`;
  return new EtcdError({ reason: 'ANSWER_TOO_LARGE', message: text }, 'RESOURCE_EXHAUSTED', text);
}

/** Clients open the stream anew, and go on where they were. */
function tooSlow(unreadMs: number): EtcdError {
  const text = `nothing was read from the watch stream for ${Math.round(unreadMs)} ms, limit ${TOO_SLOW_MS}`;
  return new EtcdError({ reason: 'WATCH_TOO_SLOW', message: text }, 'UNAVAILABLE', text);
}
