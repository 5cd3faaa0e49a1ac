/** A backup is a copy of a stopped directory: what operations.md promises. */
import { cpSync, rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { RealNode } from './real-node.ts';

it('a copy of a stopped directory can be put in its place', async () => {
  await using node = await RealNode.start();
  const url = () => `${node.url}/v1/kv/default/kept`;
  const put = (body: string) => fetch(url(), { method: 'PUT', body });
  await put('before');
  await node.stop();
  const copy = `${node.dataDirectory}.copy`;
  cpSync(node.dataDirectory, copy, { recursive: true });

  await node.start();
  await put('after');
  await node.stop();
  rmSync(node.dataDirectory, { recursive: true });
  cpSync(copy, node.dataDirectory, { recursive: true });
  await node.start();
  expect(await (await fetch(url())).text()).toBe('before');
  expect((await put('again')).status).toBe(200);
  expect((await node.stop()).code).toBe(0);
});
