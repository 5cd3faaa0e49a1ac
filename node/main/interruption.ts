/**
 * A signal that also fires when somebody presses Ctrl-C, so that what was begun is cleaned up.
 * The handlers stay: a terminal and npm may both pass on one Ctrl-C.
 */
export function interruption(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => controller.abort(new Error(`${name} was received`)));
  return AbortSignal.any([signal, controller.signal]);
}
