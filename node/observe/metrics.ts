/**
 * The node's Prometheus metrics. A registry belongs to a node, not to the module, so
 * that several nodes can live in one process. Names and labels are public.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { FastHistogram, type HistogramSeries } from './fast-histogram.ts';

const LATENCY_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
const SIZE_BUCKETS = [64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];
const COUNT_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

/** Gauges with names of counters, which `promtool check metrics` rejects. The same by type stays. */
const MISNAMED = ['handles', 'requests', 'resources'].map((what) => `nodejs_active_${what}_total`);

/** A figure that is read when Prometheus asks. */
export interface GaugeSource {
  readonly name: string;
  readonly help: string;
  /** What the parts of a figure differ in; it is then read as one number for each value. */
  readonly label?: string;
  read(): number | Promise<number> | Readonly<Record<string, number>>;
}

/** A count that somebody else keeps. */
export interface CounterSource {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  read(): Iterable<readonly [labels: Readonly<Record<string, string>>, value: number]>;
}

/** A figure that rises and falls, of which there is one for each set of labels. */
export interface LabelledGaugeSource extends Omit<CounterSource, 'read'> {
  read(): ReturnType<CounterSource['read']> | Promise<ReturnType<CounterSource['read']>>;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Histogram<'transport' | 'method' | 'code'>;
  readonly #requestBytes: Counter<'transport' | 'method'>;
  readonly #responseBytes: Counter<'transport' | 'method'>;
  readonly #operations: FastHistogram;
  readonly #operationSeries = new Map<string, Map<string, HistogramSeries>>();
  readonly #logSync: Histogram;
  readonly #logRecords: Histogram;
  readonly #logBytes: Histogram;
  readonly #flush: Histogram;
  readonly #flushRows: Counter;
  readonly #applied: Counter;
  readonly #applySeconds: Counter;
  readonly #commit: Histogram;
  readonly #forwarded: Counter<'operation' | 'result'>;
  readonly #cut: Counter<'port' | 'cause'>;
  readonly #callsCut: Counter<'cause'>;
  readonly #reloads: Counter<'result'>;

