import { SingleBar } from 'cli-progress';

/** A bar on stderr, for a person who waits; nobody else is told. */
export interface Progress {
  add(amount: number): void;
  stop(): void;
}

/** `unit`: what `total` counts. */
export function startProgress(total: number, unit: string, json: boolean | undefined): Progress {
  if (json === true || !process.stderr.isTTY || total === 0)
    return { add: () => undefined, stop: () => undefined };
  const format = `{bar} {percentage}% of {total} ${unit} | {eta_formatted} left`;
  const bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true });
  bar.start(total, 0);
  return { add: (amount) => bar.increment(amount), stop: () => bar.stop() };
}
