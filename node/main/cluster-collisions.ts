import { addressesCollide, type NetworkAddress, parseNetworkAddress } from './network-address.ts';
import type { YamlPath } from './yaml-source.ts';

/** A value that is right by itself but collides with an earlier one. */
export interface Collision {
  path: YamlPath;
  message: string;
}

/**
 * Names, addresses and data directories that two nodes of a cluster file share. Takes the
 * file as it was read, right or wrong, and passes over what it cannot understand.
 */
export function findCollisions(file: unknown): Collision[] {
  const nodes = (file as { nodes?: unknown } | null)?.nodes;
  if (!Array.isArray(nodes)) return [];
  return [...sharedTexts(nodes, 'name'), ...sharedTexts(nodes, 'data'), ...sharedAddresses(nodes)];
}

function sharedTexts(nodes: readonly unknown[], key: 'name' | 'data'): Collision[] {
  const firstPlaces = new Map<string, string>();
  const collisions: Collision[] = [];
  nodes.forEach((node, index) => {
    const text = textOf(node, key);
    if (text === undefined) return;
    const earlier = firstPlaces.get(text);
    if (earlier === undefined) firstPlaces.set(text, `nodes[${index}].${key}`);
    else collisions.push(collision(index, key, text, `must differ from ${earlier}`));
  });
  return collisions;
}

function sharedAddresses(nodes: readonly unknown[]): Collision[] {
  const earlier: { address: NetworkAddress; place: string }[] = [];
  const collisions: Collision[] = [];
  nodes.forEach((node, index) => {
    for (const key of ['grpc', 'http']) {
      const address = parseNetworkAddress(textOf(node, key) ?? '');
      if ('problem' in address) continue;
      const other = earlier.find((one) => addressesCollide(one.address, address));
      if (other !== undefined) {
        const rule = `must not use the port of ${other.place} (${other.address.text})`;
        collisions.push(collision(index, key, address.text, rule));
      }
      earlier.push({ address, place: `nodes[${index}].${key}` });
    }
  });
  return collisions;
}

function collision(index: number, key: string, text: string, rule: string): Collision {
  return {
    path: ['nodes', index, key],
    message: `nodes[${index}].${key} is ${JSON.stringify(text)}: ${rule}`,
  };
}

function textOf(node: unknown, key: string): string | undefined {
  const value = (node as Record<string, unknown> | null)?.[key];
  return typeof value === 'string' ? value : undefined;
}
