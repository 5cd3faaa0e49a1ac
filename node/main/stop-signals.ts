const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Resolves when the process is asked to stop. The handlers stay: a terminal and npm may
 * both pass on one Ctrl-C, and the second must not end what the first began to end in order.
 */
export function stopRequested(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of SIGNALS) process.on(signal, () => resolve());
  });
}

/** Resolves when the process that started this one over a channel is gone. Never without one. */
export function starterGone(): Promise<void> {
  return new Promise((resolve) => {
    if (process.channel !== undefined) process.on('disconnect', () => resolve());
  });
}
