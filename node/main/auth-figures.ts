/** Figures of logins for metrics. */
import type { Auth } from '../coordination/auth.ts';
import type { CounterSource, GaugeSource } from '../observe/metrics.ts';

export function authCounters({ logins }: Auth): CounterSource[] {
  return [
    {
      name: 'holdfast_logins_total',
      help: 'Attempts to log in to this node, by result: done, failed, delayed. One that was delayed may count as done or failed as well.',
      labels: ['result'],
      read: () => Object.entries(logins).map(([result, count]) => [{ result }, count] as const),
    },
  ];
}

export function authGauges(auth: Auth): GaugeSource[] {
  return [
    {
      name: 'holdfast_auth_enabled',
      help: 'Whether callers are asked who they are.',
      read: () => (auth.part.state.isEnabled ? 1 : 0),
    },
  ];
}
