// Pure text checks: node:net has them too, but it is a door to the network.

/** Whether the text is an IPv4 address in dotted form. */
export function isIPv4(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Whether the text is an IPv6 address, without brackets or zone. */
export function isIPv6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === '' ? [] : half.split(':')));
  const last = groups.at(-1);
  const embedsIPv4 = last?.includes('.') ?? false;
  if (embedsIPv4 && !isIPv4(groups.pop()!)) return false;
  const count = groups.length + (embedsIPv4 ? 2 : 0);
  if (!groups.every((group) => /^[\da-f]{1,4}$/i.test(group))) return false;
  return halves.length === 2 ? count < 8 : count === 8;
}
