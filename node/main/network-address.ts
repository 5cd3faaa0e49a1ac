import { isIPv4, isIPv6 } from './ip-address.ts';

/** Where something listens. */
export interface NetworkAddress {
  /** Host without brackets. */
  readonly host: string;
  readonly port: number;
  /** `host:port`, with an IPv6 host in brackets. */
  readonly text: string;
}

const FORM = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/;
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** The address that a text says, or what is wrong with it. */
export function parseNetworkAddress(text: string): NetworkAddress | { problem: string } {
  const match = FORM.exec(text);
  if (match === null) return { problem: 'must be host:port, such as 127.0.0.1:7401 or "[::1]:7401"' };
  const [, bracketed, plain, portText] = match;
  const port = /^\d{1,5}$/.test(portText!) ? Number(portText) : 0;
  if (port < 1 || port > 65_535) return { problem: 'port must be 1 to 65535' };
  const valid = bracketed === undefined ? isHost(plain!) : isIPv6(bracketed);
  if (!valid) return { problem: 'host must be an IPv4 address, an IPv6 address in brackets or a host name' };
  const host = bracketed ?? plain!;
  return { host, port, text };
}

/** `host:port`, with an IPv6 host in brackets. */
export function formatAddress({ text }: NetworkAddress): string {
  return text;
}

/** Whether only programs of this machine can reach it. */
export function isLoopback(address: NetworkAddress): boolean {
  const host = canonicalHost(address);
  return isIPv4(host) && host.startsWith('127.');
}

/** Whether two listeners with these addresses would collide on one machine. */
export function addressesCollide(a: NetworkAddress, b: NetworkAddress): boolean {
  if (a.port !== b.port) return false;
  return isWildcard(a) || isWildcard(b) || canonicalHost(a) === canonicalHost(b);
}

function isHost(host: string): boolean {
  if (/^[\d.]+$/.test(host)) return isIPv4(host);
  return host.length <= 253 && host.split('.').every((label) => LABEL.test(label));
}

function isWildcard({ host }: NetworkAddress): boolean {
  return host === '0.0.0.0' || host === '::';
}

function canonicalHost({ host }: NetworkAddress): string {
  const lower = host.toLowerCase();
  return lower === 'localhost' || lower === '::1' ? '127.0.0.1' : lower;
}
