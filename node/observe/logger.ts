/** Structured logs: one line an event, JSON, or a pretty form on a terminal. Never keys or values. */
import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger };

/** A logger of a node that writes to standard output. */
export function createLogger(node: string, level: string): Logger {
  const base = { node };
  const options = { level, base, timestamp: pino.stdTimeFunctions.isoTime };
  if (!process.stdout.isTTY && process.env['HOLDFAST_LOG_PRETTY'] !== '1')
    return pino(options, pino.destination({ fd: 1, sync: true }));
  return pino(
    options,
    pretty({
      colorize: process.stdout.isTTY,
      ignore: 'pid,hostname,node',
      translateTime: 'SYS:HH:MM:ss.l',
      sync: true,
    }),
  );
}
