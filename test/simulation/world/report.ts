import type { OperationCounts } from './recorder.ts';

/** What a run did; a run that did next to nothing proves nothing. */
export interface WorldReport extends OperationCounts {
  readonly seed: string;
  readonly nodes: number;
  readonly virtualSeconds: number;
  /** Events of the scheduler. */
  readonly events: number;
  /** Times that a node came up. */
  readonly starts: number;
  /** Times that a node refused to start with damaged data. */
  readonly refusals: number;
  /** Times that damaged data was given up, and the node began anew. */
  readonly rebuilds: number;
  /** Writes, and calls to read, that a node had another one do. */
  readonly forwarded: number;
  /** Times that a group got another leader, or the same one for another term. */
  readonly leaderChanges: number;
  /** Nodes that died before they belonged to a cluster. */
  readonly foundingDeaths: number;
  /** Of each kind of fault that means something with so many nodes. */
  readonly injections: Readonly<Record<string, number>>;
  readonly reasons: Readonly<Record<string, number>>;
  /** What was done with locks and the like, by kind. */
  readonly work: Readonly<Record<string, number>>;
  /** Virtual milliseconds from the end of the faults until everything was well. */
  readonly recoveryMs: number;
  /** Steps of the linearizability search. */
  readonly checkSteps: number;
  readonly traceHash: string;
}

/** Adds up what many runs did. */
export class ReportSum {
  readonly sums = new Map<string, number>();
  readonly injections = new Map<string, number>();
  readonly reasons = new Map<string, number>();
  readonly work = new Map<string, number>();
  runs = 0;
  withLeaderChange = 0;
  slowestRecoveryMs = 0;

  add(report: WorldReport): void {
    this.runs++;
    if (report.leaderChanges > 0) this.withLeaderChange++;
    this.slowestRecoveryMs = Math.max(this.slowestRecoveryMs, report.recoveryMs);
    for (const [name, value] of Object.entries(report))
      if (typeof value === 'number') addTo(this.sums, name, value);
    for (const [name, value] of Object.entries(report.injections)) addTo(this.injections, name, value);
    for (const [name, value] of Object.entries(report.reasons)) addTo(this.reasons, name, value);
    for (const [name, value] of Object.entries(report.work)) addTo(this.work, name, value);
  }

  of(name: keyof WorldReport): number {
    return this.sums.get(name) ?? 0;
  }

  /** Several lines for people. */
  text(): string {
    const share = (part: number, whole: number) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`;
    return [
      `${this.runs} runs, ${Math.round(this.of('virtualSeconds'))} virtual seconds, ${this.of('events')} events`,
      `operations ${this.of('operations')}: ok ${this.of('ok')}, refused ${this.of('refused')}, not applied ${this.of('notApplied')}, unknown ${this.of('unknown')} (${share(this.of('unknownWrites'), this.of('writes'))} of writes); concurrent pairs ${this.of('concurrentPairs')}`,
      `starts ${this.of('starts')}, deaths before founding ${this.of('foundingDeaths')}, refusals ${this.of('refusals')}, begun anew ${this.of('rebuilds')}, leader changes ${this.of('leaderChanges')} (in ${this.withLeaderChange} runs), forwarded ${this.of('forwarded')}, slowest recovery ${this.slowestRecoveryMs} ms`,
      `injections: ${listed(this.injections)}`,
      `coordination: ${listed(this.work)}`,
      `errors: ${listed(this.reasons)}`,
    ].join('\n');
  }
}

function addTo(sums: Map<string, number>, name: string, value: number): void {
  sums.set(name, (sums.get(name) ?? 0) + value);
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
}