  constructor() {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(name);
    this.#requests = new Histogram({
      name: 'holdfast_request_duration_seconds',
      help: 'Time to handle a call, by transport, method and gRPC status. Streams count until they end.',
      labelNames: ['transport', 'method', 'code'],
      buckets: LATENCY_BUCKETS,
      registers,
    });
    const byMethod = { labelNames: ['transport', 'method'] as const, registers };
    this.#requestBytes = new Counter({
      name: 'holdfast_request_bytes_total',
      help: 'Bytes of request messages.',
      ...byMethod,
    });
    this.#responseBytes = new Counter({
      name: 'holdfast_response_bytes_total',
      help: 'Bytes of response messages.',
      ...byMethod,
    });
    this.#operations = new FastHistogram(
      'holdfast_pipeline_operation_duration_seconds',
      'Time from the arrival of a pipeline operation to its answer, by kind and gRPC status.',
      LATENCY_BUCKETS,
      this.#registry,
    );
    this.#logSync = new Histogram({
      name: 'holdfast_log_sync_duration_seconds',
      help: 'Time to write a batch of the log to disk.',
      buckets: LATENCY_BUCKETS,
      registers,
    });
    this.#logRecords = new Histogram({
      name: 'holdfast_log_batch_records',
      help: 'Records of a batch of the log.',
      buckets: COUNT_BUCKETS,
      registers,
    });
    this.#logBytes = new Histogram({
      name: 'holdfast_log_batch_bytes',
      help: 'Bytes of a batch of the log, padding included.',
      buckets: SIZE_BUCKETS,
      registers,
    });
    this.#flush = new Histogram({
      name: 'holdfast_store_flush_duration_seconds',
      help: 'Time to write applied rows to the ordered store.',
      buckets: LATENCY_BUCKETS,
      registers,
    });
    this.#flushRows = new Counter({
      name: 'holdfast_store_flush_rows_total',
      help: 'Rows written to the ordered store.',
      registers,
    });
    this.#applied = new Counter({
      name: 'holdfast_applied_commands_total',
      help: 'Commands applied by all groups.',
      registers,
    });
    this.#applySeconds = new Counter({
      name: 'holdfast_apply_seconds_total',
      help: 'Time spent applying entries.',
      registers,
    });
    this.#commit = new Histogram({
      name: 'holdfast_commit_duration_seconds',
      help: 'Time from an entry being put into the log here to its being committed and applied, on the leader.',
      buckets: LATENCY_BUCKETS,
      registers,
    });
    this.#forwarded = new Counter({
      name: 'holdfast_forwarded_total',
      help: 'Writes, and calls to read or scan, that other nodes did for this one, by the reason of their error or OK.',
      labelNames: ['operation', 'result'],
      registers,
    });
    this.#cut = new Counter({
      name: 'holdfast_connections_cut_total',
      help: 'Connections that the node ended, by port and cause: limit, late, pings, protocol, handshake.',
      labelNames: ['port', 'cause'],
      registers,
    });
    this.#callsCut = new Counter({
      name: 'holdfast_calls_cut_total',
      help: 'Calls over gRPC that the node cut while messages were on their way, by cause: bytes, late, unread.',
      labelNames: ['cause'],
      registers,
    });
    this.#reloads = new Counter({
      name: 'holdfast_tls_reloads_total',
      help: 'Changes of the TLS files while the node ran, by result: taken, refused.',
      labelNames: ['result'],
      registers,
    });
  }

  /** Adds figures that are read when asked for. */
  addGauges(sources: readonly GaugeSource[]): void {
    for (const { name, help, label, read } of sources) {
      new Gauge({
        name,
        help,
        labelNames: label === undefined ? [] : [label],
        registers: [this.#registry],
        async collect() {
          const value = await read();
          if (typeof value === 'number') this.set(value);
          else for (const [part, number] of Object.entries(value)) this.set({ [label!]: part }, number);
        },
      });
    }
  }

  /** Adds figures of which there is one for each set of labels, read when asked for. */
  addLabelledGauges(sources: readonly LabelledGaugeSource[]): void {
    for (const { name, help, labels, read } of sources) {
      new Gauge({
        name,
        help,
        labelNames: [...labels],
        registers: [this.#registry],
        async collect() {
          this.reset();
          for (const [values, value] of await read()) this.set({ ...values }, value);
        },
      });
    }
  }

  /** Adds figures that only grow, and are read when asked for; of a `labels` source one for each set of labels. */
  addCounters(sources: readonly CounterSource[]): void {
    for (const { name, help, labels, read } of sources) {
      new Counter({
        name,
        help,
        labelNames: [...labels],
        registers: [this.#registry],
        collect() {
          this.reset();
          for (const [values, value] of read()) this.inc({ ...values }, value);
        },
      });
    }
  }

  call(call: {
    transport: string;
    method: string;
    code: string;
    durationMs: number;
    requestBytes: number;
    responseBytes: number;
  }): void {
    const { transport, method, code } = call;
    this.#requests.observe({ transport, method, code }, call.durationMs / 1_000);
    this.#requestBytes.inc({ transport, method }, call.requestBytes);
    this.#responseBytes.inc({ transport, method }, call.responseBytes);
  }

  /** On the hot path: no key is put together, nothing is made. */
  pipelineOperation(operation: string, code: string, durationMs: number): void {
    const series =
      this.#operationSeries.get(operation)?.get(code) ?? this.#newOperationSeries(operation, code);
    series.observe(durationMs / 1_000);
  }

  #newOperationSeries(operation: string, code: string): HistogramSeries {
    const byCode = this.#operationSeries.get(operation) ?? new Map<string, HistogramSeries>();
    this.#operationSeries.set(operation, byCode);
    const series = this.#operations.series({ operation, code });
    byCode.set(code, series);
    return series;
  }

  forwarded(operation: string, result: string, count: number): void {
    this.#forwarded.inc({ operation, result }, count);
  }

  connectionCut(port: string, cause: string): void {
    this.#cut.inc({ port, cause });
  }

  callCut(cause: string): void {
    this.#callsCut.inc({ cause });
  }

  certificateReload(result: 'taken' | 'refused'): void {
    this.#reloads.inc({ result });
  }

  logBatch(batch: { records: number; bytes: number; syncMs: number }): void {
    this.#logSync.observe(batch.syncMs / 1_000);
    this.#logRecords.observe(batch.records);
    this.#logBytes.observe(batch.bytes);
  }

  flush(flush: { rows: number; durationMs: number }): void {
    this.#flush.observe(flush.durationMs / 1_000);
    this.#flushRows.inc(flush.rows);
  }

  applied(_entries: number, commands: number, durationMs: number): void {
    this.#applied.inc(commands);
    this.#applySeconds.inc(durationMs / 1_000);
  }

  committed(durationMs: number): void {
    this.#commit.observe(durationMs / 1_000);
  }

  /** Everything in the text format of Prometheus. */
  async render(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
