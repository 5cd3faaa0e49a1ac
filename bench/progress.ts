import { SingleBar } from 'cli-progress';

/** A bar on stderr, for a person who waits; nobody else is told. */
export function startProgress(isJson: boolean, total: number): Pick<SingleBar, 'increment' | 'stop'> {
  if (isJson || !process.stderr.isTTY) return { increment: () => undefined, stop: () => undefined };
  const bar = new SingleBar({ format: '{bar} {percentage}% | {eta_formatted} left', stream: process.stderr });
  bar.start(total, 0);
  return bar;
}
