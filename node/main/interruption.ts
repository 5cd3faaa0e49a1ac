import { constants } from 'node:os';
import { SIGNALLED } from './exit-code.ts';

/** Signals that end a process in order. */
export const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];

/** Somebody asked the process to end. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
  /** Exit code of a process that ends for it, as shells have it. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`${signal} was received`);
    this.exitCode = SIGNALLED + constants.signals[signal];
  }
}

/**
 * A signal that also fires when somebody presses Ctrl-C, so that what was begun is cleaned up;
 * its reason is an Interruption then. The handlers stay: a terminal and npm may both pass on one
 * Ctrl-C, and the second must not end what the first began to clean up.
 */
export function interruption(signal: AbortSignal, names: readonly NodeJS.Signals[] = ENDING): AbortSignal {
  const controller = new AbortController();
  for (const name of names) process.on(name, () => controller.abort(new Interruption(name)));
  return AbortSignal.any([signal, controller.signal]);
}
