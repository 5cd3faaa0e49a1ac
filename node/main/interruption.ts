/** A signal that also fires when somebody presses Ctrl-C, so that what was begun is cleaned up. */
export function interruption(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => controller.abort(new Error(`${name} was received`)));
  return AbortSignal.any([signal, controller.signal]);
}
