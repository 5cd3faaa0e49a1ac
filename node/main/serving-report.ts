/** What logs and metrics say of ports and certificates. */
import type { Logger } from '../observe/logger.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { TlsEvents } from '../transport/tls-identity.ts';
import { rfc3339 } from './rfc3339.ts';

/** Tells of certificates that were exchanged, or could not be. */
export function tlsEvents(logger: Logger, metrics: Metrics, onCertificate: () => void): TlsEvents {
  return {
    onReload: ({ subject, notAfterMs, serialNumber }) => {
      onCertificate();
      metrics.certificateReload('taken');
      const facts = { subject, serial_number: serialNumber, not_after: rfc3339(notAfterMs) };
      logger.info(facts, 'new connections get a new certificate');
    },
    onBroken: (error) => {
      metrics.certificateReload('refused');
      logger.error({ why: error.message }, 'the TLS files changed and cannot be used: the old ones stay');
    },
  };
}

/** Adds the figures of both ports. */
export function addServingGauges(
  metrics: Metrics,
  read: { readonly connections: () => Record<string, number>; readonly notAfterMs: () => number },
): void {
  metrics.addGauges([
    {
      name: 'holdfast_connections',
      help: 'Open connections, by port.',
      label: 'port',
      read: read.connections,
    },
    {
      name: 'holdfast_tls_certificate_not_after_seconds',
      help: 'When the certificate that is served expires, in seconds since 1970; 0 without TLS.',
      read: () => read.notAfterMs() / 1_000,
    },
  ]);
}
