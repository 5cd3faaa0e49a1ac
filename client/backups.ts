import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BackupService,
  BeginRestoreRequestSchema,
  BeginSaveRequestSchema,
  type BeginSaveResponse,
  CompleteRestoreRequestSchema,
  type PartitionEnd,
  RestoreRowsRequestSchema,
  SavePartitionRequestSchema,
  type SavePartitionResponse,
} from '@holdfast/proto/cluster/v1/backup';
import { sleep } from './clock.ts';
import { blamesEndpoint, cancelled, clientClosed, type ClientCore } from './core.ts';
import { HoldfastError } from './error.ts';
import { mayRetry, retryDelayMs } from './retry.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

/** A partition has to be read within this time. */
const PARTITION_MS = 300_000;
/** So long a partition is begun anew after its first failure, unless the caller says otherwise. */
const RETRY_MS = 30_000;
/** For a batch of rows to be written, with a change of the leader in between. */
const ROWS_MS = 30_000;
/** For all partitions of a keyspace to be closed. */
const COMPLETE_MS = 60_000;

/** Who takes a partition's copy. */
export interface PartitionSink {
  /** It begins; what was taken of it before, if anything, is void. */
  onBegin(): Promise<void>;
  /** A part. */
  onPart(part: SavePartitionResponse): Promise<void>;
}

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

/** Copies keyspaces out of the cluster and into it: what `holdfast backup` is made of. */
export class Backups {
  readonly #core: ClientCore;

  /** @internal */
  constructor(core: ClientCore) {
    this.#core = core;
  }

  /** What is to be copied; no names: all keyspaces. Errors: KEYSPACE_UNKNOWN, KEYSPACE_RESTORING. */
  beginSave(keyspaces: readonly string[], options: UnaryOptions = {}): Promise<BeginSaveResponse> {
    const request = create(BeginSaveRequestSchema, { keyspaces: [...keyspaces] });
    return callUnary(this.#core, BackupService.method.beginSave, request, options);
  }

  /**
   * Copies a partition as of one moment; when that breaks, as of another one, for `timeoutMs`
   * after the first failure (default 30 s). Errors: KEYSPACE_UNKNOWN, DEADLINE_EXCEEDED when it
   * takes longer than 5 minutes.
   */
  async savePartition(
    init: Init<typeof SavePartitionRequestSchema>,
    sink: PartitionSink,
    { signal, timeoutMs = RETRY_MS }: { signal: AbortSignal; timeoutMs?: number | undefined },
  ): Promise<PartitionEnd> {
    const { clock, endpoints, random } = this.#core;
    const request = create(SavePartitionRequestSchema, init);
    let endMs: number | undefined;
    for (let attempts = 1; ; attempts++) {
      if (this.#core.closing.aborted) throw clientClosed();
      const endpoint = endpoints.pick();
      try {
        return await this.#attempt(endpoint, request, sink, signal);
      } catch (cause) {
        if (signal.aborted) throw cancelled(signal);
        if (!(cause instanceof HoldfastError)) throw cause; // the sink's own
        if (blamesEndpoint(cause, attempts)) endpoints.failed(endpoint);
        endMs ??= clock.monotonicMs() + timeoutMs;
        const state = { isWrite: false, sequence: 0, attempts, lost: false };
        const delayMs = retryDelayMs(cause, attempts, random);
        if (!mayRetry(cause, state) || clock.monotonicMs() + delayMs > endMs) throw cause;
        await sleep(clock, delayMs, signal).catch(() => undefined);
      }
    }
  }

  /** Creates a keyspace that is being restored. Errors: KEYSPACE_EXISTS, INVALID_FIELD. */
  async beginRestore(init: Init<typeof BeginRestoreRequestSchema>, options: UnaryOptions = {}) {
    const request = create(BeginRestoreRequestSchema, init);
    await callUnary(this.#core, BackupService.method.beginRestore, request, options);
  }

  /** Writes rows of a keyspace that is being restored. Error: RESTORE_ENDED. */
  async restoreRows(init: Init<typeof RestoreRowsRequestSchema>, signal: AbortSignal): Promise<void> {
    const request = create(RestoreRowsRequestSchema, init);
    // Written twice it is the same, so it is sent again whatever became of it.
    const options = { timeoutMs: ROWS_MS, signal };
    await callUnary(this.#core, BackupService.method.restoreRows, request, options);
  }

  /** Ends the restore of a keyspace: it can be used. Error: RESTORE_ENDED. */
  async completeRestore(keyspace: string, restoreId: Uint8Array, signal: AbortSignal): Promise<void> {
    const request = create(CompleteRestoreRequestSchema, {
      keyspace,
      restoreId: restoreId as Uint8Array<ArrayBuffer>,
    });
    const options = { timeoutMs: COMPLETE_MS, signal };
    await callUnary(this.#core, BackupService.method.completeRestore, request, options);
  }

  async #attempt(
    endpoint: string,
    request: ReturnType<typeof create<typeof SavePartitionRequestSchema>>,
    sink: PartitionSink,
    signal: AbortSignal,
  ): Promise<PartitionEnd> {
    const { transport, endpoints } = this.#core;
    await sink.onBegin();
    const options = { timeoutMs: PARTITION_MS, signal };
    let end: PartitionEnd | undefined;
    for await (const part of transport.serverStream(
      endpoint,
      BackupService.method.savePartition,
      request,
      options,
    )) {
      endpoints.answered(endpoint);
      await sink.onPart(part);
      end = part.end;
    }
    if (end !== undefined) return end;
    const message = `${endpoint}: the copy of a partition broke off`;
    throw new HoldfastError({ reason: 'UNAVAILABLE', message });
  }
}
